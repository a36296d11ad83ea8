"""Groups of cells: those that agree in some obs columns, numbered."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..row_sets import WINDOW_ROWS, RowSet
from ..sources.base import Source
from ..sources.obs.asked_columns import AskedColumn

__all__ = ["Groups", "Window", "find_groups", "name_columns", "windows_of"]

Integers = npt.NDArray[np.int64]

_MOST_VALUES = 1 << 20  # different numbers of a column; more are a measurement
_MOST_KEYS = 1 << 22  # a table of as many numbers is small beside a window of rows
_TOO_MANY = 1 << 62  # combinations that 64 bits cannot number


class Window(NamedTuple):
    """Some consecutive rows of a source.

    Parameters
    ----------
    start, stop
        The first of them, and the one after the last.
    at
        Which of them are wanted, counted from `start`, increasing.
    """

    start: int
    stop: int
    at: Integers


def windows_of(rows: RowSet, size: int = WINDOW_ROWS) -> Iterator[Window]:
    """Yield all rows of a source a window at a time, and which are in a set."""
    for start in range(0, rows.n_rows, size):
        stop = min(start + size, rows.n_rows)
        yield Window(start, stop, np.flatnonzero(rows.mask(start, stop)))


class _Coder:
    """Gives the values of a column codes, from 0 on; a missing value has the last.

    They follow the sorted labels, or numbers, so that a split does not depend on the
    order in which a source lists its labels; but labels that are ordered keep theirs.

    Parameters
    ----------
    column
        The column.
    rows
        The rows whose values get codes.
    """

    def __init__(self, column: AskedColumn, rows: RowSet) -> None:
        self._column = column
        self._values: npt.NDArray[Any] | None = None
        if column.labels is not None:
            labels = list(column.labels)
            order = list(range(len(labels)))
            if not column.is_ordered:
                order.sort(key=lambda code: str(labels[code]))
            self.labels = [*(labels[code] for code in order), None]
            # The code -1 of a missing label takes the last entry.
            self._code_map = np.append(np.argsort(order), len(order))
            return
        found = np.empty(0, column.dtype)
        for window in windows_of(rows):
            if len(window.at):
                values = column.read_range(window.start, window.stop)[window.at]
                found = np.union1d(found, values[values == values])
            if len(found) > _MOST_VALUES:
                raise ValueError(
                    f'obs column "{column.name}" holds more than {_MOST_VALUES:,}'
                    " different numbers: it measures cells, and makes no groups"
                )
        self._values = found
        self.labels = [*found.tolist(), None]

    def encode(self, window: Window) -> Integers:
        """Return the codes of the wanted rows of a window."""
        values = self._column.read_range(window.start, window.stop)[window.at]
        if self._values is None:
            labelled: Integers = self._code_map[values]
            return labelled
        codes = np.searchsorted(self._values, values).astype(np.int64, copy=False)
        codes[values != values] = len(self.labels) - 1
        return codes


class Groups:
    """The combinations of labels that cells have.

    Made by :func:`find_groups`.

    Parameters
    ----------
    columns
        Names of the columns; without any, all cells are one group.
    coders
        Give the values of each column codes.
    rows
        The rows that are looked at.

    Attributes
    ----------
    counts : ndarray of int64
        How many of the rows each group has.
    """

    def __init__(
        self, columns: Sequence[str], coders: Sequence[_Coder], rows: RowSet
    ) -> None:
        self.columns = tuple(columns)
        self._coders = tuple(coders)
        n_keys = 1
        for coder in coders:
            n_keys *= len(coder.labels)
        if n_keys >= _TOO_MANY:
            raise ValueError(
                f"the columns {list(columns)} have too many combinations of labels"
            )
        self._n_keys = n_keys
        self._keys, self.counts = self._count_keys(rows)
        self._table: npt.NDArray[np.int32] | None = None
        if n_keys <= _MOST_KEYS:
            self._table = np.zeros(n_keys, np.int32)
            self._table[self._keys] = np.arange(len(self._keys))

    def __len__(self) -> int:
        return len(self.counts)

    def _count_keys(self, rows: RowSet) -> tuple[Integers, Integers]:
        """Return the keys that come, and how often each does."""
        if not self._coders:
            return np.zeros(1, np.int64), np.array([len(rows)])
        if self._n_keys <= _MOST_KEYS:
            counts = np.zeros(self._n_keys, np.int64)
            for window in windows_of(rows):
                if len(window.at):
                    counts += np.bincount(self._encode(window), minlength=self._n_keys)
            keys = np.flatnonzero(counts)
            return keys, counts[keys]
        return count_numbers(self._encode(window) for window in windows_of(rows))

    def _encode(self, window: Window) -> Integers:
        """Return the key of each wanted row: its codes as the digits of a number."""
        keys = np.zeros(len(window.at), np.int64)
        if not len(keys):
            return keys
        for coder in self._coders:
            keys = keys * len(coder.labels) + coder.encode(window)
        return keys

    def numbers(self, window: Window) -> Integers:
        """Return the group of each wanted row of a window."""
        keys = self._encode(window)
        if self._table is not None:
            return self._table[keys].astype(np.int64)
        return np.searchsorted(self._keys, keys).astype(np.int64, copy=False)

    def label(self, number: int) -> Any:  # Any: a label, or a tuple of one a column
        """Return the label of a group, or of several columns a tuple; None: missing."""
        key = int(self._keys[number])
        labels: list[Any] = []
        for coder in reversed(self._coders):
            key, code = divmod(key, len(coder.labels))
            labels.append(coder.labels[code])
        return labels[0] if len(labels) == 1 else tuple(reversed(labels))

    def name(self, number: int) -> str:
        """Return what errors call a group: ``donor D3``."""
        label = self.label(number)
        labels = label if len(self.columns) > 1 else (label,)
        pairs = zip(self.columns, labels, strict=True)
        return ", ".join(
            f"{column} {'missing' if label is None else label}"
            for column, label in pairs
        )


def count_numbers(pieces: Iterator[Integers]) -> tuple[Integers, Integers]:
    """Return the numbers that come in any of the pieces, sorted, and how often each."""
    numbers, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for piece in pieces:
        found, times = np.unique(piece, return_counts=True)
        joined, at = np.unique(np.concatenate([numbers, found]), return_inverse=True)
        both = np.concatenate([counts, times])
        counts = np.bincount(at.reshape(-1), both, len(joined)).astype(np.int64)
        numbers = joined
    return numbers, counts


def find_groups(source: Any, columns: Sequence[str], rows: RowSet) -> Groups:
    """Return the groups that some rows of a source make.

    Parameters
    ----------
    source
        The source. Any: without columns, any object with rows.
    columns
        Its obs columns, carried or not. Each combination of labels is a group; missing
        values are a label of their own.
    rows
        The rows.

    Raises
    ------
    MissingNameError
        If there is no such column.
    ValueError
        If a column holds too many different numbers.
    """
    if not columns:
        return Groups((), (), rows)
    if not isinstance(source, Source):
        raise TypeError(
            f"a {type(source).__name__} has no obs columns, such as {columns[0]!r}:"
            " open() it first"
        )
    found = source.find_columns(columns)
    return Groups(columns, [_Coder(found[name], rows) for name in columns], rows)


# Any: whatever a user gives.
def name_columns(columns: Any, name: str) -> tuple[str, ...]:
    """Return the names of columns that are given as one, several or none.

    Parameters
    ----------
    columns
        A name, a list of names, or None.
    name
        What the argument is called.
    """
    given = [columns] if isinstance(columns, str) else columns
    given = () if given is None else given
    if not isinstance(given, Iterable) or not all(isinstance(c, str) for c in given):
        raise TypeError(
            f"{name} must be an obs column or a list of them, got {columns!r}"
        )
    given = tuple(given)
    if len(set(given)) < len(given):
        raise ValueError(f"{name} names a column twice: {', '.join(given)}")
    return given
