"""Entries of each row, drawn at random without a generator."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..permutation import hash_numbers
from .layouts import Entries

__all__ = ["keep_random", "keep_smallest", "mark_random"]


def mark_random(
    entries: Entries,
    keys: npt.NDArray[np.uint64],
    n_wanted: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Return which entries are drawn, `n_wanted` of each row, without replacement.

    They are those whose columns have the smallest hashes, so the draw depends on the
    key and the columns of a row alone: not on its place, nor on the layout of X.

    Parameters
    ----------
    entries
        The entries of all rows.
    keys
        Key of each row, shape ``(n_rows,)``.
    n_wanted
        How many to draw from each row, shape ``(n_rows,)``; all where there are fewer.
    """
    lengths = entries.lengths
    marked = np.repeat(n_wanted >= lengths, lengths)
    some = (n_wanted > 0) & (n_wanted < lengths)
    if not some.any():
        return marked
    hashes = hash_numbers(entries.columns, key=np.repeat(keys, lengths))
    starts, wanted = entries.starts.tolist(), n_wanted.tolist()
    for row in np.flatnonzero(some).tolist():
        start, stop = starts[row], starts[row + 1]
        marked[start:stop] = keep_smallest(hashes[start:stop], wanted[row])
    return marked


def keep_random(entries: Entries, keys: npt.NDArray[np.uint64], most: int) -> Entries:
    """Return at most `most` entries of each row, drawn as `mark_random` does."""
    wanted = np.full(len(entries.starts) - 1, most, np.int64)
    return entries.keep(mark_random(entries, keys, wanted))


def keep_smallest(numbers: npt.NDArray[Any], n: int) -> npt.NDArray[np.bool_]:
    """Return which are the `n` smallest of some numbers, no two of which are equal."""
    kept: npt.NDArray[np.bool_] = numbers <= np.partition(numbers, n - 1)[n - 1]
    return kept
