"""One pass over a plan: reads ahead, hands out minibatches, counts."""

import threading
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any, Self

from .batching import Batching, Part
from .plan import Fetch, Plan
from .position import Bookmark
from .readahead import ReadAhead, made
from .stats import LoaderStats
from .storage import ReadContext
from .thread_ending import Ending

__all__ = ["BatchIterator"]


def _fetches(
    plan: Plan, batching: Batching, context: ReadContext, skip: int
) -> Generator[Fetch, None, None]:
    """Yield the fetches, each in its turn to be read."""
    for fetch in plan.fetches(skip=skip, whole=batching.whole_fetches):
        context.join_queue()
        yield fetch


class BatchIterator(Iterator[Any]):
    """The minibatches of one epoch for one rank and worker.

    Several threads may take from it: each minibatch is given once. A forked child may
    not: the threads that read are in its parent. They end with the epoch, on
    :meth:`close`, when it is collected, and with any error, Ctrl-C included.

    Parameters
    ----------
    plan
        What to read.
    batching
        How to make minibatches of it.
    bookmark
        Where the plan begins; it is moved on by each batch that is handed out.
    read_ahead
        Fetches to read ahead.
    threads
        Threads that read and decode.
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
        lanes = batching.lanes(n_rows) if read_ahead else 1
        batching.prepare()
        self._lock = threading.RLock()  # not to stop a hook that takes a batch itself
        self._context = ReadContext(threads, callers=lanes)
        lanes = self._context.callers
        self._parts: deque[Part] = deque()
        n_yielded = bookmark.position.yielded
        self._left = len(plan) - n_yielded
        self.stats = LoaderStats(self._context.stats)
        self._fetches = ReadAhead(
            _fetches(plan, batching, self._context, n_yielded),
            partial(batching.read, context=self._context),
            depth=read_ahead + lanes - 1,
            n_threads=lanes,
        )
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
            part = (self._parts or self._fetched()).popleft()
            started = time.perf_counter()
            batch = made(self._batching.batch, part)
        except BaseException:
            self.close()
            raise
        self.stats.count(part.n_cells, time.perf_counter() - started)
        self._bookmark.advance()
        self._left -= 1
        return batch

    def _fetched(self) -> deque[Part]:
        """Return the parts of the next fetch that has any."""
        started = time.perf_counter()
        parts: deque[Part] = deque()
        while not parts:
            parts = next(self._fetches)
        self._parts = parts
        self.stats.wait_s += time.perf_counter() - started
        return parts

    def close(self) -> None:
        """Stop reading; the epoch is abandoned where it stands."""
        self._parts = deque()
        self._end()


def _end(fetches: ReadAhead[deque[Part]], context: ReadContext) -> None:
    try:
        fetches.close()
    finally:  # after an interrupt too
        context.close()
