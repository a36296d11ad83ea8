"""Reads small fetches together: a few that follow one another, as if they were one.

A read costs about two milliseconds besides what its bytes cost: planning it, looking
up where its rows lie, handing it over. A fetch of one minibatch of single cells has
hardly more to do than that.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from .pending_batches import PendingBatch
from .plan import Fetch, sort_rows

__all__ = ["FailedRead", "count_joined", "group_fetches", "read_joined"]

# So many bytes are read at a time, which is a fetch of usual cells with the default
# settings, and so many fetches at most. Single cells of a full cache came at 18,000 a
# second with 1 MiB, one fetch each, at 38,000 with 4, 50,000 with 8 and 71,000 with 16
# (64 cells of 16 KB a fetch, two busy cores, 2026-11-27).
JOINED_BYTES = 16 << 20
MOST_FETCHES = 16

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


def count_joined(fetch_bytes: float) -> int:
    """Return how many fetches of so many bytes are best read together."""
    return int(min(max(JOINED_BYTES // max(fetch_bytes, 1), 1), MOST_FETCHES))


def group_fetches(fetches: Iterator[Fetch], n: int) -> Iterator[Group]:
    """Yield fetches in groups of `n`; the first ones are smaller, as somebody waits."""
    size = 1
    while group := tuple(islice(fetches, size)):
        yield group
        size = min(2 * size, n)


def read_joined(
    group: Group, read: Callable[[Fetch], deque[PendingBatch]]
) -> deque[PendingBatch | FailedRead]:
    """Read a group of fetches, and return the minibatches of all of them.

    Raises
    ------
    Exception
        If the first of them cannot be read. An error of another one comes after the
        minibatches that are before it.
    """
    if len(group) == 1:
        return deque[PendingBatch | FailedRead](read(group[0]))
    try:
        return deque[PendingBatch | FailedRead](read(_join(group)))
    except Exception:  # of which fetch, and which come before it, the reads of each say
        pending: deque[PendingBatch | FailedRead] = deque()
        for fetch in group:
            try:
                pending += read(fetch)
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
