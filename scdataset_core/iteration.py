"""The iterator of a Loader: it reads a plan ahead, hands out minibatches and counts."""

import threading
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any, Self

from .batching import Batching
from .hook_epoch import in_epoch
from .pending_batches import PendingBatch
from .plan import Fetch, Plan
from .position import Bookmark
from .readahead import ReadAhead, make_item
from .stats import LoaderStats
from .storage import ReadContext
from .thread_count import choose_threads
from .thread_ending import Ending

__all__ = ["BatchIterator"]


def _fetches(
    plan: Plan, batching: Batching, context: ReadContext, skip: int
) -> Generator[Fetch, None, None]:
    """Yield the fetches; take this thread's turn to read before each."""
    for fetch in plan.fetches(skip=skip, whole=batching.needs_whole_fetches):
        context.join_queue()
        yield fetch


def _read(
    fetch: Fetch, batching: Batching, context: ReadContext, epoch: int
) -> deque[PendingBatch]:
    """Read a fetch of an epoch, on the thread that reads ahead."""
    with in_epoch(epoch):
        return batching.read(fetch, context)


class BatchIterator(Iterator[Any]):
    """The minibatches of one epoch for one rank and worker.

    Several threads may take minibatches from it, each of which is given once. A forked
    child may not, since the threads that read are in its parent. These threads end with
    the epoch, on :meth:`close`, when the iterator is collected, and with any error,
    Ctrl-C included.

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
        self._batching = batching
        self._bookmark = bookmark
        n_rows = plan.dealing.sizes.fetch_rows
        lanes = batching.count_lanes(n_rows) if read_ahead else 1
        batching.prepare()
        self._lock = threading.RLock()  # a hook may take a batch itself
        n_threads = choose_threads(threads, plan.shard)
        self._context = ReadContext(n_threads, callers=lanes)
        lanes = self._context.callers
        self._pending: deque[PendingBatch] = deque()
        n_yielded = bookmark.position.yielded
        self._left = len(plan) - n_yielded
        self.stats = LoaderStats(self._context.stats)
        make = partial(
            _read,
            batching=batching,
            context=self._context,
            epoch=bookmark.position.epoch,
        )
        try:
            self._fetches = ReadAhead(
                _fetches(plan, batching, self._context, n_yielded),
                make,
                depth=read_ahead + lanes - 1,
                n_threads=lanes,
            )
        except BaseException:  # a fetch may have begun, and started threads to decode
            self._context.close()
            raise
        self._end = Ending(self, _end, self._fetches, self._context)

    def __iter__(self) -> Self:
        return self

    def __len__(self) -> int:
        """Return how many minibatches are left."""
        return max(0, self._left)

    def __next__(self) -> Any:
        self._fetches.check_process()
        with self._lock:
            batch = self._next()
        if self._bookmark.is_overtaken:
            self._bookmark.is_overtaken = False  # warn once
            epoch = self._bookmark.position.epoch
            warnings.warn(
                "two iterators of one Loader are in use at the same time: a later one"
                f" began while this one, of epoch {epoch}, was not at its end, and each"
                " has an epoch of its own; zip(loader, loader) pairs cells of two"
                " epochs. Begin an iterator when the one before is no longer needed, or"
                " take a loader for each: loader.shard()",
                UserWarning,
                stacklevel=2,
            )
        return batch

    def _next(self) -> Any:
        try:
            pending = (self._pending or self._wait_for_fetch()).popleft()
            started = time.perf_counter()
            with in_epoch(self._bookmark.position.epoch):
                batch = make_item(self._batching.make_batch, pending)
        except BaseException:
            self.close()
            raise
        self.stats.count(pending.n_read, time.perf_counter() - started)
        self._bookmark.advance()
        self._left -= 1
        return batch

    def _wait_for_fetch(self) -> deque[PendingBatch]:
        """Wait for the next fetch that has minibatches, and return them."""
        started = time.perf_counter()
        pending: deque[PendingBatch] = deque()
        while not pending:
            pending = next(self._fetches)
        self._pending = pending
        self.stats.wait_s += time.perf_counter() - started
        return pending

    def close(self) -> None:
        """Stop reading, and abandon the epoch where it stands."""
        self._pending = deque()
        self._end()


def _end(fetches: ReadAhead[deque[PendingBatch]], context: ReadContext) -> None:
    try:
        fetches.close()
    finally:  # after an interrupt too
        context.close()
