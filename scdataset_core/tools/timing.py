"""Times minibatches: cells a second, from the end of one fetch to that of another."""

import time
from collections.abc import Callable, Generator
from itertools import islice

from ..candidates import Candidate
from ..loader import Loader
from ..sources import Source
from ..strategies import BlockShuffling

__all__ = ["Epoch", "make_loader", "time_minibatches", "time_settings"]

Epoch = Callable[[], Generator[int, None, None]]
"""Starts a pass over all cells; yields the number of cells of each minibatch."""

LEAST_FETCHES = 2  # but for settings that need this many times their time for one:
MOST_OVERTIME = 3


def time_settings(
    source: Source, candidate: Candidate, threads: int | None, seconds: float
) -> float:
    """Return the cells a second that a Loader with some settings gives.

    Parameters
    ----------
    source
        The cells.
    candidate
        The settings.
    threads
        Threads that read; None: the default.
    seconds
        About how long to measure.
    """
    loader = make_loader(source, candidate, threads)

    def epoch() -> Generator[int, None, None]:
        iterator = iter(loader)
        try:
            for batch in iterator:
                yield len(batch["index"])
        finally:
            iterator.close()

    # Where several fetches are read at a time, the next two are nearly there when the
    # first one is; they would count as read in no time.
    several = source.concurrent or source.cache is not None
    return time_minibatches(
        epoch, candidate.fetch_factor, seconds, n_skipped=3 if several else 1
    )


def make_loader(source: Source, candidate: Candidate, threads: int | None) -> Loader:
    """Return a Loader with some settings."""
    return Loader(
        source,
        BlockShuffling(candidate.block_size),
        batch_size=candidate.batch_size,
        fetch_factor=candidate.fetch_factor,
        threads=threads,
        seed=1,
    )


def time_minibatches(
    epoch: Epoch, fetch_factor: int, seconds: float, *, n_skipped: int = 1
) -> float:
    """Return the cells a second of minibatches, epoch after epoch if need be.

    The clock starts when the first fetches are used up, so that what is only done once,
    such as opening, is not in it; it stops at the end of a later one.

    Parameters
    ----------
    epoch
        Starts an epoch of the minibatches.
    fetch_factor
        Minibatches in a fetch.
    seconds
        About how long to measure; at least two fetches are, or one if that takes three
        times as long.
    n_skipped
        Fetches before the clock starts.

    Raises
    ------
    ValueError
        If an epoch has no cells.
    """
    fetches = _cells_of_fetches(epoch, fetch_factor)
    try:
        for _ in islice(fetches, n_skipped):
            pass
        begun = time.perf_counter()
        n_cells = 0
        for done, fetched in enumerate(fetches, 1):
            n_cells += fetched
            taken = time.perf_counter() - begun
            least = LEAST_FETCHES if taken < MOST_OVERTIME * seconds else 1
            if done >= least and taken >= seconds:
                break
    finally:
        fetches.close()
    return n_cells / max(taken, 1e-9)


def _cells_of_fetches(epoch: Epoch, fetch_factor: int) -> Generator[int, None, None]:
    """Yield the cells of each fetch, the last of an epoch cut short, for ever."""
    while True:
        n_cells = 0
        begun = False
        batches = epoch()
        try:
            for number, size in enumerate(batches, 1):
                n_cells += size
                begun = True
                if number % fetch_factor == 0:
                    yield n_cells
                    n_cells = 0
        finally:
            batches.close()
        if not begun:
            raise ValueError("there are no cells to time")
        if n_cells:
            yield n_cells
