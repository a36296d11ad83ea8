"""Deals cells, or blocks of neighbours, to parts: each label in the same proportions.

How many cells of a label each part gets is fixed first. Cells are then dealt at random,
a window of consecutive rows after the other, so that memory does not grow with their
number. In each window the parts get cells of a label in proportion to what they still
lack; systematic rounding makes that exact on average, and exact over all windows.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..bits import BitPacker
from ..permutation import Purpose, derive_key, hash_numbers, shuffled
from ..row_sets import WINDOW_ROWS, RowSet
from .groups import Groups, Window, windows_of

__all__ = ["apportion", "deal_cells", "pack_parts"]

Integers = npt.NDArray[np.int64]

# Uses of the hash, which have keys of their own.
_CELLS, _ROUNDING, _STRATA = range(3)

# In a window are at most 2**20 cells, of at most 2**20 labels; 24 bits order those of
# one label at random, and the place of a cell settles the order where these are equal.
_PLACE_BITS, _HASH_BITS = 20, 24
_MOST_STRATA = 1 << _PLACE_BITS


class _Units(NamedTuple):
    """What is dealt in a window: cells, or blocks of them.

    Parameters
    ----------
    window
        The window.
    of_row
        Which of the units each wanted row belongs to.
    numbers
        A number for each unit, that of no other unit of the source.
    strata
        The label of each.
    """

    window: Window
    of_row: Integers
    numbers: Integers
    strata: Integers


def deal_cells(
    rows: RowSet, strata: Groups, weights: Sequence[int], *, block_size: int, seed: int
) -> list[RowSet]:
    """Return the rows of each part.

    Parameters
    ----------
    rows
        The rows that are dealt.
    strata
        Their labels; each part gets its share of every one, to within one cell.
    weights
        The shares of the parts.
    block_size
        Rows ``k * block_size`` up to ``(k + 1) * block_size`` stay together. They count
        as one of the label that most of them have.
    seed
        Key of the randomness.
    """
    if len(strata) > _MOST_STRATA:
        raise ValueError(
            f"stratify={list(strata.columns)} has {len(strata):,} labels, and"
            f" {_MOST_STRATA:,} is the most"
        )
    counts = strata.counts
    if block_size > 1:
        counts = np.zeros(len(strata), np.int64)
        for units in _units_of(rows, strata, block_size):
            counts += np.bincount(units.strata, minlength=len(strata))
    key = derive_key(seed, 0, Purpose.SPLIT, _STRATA)
    left = apportion(counts, weights, shuffled(len(counts), key=key))
    dealt = (
        (units.window, _deal(units, left, seed)[units.of_row])
        for units in _units_of(rows, strata, block_size)
    )
    return pack_parts(dealt, rows.n_rows, len(weights))


def pack_parts(
    dealt: Iterator[tuple[Window, Integers]], n_rows: int, n_parts: int
) -> list[RowSet]:
    """Return the rows of each part, given for each window the parts of wanted rows."""
    packers = [BitPacker(n_rows) for _ in range(n_parts)]
    for window, parts in dealt:
        for part, packer in enumerate(packers):
            mask = np.zeros(window.stop - window.start, bool)
            mask[window.at[parts == part]] = True
            packer.add(mask)
    return [RowSet(n_rows, packer.words()) for packer in packers]


def apportion(counts: Integers, weights: Sequence[int], order: Integers) -> Integers:
    """Return how many cells of each label every part gets.

    They are the floor or the ceiling of its share, and add up to all cells of the
    label. What is rounded up goes where the parts lack most over all labels so far, so
    that the parts have their shares of all cells, too, however small labels are.

    Parameters
    ----------
    counts
        Cells of each label, shape ``(n_labels,)``.
    weights
        The shares of the parts, integers.
    order
        The order in which labels are rounded.

    Returns
    -------
    totals
        Shape ``(n_labels, n_parts)``.

    Examples
    --------
    >>> apportion(np.array([10, 1, 1]), [8, 1, 1], np.arange(3)).tolist()
    [[8, 1, 1], [1, 0, 0], [1, 0, 0]]
    """
    whole = sum(weights)
    shares = counts[:, None] * np.array(weights)
    totals: Integers = shares // whole
    rests = shares - totals * whole
    n_more = counts - totals.sum(axis=1)
    lacking = [0] * len(weights)  # in cells times `whole`
    for stratum in order[n_more[order] > 0].tolist():
        rest = rests[stratum].tolist()
        lacking = [a + b for a, b in zip(lacking, rest, strict=True)]
        able = [part for part, r in enumerate(rest) if r]
        able.sort(key=lambda part: -lacking[part])
        for part in able[: int(n_more[stratum])]:
            totals[stratum, part] += 1
            lacking[part] -= whole
    return totals


def _units_of(rows: RowSet, strata: Groups, block_size: int) -> Iterator[_Units]:
    """Yield what is dealt, a window at a time."""
    if block_size == 1:
        for window in windows_of(rows):
            each = np.arange(len(window.at))
            yield _Units(window, each, window.start + window.at, strata.numbers(window))
        return
    step = 8 * block_size  # a window holds whole blocks, and whole bytes of a mask
    for window in windows_of(rows, max(WINDOW_ROWS // step, 1) * step):
        blocks = (window.start + window.at) // block_size
        first = np.flatnonzero(np.diff(blocks, prepend=-1))
        of_row = np.repeat(
            np.arange(len(first)), np.diff(np.append(first, len(blocks)))
        )
        labels = _most_frequent(of_row, strata.numbers(window), len(strata))
        yield _Units(window, of_row, blocks[first], labels)


def _most_frequent(of_row: Integers, labels: Integers, n_labels: int) -> Integers:
    """Return the label that most rows of each unit have, the first of equal ones."""
    pairs, times = np.unique(of_row * n_labels + labels, return_counts=True)
    order = np.lexsort((-times, pairs // n_labels))
    units = pairs[order] // n_labels
    found: Integers = (pairs[order] % n_labels)[np.diff(units, prepend=-1) > 0]
    return found


def _deal(units: _Units, left: Integers, seed: int) -> Integers:
    """Return the part of each unit of a window, and take it from what is `left`."""
    n_units, n_parts = len(units.numbers), left.shape[1]
    if not n_units:
        return np.empty(0, np.int64)
    here = np.bincount(units.strata, minlength=len(left))
    present = np.flatnonzero(here)
    key = derive_key(seed, 0, Purpose.SPLIT, _ROUNDING)
    # The first unit of a window is that of no other window.
    window_key = int(hash_numbers(units.numbers[0], key=key))
    lots = hash_numbers(present, key=window_key)
    quotas = _allot(here[present], left[present], lots)
    left[present] -= quotas
    cells_key = derive_key(seed, 0, Purpose.SPLIT, _CELLS)
    hashes = hash_numbers(units.numbers, key=cells_key) >> np.uint64(64 - _HASH_BITS)
    order = units.strata.astype(np.uint64) << np.uint64(_HASH_BITS)
    order = (order | hashes) << np.uint64(_PLACE_BITS)
    order |= np.arange(n_units, dtype=np.uint64)
    order.sort()
    places = (order & np.uint64((1 << _PLACE_BITS) - 1)).astype(np.int64)
    parts = np.empty(n_units, np.int64)
    parts[places] = np.repeat(np.tile(np.arange(n_parts), len(present)), quotas.ravel())
    return parts


def _allot(here: Integers, left: Integers, lots: npt.NDArray[np.uint64]) -> Integers:
    """Divide the cells of some labels by what the parts have left to get of each.

    Each gets the floor or the ceiling of its share, as one random number a label says.

    Parameters
    ----------
    here
        Cells of each label, shape ``(k,)``.
    left
        Cells that each part is still to get, shape ``(k, n_parts)``; at least as many.
    lots
        A random number for each label.
    """
    total = left.sum(axis=1)
    offset = (lots % total.astype(np.uint64)).astype(np.int64)
    reached = here[:, None] * np.cumsum(left, axis=1) + offset[:, None]
    ends: Integers = reached // total[:, None]
    return np.diff(ends, axis=1, prepend=0)
