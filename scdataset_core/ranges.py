"""Ranges of numbers: they stand for many numbers, none of which is listed."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["NOTHING_DONE", "RangeNumbers", "Ranges", "complement", "union"]

Numbers = npt.NDArray[np.int64]

Ranges = npt.NDArray[np.int64]
"""Half-open ranges of numbers, shape ``(k, 2)``, sorted and disjoint."""

NOTHING_DONE: Ranges = np.empty((0, 2), np.int64)


def union(ranges: Iterable[Iterable[int]] | Ranges) -> Ranges:
    """Return the sorted, disjoint, joined ranges that cover the same numbers."""
    given = ranges if isinstance(ranges, np.ndarray) else list(ranges)
    array = np.asarray(given, np.int64).reshape(-1, 2)
    array = array[array[:, 1] > array[:, 0]]
    if not len(array):
        return NOTHING_DONE
    array = array[np.argsort(array[:, 0], kind="stable")]
    reached = np.maximum.accumulate(array[:, 1])
    first = np.concatenate([[True], array[1:, 0] > reached[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.column_stack([array[first, 0], reached[last]])


def complement(done: Ranges, n: int) -> Ranges:
    """Return the ranges of ``[0, n)`` that `done` leaves."""
    edges = np.concatenate([[0], np.minimum(done.reshape(-1), n), [n]]).reshape(-1, 2)
    return edges[edges[:, 1] > edges[:, 0]]


class RangeNumbers:
    """The numbers of some ranges, by their positions among them.

    Parameters
    ----------
    ranges
        The ranges; empty ones are left out.
    """

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges[ranges[:, 1] > ranges[:, 0]]

    @cached_property
    def _reached(self) -> Numbers:
        """How many numbers lie in the first 0, 1, ... ranges."""
        lengths = self.ranges[:, 1] - self.ranges[:, 0]
        return np.concatenate([[0], np.cumsum(lengths)])

    def __len__(self) -> int:
        return int(self._reached[-1])

    def at(self, positions: Numbers) -> Numbers:
        """Return the numbers at `positions`, each in ``[0, len(self))``."""
        which = np.searchsorted(self._reached, positions, side="right") - 1
        numbers: Numbers = self.ranges[which, 0] + positions - self._reached[which]
        return numbers

    def count_below(self, numbers: Numbers) -> Numbers:
        """Return how many of the numbers lie below each of `numbers`."""
        if not len(self.ranges):
            return np.zeros(numbers.shape, np.int64)
        which = np.searchsorted(self.ranges[:, 0], numbers, side="right") - 1
        start, stop = self.ranges[np.maximum(which, 0)].T
        below = self._reached[np.maximum(which, 0)] + np.minimum(numbers, stop) - start
        return np.where(which < 0, 0, below)

    def first(self, n: int) -> Ranges:
        """Return the ranges of the first `n` of the numbers."""
        taken = np.clip(n - self._reached[:-1], 0, np.diff(self._reached))
        starts = self.ranges[:, 0]
        return np.column_stack([starts, starts + taken])[taken > 0]
