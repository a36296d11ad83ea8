"""Reads small fetches together: a few that follow one another, as if they were one.

A read costs about two milliseconds besides what its bytes cost: planning it, looking
up where its rows lie, handing it over. A fetch of one minibatch of single cells has
hardly more to do than that.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from .pending_batches import PendingBatch
from .plan import Fetch, sort_rows
from .readahead import make_item

__all__ = ["FailedRead", "count_joined", "group_fetches", "read_joined"]

# So many bytes are read at a time, which is a fetch of usual cells with the default
# settings, and so many fetches at most. Single cells of a full cache came at 18,000 a
# second with 1 MiB, one fetch each, at 38,000 with 4, 50,000 with 8 and 71,000 with 16
# (64 cells of 16 KB a fetch, two busy cores, 2026-11-27).
JOINED_BYTES = 16 << 20
# What they take as they are laid out, dense perhaps, is held several times over.
LAID_OUT_BYTES = 64 << 20
MOST_FETCHES = 16
# An epoch is read in so many goes at least. In a short one there is little to gain, and
# faults, or a file that is changed, would be met when most of it was read.
LEAST_READS = 32

Group = tuple[Fetch, ...]


class FailedRead:
    """Stands among minibatches for those of a fetch that could not be read.

    Parameters
    ----------
    error
        What was wrong.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error


def count_joined(stored_bytes: float, laid_out_bytes: float, n_fetches: int) -> int:
    """Return how many fetches are best read together.

    Parameters
    ----------
    stored_bytes, laid_out_bytes
        Bytes of a fetch as it is stored, and as it is laid out for the user.
    n_fetches
        Fetches of the epoch.
    """
    n = min(
        JOINED_BYTES // max(stored_bytes, 1),
        LAID_OUT_BYTES // max(laid_out_bytes, 1),
        n_fetches // LEAST_READS,
    )
    return int(min(max(n, 1), MOST_FETCHES))


def group_fetches(fetches: Iterator[Fetch], n: int) -> Iterator[Group]:
    """Yield fetches in groups of `n`; the first ones are smaller, as somebody waits.

    An error of `fetches` comes after the group of those before it.
    """
    size, group = 1, list[Fetch]()
    try:
        for fetch in fetches:
            group.append(fetch)
            if len(group) == size:
                yield tuple(group)
                size, group = min(2 * size, n), []
    except Exception:
        if group:
            yield tuple(group)
        raise
    if group:
        yield tuple(group)


def read_joined(
    group: Group, read: Callable[[Fetch], deque[PendingBatch]]
) -> deque[PendingBatch | FailedRead]:
    """Read a group of fetches, and return the minibatches of all of them.

    Raises
    ------
    Exception
        If the first of them cannot be read. An error of another one comes after the
        minibatches that are before it. A warning that was made an error is raised here
        where no fetch that is read by itself repeats it: many are given once.
    """
    if len(group) == 1:
        return deque[PendingBatch | FailedRead](read(group[0]))
    try:
        return deque[PendingBatch | FailedRead](read(_join(group)))
    except Exception as joined:
        # Of which fetch it is, and which come before it, the reads of each say.
        pending = _read_each(group, read)
        has_failed = any(isinstance(batch, FailedRead) for batch in pending)
        if isinstance(joined, Warning) and not has_failed:
            raise
        return pending


def _read_each(
    group: Group, read: Callable[[Fetch], deque[PendingBatch]]
) -> deque[PendingBatch | FailedRead]:
    """Read fetches one by one, up to one that cannot be read."""
    pending: deque[PendingBatch | FailedRead] = deque()
    for fetch in group:
        try:
            pending += make_item(read, fetch)
        except Exception as error:
            if not pending:
                raise
            pending.append(FailedRead(error))
            break
    return pending


def _join(group: Group) -> Fetch:
    """Return one fetch with the rows and minibatches of several."""
    sizes = [len(fetch.rows) for fetch in group]
    starts = [0, *np.cumsum(sizes[:-1], dtype=np.int64).tolist()]
    rows, order = sort_rows(np.concatenate([fetch.rows for fetch in group]))
    pairs = list(zip(group, starts, strict=True))
    places = np.concatenate([fetch.places + start for fetch, start in pairs])
    batches = [
        batch._replace(start=batch.start + start, stop=batch.stop + start)
        for fetch, start in pairs
        for batch in fetch.batches
    ]
    sets = tuple(some for fetch in group for some in fetch.sets)
    return replace(
        group[0],
        rows=rows,
        places=places[order],
        batches=tuple(batches),
        sets=sets,
    )
