"""The iterator of a Loader: it reads a plan ahead, hands out minibatches and counts."""

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, Self

from .batching import Batching
from .hook_epoch import in_epoch
from .joined_fetches import FailedRead, group_fetches, read_joined
from .pending_batches import PendingBatch
from .plan import Fetch, Plan
from .position import Bookmark
from .readahead import ReadAhead, make_item
from .stats import LoaderStats
from .storage import ReadContext, ReadStats
from .thread_count import choose_threads
from .thread_ending import Ending

__all__ = ["BatchIterator"]

_Pending = deque[PendingBatch | FailedRead]


def _fetches(
    plan: Plan, batching: Batching, context: ReadContext, skip: int, n_joined: int
) -> Generator[tuple[Fetch, ...], None, None]:
    """Yield the fetches to read together; take this thread's turn before each read."""
    fetches = plan.fetches(skip=skip, whole=batching.needs_whole_fetches)
    for group in group_fetches(fetches, n_joined):
        context.join_queue()
        yield group


def _read(
    group: tuple[Fetch, ...], batching: Batching, context: ReadContext, epoch: int
) -> _Pending:
    """Read fetches of an epoch, on the thread that reads ahead."""
    with in_epoch(epoch):
        return read_joined(group, partial(batching.read, context=context))


class BatchIterator(Iterator[Any]):
    """The minibatches of one epoch for one rank and worker.

    Several threads may take minibatches from it, each of which is given once. A forked
    child may not, since the threads that read are in its parent. These threads end with
    the epoch, on :meth:`close`, when the iterator is collected, and with any error,
    Ctrl-C included. After an error the next call tries the same minibatch again.

    Parameters
    ----------
    plan
        The fetches to read.
    batching
        Makes minibatches of them.
    bookmark
        Where the plan begins; each batch that is handed out moves it on.
    read_ahead
        Fetches to read ahead.
    threads
        Threads that read and decode; None: this process's share of the cores.
    """

    def __init__(
        self,
        plan: Plan,
        batching: Batching,
        bookmark: Bookmark,
        *,
        read_ahead: int,
        threads: int | None,
    ) -> None:
        self._plan = plan
        self._batching = batching
        self._bookmark = bookmark
        self._read_ahead = read_ahead
        self._threads = threads
        self._lock = threading.RLock()  # a hook may take a batch itself
        self._pending: _Pending = deque()
        self._n_batches = len(plan)
        self._functions: list[Callable[[Any, int], Any]] = []
        self._has_failed = False
        self._reading = ReadStats()
        self.stats = LoaderStats(self._reading)
        self._begin()

    def _begin(self) -> None:
        """Start to read at the bookmark."""
        plan, batching = self._plan, self._batching
        position = self._bookmark.position
        sizes = plan.dealing.sizes
        n_rows = sizes.fetch_rows
        n_joined = lanes = 1
        if self._read_ahead:
            n_joined = batching.count_joined(n_rows, len(plan) // sizes.fetch_factor)
            lanes = batching.count_lanes(n_rows * n_joined)
        batching.prepare()
        n_threads = choose_threads(self._threads, plan.shard)
        self._context = context = ReadContext(
            n_threads, callers=lanes, stats=self._reading
        )
        lanes = context.callers
        make = partial(_read, batching=batching, context=context, epoch=position.epoch)
        try:
            self._fetches = ReadAhead(
                _fetches(plan, batching, context, position.yielded, n_joined),
                make,
                depth=self._read_ahead + lanes - 1,
                n_threads=lanes,
            )
        except BaseException:  # a fetch may have begun, and started threads to decode
            context.close()
            raise
        self._end = Ending(self, _end, self._fetches, context)
        self._has_failed = False

    def __iter__(self) -> Self:
        return self

    def __len__(self) -> int:
        """Return how many minibatches are left."""
        return max(0, self._n_batches - self._bookmark.position.yielded)

    def __next__(self) -> Any:
        self._fetches.check_process()
        with self._lock:
            return self._next()

    def _next(self) -> Any:
        if self._has_failed:
            self._begin()
        try:
            pending = (self._pending or self._wait_for_fetch()).popleft()
            if isinstance(pending, FailedRead):
                raise pending.error
            started = time.perf_counter()
            with in_epoch(self._bookmark.position.epoch):
                batch = make_item(self._make, pending)
            self._warn_if_overtaken()  # which may raise: the batch counts after it
            self.stats.count(pending.n_read, time.perf_counter() - started)
            self._bookmark.advance()
        except StopIteration:
            self.close()
            raise
        except BaseException:  # an interrupt may come anywhere, also while this closes
            self._has_failed = True
            self._stop()
            raise
        return batch

    def _warn_if_overtaken(self) -> None:
        if not self._bookmark.is_overtaken:
            return
        self._bookmark.is_overtaken = False  # warn once
        epoch = self._bookmark.position.epoch
        warnings.warn(
            "two iterators of one Loader are in use at the same time: a later one"
            f" began while this one, of epoch {epoch}, was not at its end, and each"
            " has an epoch of its own; zip(loader, loader) pairs cells of two"
            " epochs. Begin an iterator when the one before is no longer needed, or"
            " take a loader for each: loader.shard()",
            UserWarning,
            stacklevel=4,  # who called __next__
        )

    def _make(self, pending: PendingBatch) -> Any:
        batch = self._batching.make_batch(pending)
        for function in self._functions:
            batch = function(batch, len(self))
        return batch

    def _wait_for_fetch(self) -> _Pending:
        """Wait for the next fetch that has minibatches, and return them."""
        started = time.perf_counter()
        pending: _Pending = deque()
        while not pending:
            pending = next(self._fetches)
        self._pending = pending
        self.stats.wait_s += time.perf_counter() - started
        return pending

    def apply(self, function: Callable[[Any, int], Any]) -> Self:
        """Apply a function to each minibatch before it counts as yielded.

        Parameters
        ----------
        function
            Is called with a minibatch and the number of those left, itself included.
        """
        self._functions.append(function)
        return self

    def close(self) -> None:
        """Stop reading, and abandon the epoch where it stands."""
        self._has_failed = False
        self._stop()

    def _stop(self) -> None:
        self._pending = deque()
        self._end()


def _end(fetches: ReadAhead[_Pending], context: ReadContext) -> None:
    try:
        fetches.close()
    finally:  # after an interrupt too
        context.close()
