"""Filters: the rows whose obs columns meet conditions."""

import operator
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

import numpy as np
import numpy.typing as npt

from ...labels import is_missing
from ...row_sets import WINDOW_ROWS, RowSet
from .asked_columns import AskedColumn

__all__ = ["find_rows"]

Mask = npt.NDArray[np.bool_]
Test = Callable[[npt.NDArray[Any]], Mask]


def find_rows(
    n_rows: int,
    rows: RowSet | None,
    columns: Mapping[str, AskedColumn],
    wanted: Mapping[str, Any],  # Any: see `LabelledCells.where`
) -> RowSet:
    """Return the rows that meet all conditions.

    Columns are read a window of rows at a time, and only where a row is left.

    Parameters
    ----------
    n_rows
        Number of rows of the source.
    rows
        Only these; None: all.
    columns, wanted
        The columns by name, and what the values of each must be.
    """
    tests = [(column, _make_test(column, wanted[n])) for n, column in columns.items()]

    def find_masks() -> Iterator[Mask]:
        for start in range(0, n_rows, WINDOW_ROWS):
            stop = min(start + WINDOW_ROWS, n_rows)
            mask = np.ones(stop - start, bool)
            if rows is not None:
                mask = rows.mask(start, stop)
            for column, test in tests:
                if mask.any():
                    mask &= test(column.read_range(start, stop))
            yield mask

    return RowSet.from_masks(n_rows, find_masks())


def _make_test(column: AskedColumn, wanted: Any) -> Test:
    """Return the function that tells which values of a column are wanted."""
    if isinstance(wanted, RowSet | Mapping):
        raise TypeError(
            f'what obs column "{column.name}" must be is a label or number, a list of'
            f" them, a range (low, high) or None, got a {type(wanted).__name__}"
        )
    if isinstance(wanted, tuple):
        low, high = _check_range(column, wanted)
        if column.labels is None:
            return _in_range(column, low, high)
        return _has_code(column, _codes_between(column, low, high))
    if isinstance(wanted, np.ndarray):
        wanted = wanted.reshape(-1).tolist()
    several = isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes)
    values = [_plain(value) for value in (wanted if several else [wanted])]
    if column.labels is None:
        return _is_one_of(column, values)
    codes = [-1 if is_missing(value) else column.code_of(value) for value in values]
    return _has_code(column, codes)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _has_code(column: AskedColumn, codes: Collection[int]) -> Test:
    assert column.labels is not None
    chosen = np.zeros(len(column.labels) + 1, bool)
    chosen[list(codes)] = True  # the code -1 of a missing label is the last entry
    return lambda found: chosen[found]


def _codes_between(column: AskedColumn, low: Any, high: Any) -> list[int]:
    """Return the codes of the labels in a range; None is no limit."""
    assert column.labels is not None
    labels = column.labels
    if low is None and high is None:
        return list(range(len(labels)))
    are_numbers = all(isinstance(label, int | float) for label in labels)
    if column.is_ordered and not (are_numbers and sorted(labels) == list(labels)):
        first = 0 if low is None else column.code_of(low)
        last = len(labels) - 1 if high is None else column.code_of(high)
        if first > last:
            raise ValueError(_is_empty(column, low, high))
        return list(range(first, last + 1))
    if are_numbers:
        _check_numbers(column, low, high)
        return [
            code
            for code, label in enumerate(labels)
            if (low is None or label >= low) and (high is None or label <= high)
        ]
    raise TypeError(
        f'obs column "{column.name}" holds labels without an order, and a tuple is a'
        f" range (low, high), got {(low, high)}; give a list of labels:"
        f" {[low, high]}"
    )


def _check_range(column: AskedColumn, given: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(given) != 2:
        raise ValueError(
            f'a tuple is a range (low, high) of obs column "{column.name}", got'
            f" {len(given)} values; give a list of labels or numbers: {list(given)}"
        )
    low, high = map(_plain, given)
    return low, high


def _check_numbers(column: AskedColumn, low: Any, high: Any) -> None:
    for bound in (low, high):
        if bound is not None and not isinstance(bound, int | float):
            raise TypeError(
                f'a range of obs column "{column.name}" has numbers, or None for no'
                f" limit, at its ends, got {(low, high)}"
            )
        if bound is not None and bound != bound:
            raise ValueError(
                f'a range of obs column "{column.name}" cannot end at NaN; give None'
                " for no limit"
            )
    if low is not None and high is not None and low > high:
        raise ValueError(_is_empty(column, low, high))


def _is_empty(column: AskedColumn, low: Any, high: Any) -> str:
    return (
        f'a range of obs column "{column.name}" is (low, high), got {(low, high)},'
        " which ends below its start"
    )


def _in_range(column: AskedColumn, low: Any, high: Any) -> Test:
    """Return the test whether numbers lie in a range; None is no limit."""
    _check_numbers(column, low, high)
    limits = [
        (compare, bound)
        for compare, bound in ((operator.ge, low), (operator.le, high))
        if bound is not None
    ]

    def test(values: npt.NDArray[Any]) -> Mask:
        mask: Mask = values == values  # NaN is not
        for compare, bound in limits:
            mask &= compare(values, bound)
        return mask

    return test


def _is_one_of(column: AskedColumn, wanted: list[Any]) -> Test:
    """Return the test whether numbers are among those wanted, or missing."""
    numbers = [value for value in wanted if not is_missing(value)]
    for value in numbers:
        if not isinstance(value, int | float):
            kind = "booleans" if column.dtype.kind == "b" else "numbers"
            raise TypeError(
                f'obs column "{column.name}" holds {kind} ({column.dtype}), got'
                f" {value!r}"
            )

    with_missing = len(numbers) < len(wanted)
    stored = _as_stored(numbers, column.dtype)

    def test(values: npt.NDArray[Any]) -> Mask:
        mask: Mask = np.isin(values, stored)
        return mask | (values != values) if with_missing else mask

    return test


def _as_stored(numbers: Sequence[float], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return numbers in the type of a column, without those that it cannot hold."""
    if dtype.kind == "f":
        return np.array(numbers, dtype)
    low, high = (0, 1) if dtype.kind == "b" else _limits(dtype)
    held = [int(x) for x in numbers if low <= x <= high and x == int(x)]
    return np.array(held, dtype)


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
