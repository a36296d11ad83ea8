"""Deals whole groups of cells to parts, each label in about the same proportions."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..permutation import Purpose, derive_key, shuffled
from ..row_sets import RowSet
from .dealing_cells import pack_parts
from .groups import Groups, count_numbers, windows_of

__all__ = ["deal_groups"]

Integers = npt.NDArray[np.int64]

_ORDER = 3  # of the uses of the hash; see `dealing_cells`


def deal_groups(
    rows: RowSet, groups: Groups, strata: Groups, weights: Sequence[int], *, seed: int
) -> list[RowSet]:
    """Return the rows of each part.

    Parameters
    ----------
    rows
        The rows that are dealt.
    groups
        Their groups, each of which goes to one part.
    strata
        Their labels.
    weights
        The shares of the parts.
    seed
        Key of the randomness.

    Raises
    ------
    ValueError
        If there are fewer groups than parts.
    """
    if len(groups) < len(weights):
        raise ValueError(
            f"by={list(groups.columns)} makes {len(groups)} groups, which"
            f" {len(weights)} parts cannot divide: each needs one at least"
        )
    part_of = _Dealer(_Table(rows, groups, strata), weights).deal(seed)
    dealt = ((window, part_of[groups.numbers(window)]) for window in windows_of(rows))
    return pack_parts(dealt, rows.n_rows, len(weights))


class _Table:
    """How many cells of each label every group has.

    Attributes
    ----------
    sizes, largest : list of int
        The cells of each label, and how many of them one group has at most.
    """

    def __init__(self, rows: RowSet, groups: Groups, strata: Groups) -> None:
        n_labels = len(strata)

        def find_pairs() -> Iterator[Integers]:
            for window in windows_of(rows):
                yield groups.numbers(window) * n_labels + strata.numbers(window)

        if n_labels == 1:
            pairs, cells = np.arange(len(groups)), groups.counts
        else:
            pairs, cells = count_numbers(find_pairs())
        labels = pairs % n_labels
        self._first = np.searchsorted(pairs // n_labels, np.arange(len(groups) + 1))
        self._labels, self._cells = labels.tolist(), cells.tolist()
        self.sizes = strata.counts.tolist()
        largest = np.zeros(n_labels, np.int64)
        np.maximum.at(largest, labels, cells)
        self.largest = largest.tolist()

    def __len__(self) -> int:
        return len(self._first) - 1

    def labels_of(self, group: int) -> list[tuple[int, int]]:
        """Return the labels of a group, and how many cells it has of each."""
        first, last = int(self._first[group]), int(self._first[group + 1])
        return list(zip(self._labels[first:last], self._cells[first:last], strict=True))


class _Dealer:
    """Deals groups one after the other.

    A group may go to a part if afterwards no label's cells lie in parts that have more
    than their share by more cells than one group has of it at most, taken together; or
    if the part lacks most of the label. So where each group has one label, every part
    ends with its share of the label to within one group. Of the parts that it may go
    to, it goes to the one that lags most behind its share of all cells so far.

    Parameters
    ----------
    table
        The cells of each group.
    weights
        The shares of the parts.
    """

    def __init__(self, table: _Table, weights: Sequence[int]) -> None:
        self._table = table
        self._weights = list(weights)
        self._whole = sum(weights)
        # What parts lack of each label, and of the cells so far, times `_whole`.
        self._lacking = [[n * w for w in weights] for n in table.sizes]
        self._lagging = [0] * len(weights)

    def deal(self, seed: int) -> Integers:
        """Return the part of each group."""
        key = derive_key(seed, 0, Purpose.SPLIT, _ORDER)
        part_of = np.empty(len(self._table), np.int64)
        empty = set(range(len(self._weights)))
        n_left = len(self._table)
        for group in shuffled(len(self._table), key=key).tolist():
            able = sorted(empty) if n_left <= len(empty) else range(len(self._weights))
            part_of[group] = part = self._choose(self._table.labels_of(group), able)
            empty.discard(part)
            n_left -= 1
        return part_of

    def _choose(self, labels: list[tuple[int, int]], able: Sequence[int]) -> int:
        """Return the part of a group, and count its cells there."""
        for _, cells in labels:
            for part, weight in enumerate(self._weights):
                self._lagging[part] += cells * weight
        fair = [part for part in able if self._is_fair(labels, part)]
        if fair:
            part = max(fair, key=self._lagging.__getitem__)
        else:
            part = max(able, key=lambda part: self._need(labels, part))
        for label, cells in labels:
            self._lacking[label][part] -= cells * self._whole
            self._lagging[part] -= cells * self._whole
        return part

    def _is_fair(self, labels: list[tuple[int, int]], part: int) -> bool:
        for label, cells in labels:
            lacking = self._lacking[label]
            if lacking[part] == max(lacking):
                continue
            over = -sum(lack for lack in lacking if lack < 0)
            after = lacking[part] - cells * self._whole
            over += max(-after, 0) - max(-lacking[part], 0)
            if over > self._table.largest[label] * self._whole:
                return False
        return True

    def _need(self, labels: list[tuple[int, int]], part: int) -> Any:  # Any: a number
        """Return how much a part lacks of the labels of a group, each by its size."""
        return sum(
            cells * self._lacking[label][part] / self._table.sizes[label]
            for label, cells in labels
        )
