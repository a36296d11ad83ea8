"""Genes that a cell does not express, drawn at random without a generator."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..permutation import hash_numbers
from .layouts import Entries
from .random_entries import keep_smallest

__all__ = ["draw_zeros"]

Columns = npt.NDArray[np.int64]


def draw_zeros(
    entries: Entries,
    keys: npt.NDArray[np.uint64],
    n_wanted: npt.NDArray[np.int64],
    n_vars: int,
) -> list[Columns]:
    """Return for each row some of the columns that it has no entry in, sorted.

    They are drawn without replacement, and every set of them is as likely as another.
    Draws are hashes of 0, 1, 2, ... under the key of the row; those that hit an entry,
    or what was drawn before, do not count. Where more than half of what there is are
    wanted, they are those whose own hashes are the smallest.

    Parameters
    ----------
    entries
        The entries of all rows, each column once a row.
    keys
        Key of each row, shape ``(n_rows,)``.
    n_wanted
        How many columns to draw for each row, at most as many as it has no entry in.
    n_vars
        Number of columns.
    """
    lengths = entries.lengths
    n_drawn = np.where(2 * n_wanted > n_vars - lengths, 0, 2 * n_wanted)
    stops = np.cumsum(n_drawn)
    numbers = np.arange(n_drawn.sum()) - np.repeat(stops - n_drawn, n_drawn)
    draws = _draw(numbers, np.repeat(keys, n_drawn), n_vars)
    taken = np.zeros(n_vars, bool)
    place = np.zeros(n_vars, np.int64)
    starts, drawn = entries.starts.tolist(), [0, *stops.tolist()]
    zeros = []
    for row, n in enumerate(n_wanted.tolist()):
        columns = entries.columns[starts[row] : starts[row + 1]]
        taken[columns] = True
        first = draws[drawn[row] : drawn[row + 1]]
        if n and not len(first):
            found = _choose_among_all(taken, keys[row], n)
        else:
            found = _take_new(first, taken, place, n)
        while len(found) < n:  # the first draws hit too often
            more = np.arange(len(first), 2 * len(first))
            first = np.concatenate([first, _draw(more, keys[row], n_vars)])
            found = _take_new(first, taken, place, n)
        taken[columns] = False
        zeros.append(np.sort(found))
    return zeros


def _draw(numbers: Columns, key: Any, n_vars: int) -> Columns:
    genes = hash_numbers(numbers, key=key) % np.uint64(n_vars)
    return np.asarray(genes, np.int64)


def _take_new(
    draws: Columns, taken: npt.NDArray[np.bool_], place: Columns, n: int
) -> Columns:
    """Return the first `n` different draws that are not taken; `place` is scratch."""
    found = draws[~taken[draws]]
    positions = np.arange(len(found))
    place[found[::-1]] = positions[::-1]  # the first of equal draws is written last
    new: Columns = found[place[found] == positions]
    return new[:n]


def _choose_among_all(taken: npt.NDArray[np.bool_], key: np.uint64, n: int) -> Columns:
    others = np.flatnonzero(~taken)
    return others[keep_smallest(hash_numbers(others, key=int(key)), n)]
