"""X in any layout, seen as values or as sparse rows; nothing here writes to X."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..checks import first_outside

__all__ = [
    "Entries",
    "add_up_repeats",
    "check_columns",
    "check_counts",
    "count_columns",
    "find_entries",
    "float_dtype",
    "get_values",
    "is_csr",
    "is_padded",
    "is_tokens",
    "put_entries",
    "put_values",
    "sum_rows",
]

Values = npt.NDArray[Any]
Matrix = Any  # an ndarray, a SciPy CSR array, or the dict of padded rows


class Entries(NamedTuple):
    """The entries of the rows of X, one row after the other.

    Parameters
    ----------
    values
        Values, shape ``(n_entries,)``.
    columns
        The column of each value.
    starts
        Where each row starts, and the number of entries, shape ``(n_rows + 1,)``.
    at
        Where each entry stands in the array of values that holds it, counted through
        its rows; None where they stand one after the other.
    """

    values: Values
    columns: npt.NDArray[np.integer[Any]]
    starts: npt.NDArray[np.int64]
    at: npt.NDArray[np.int64] | None = None

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of entries of each row."""
        return np.diff(self.starts)

    def keep(self, kept: npt.NDArray[np.bool_]) -> "Entries":
        """Return some of the entries: themselves where all are kept."""
        if kept.all():
            return self
        at = np.flatnonzero(kept)  # one search through the mask in place of two
        starts = np.searchsorted(at, self.starts).astype(np.int64, copy=False)
        return Entries(self.values[at], self.columns[at], starts)

    def in_column_order(self) -> "Entries":
        """Return the entries of each row by column, each column once.

        Values of the same column of a row are added up, as SciPy does.
        """
        columns, starts = self.columns, self.starts
        if self._rise():
            return self
        rows = np.repeat(np.arange(len(starts) - 1), self.lengths)
        order = np.lexsort((columns, rows))
        rows, columns, values = rows[order], columns[order], self.values[order]
        new = np.ones(len(rows), bool)
        new[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
        firsts = np.flatnonzero(new)
        summed = np.add.reduceat(values, firsts, dtype=values.dtype)
        at = np.searchsorted(rows[firsts], np.arange(len(starts)))
        return Entries(summed, columns[firsts], at.astype(np.int64, copy=False))

    def repeat(self) -> bool:
        """Return whether a row has a column more than once."""
        if self._rise():
            return False
        keys = np.repeat(np.arange(len(self.starts) - 1) << 32, self.lengths)
        keys |= self.columns
        keys.sort()  # several times as quick as sorting indirectly
        return bool((keys[1:] == keys[:-1]).any())

    def _rise(self) -> bool:
        """Return whether the columns of each row rise."""
        columns, starts = self.columns, self.starts
        rises = columns[1:] > columns[:-1]
        rises[starts[(starts > 0) & (starts < len(columns))] - 1] = True
        return bool(rises.all())


def is_csr(x: object) -> bool:
    """Whether X is a CSR array or matrix of SciPy."""
    return getattr(x, "format", None) == "csr" and hasattr(x, "indptr")


def is_padded(x: object) -> bool:
    """Whether X is the dict of padded rows."""
    return isinstance(x, Mapping) and {"indices", "values", "length"} <= set(x)


def is_tokens(x: object) -> bool:
    """Whether X is a dict of tokens."""
    return isinstance(x, Mapping) and {"tokens", "length"} <= set(x)


def get_values(x: Matrix) -> Values:
    """Return the values that X holds: an array of its own shape, or of stored values.

    Raises
    ------
    TypeError
        If X is no matrix of numbers in one of the three layouts.
    """
    if isinstance(x, np.ndarray) and x.ndim == 2:
        values: Values = np.asarray(x)
    elif is_csr(x):
        values = x.data[: int(x.indptr[-1])]
    elif is_padded(x):
        values = x["values"]
    else:
        raise TypeError(f"X must be CSR, dense or padded rows, got {_describe(x)}")
    if values.dtype.kind not in "biuf":
        raise TypeError(f"X must hold real numbers, got {values.dtype}")
    return values


def _describe(x: Any) -> str:
    """Say what X is, and what to do, where it is in no layout of a batch."""
    if is_tokens(x):
        return "tokens: put this transform before rank_tokens"
    if hasattr(x, "obs_names"):
        return (
            "an AnnData object: give the hook as fetch_transform, or ask for"
            ' output="csr" or "dense"'
        )
    if isinstance(x, np.ndarray):
        return f"an array of {x.ndim} dimensions"
    if hasattr(x, "tocsr"):
        return f"a sparse matrix stored as {x.format.upper()}: give x.tocsr()"
    return f"a {type(x).__name__}"


def put_values(x: Matrix, values: Values) -> Matrix:
    """Return X with other values, of the shape that :func:`get_values` gives.

    Where values stand (the columns and lengths of rows) is shared with `x`.
    """
    if isinstance(x, np.ndarray):
        return values
    if isinstance(x, Mapping):
        return {**x, "values": values}
    new = copy.copy(x)  # SciPy's own constructor takes longer, and may copy the columns
    new.data, new.indices = values, x.indices[: len(values)]
    return new


def add_up_repeats(x: Matrix) -> Matrix:
    """Return CSR or padded rows that hold each column once; X itself where they do.

    Values of the same column of a row are added up, as SciPy does.
    """
    if not (is_csr(x) or is_padded(x)) or not _may_repeat(x):
        return x
    entries = find_entries(x, zeros=True)
    if not entries.repeat():
        return x  # in another order perhaps, which does not matter
    summed = entries.in_column_order()
    if isinstance(x, Mapping):
        return _pad(x, summed)
    new = copy.copy(x)
    new.data, new.indices = summed.values, summed.columns
    new.indptr = summed.starts.astype(x.indptr.dtype)
    return new


def _may_repeat(x: Matrix) -> bool:
    """Return whether columns do not rise along the rows, so that some may repeat."""
    if not isinstance(x, Mapping):
        return True  # which is quick to see
    columns = x["indices"]
    rises = columns[:, 1:] > columns[:, :-1]
    rises |= np.arange(1, columns.shape[1]) >= _lengths(x)[:, None]
    return not rises.all()


def _pad(x: Mapping[str, Any], entries: Entries) -> Matrix:
    """Return padded rows with other, fewer entries."""
    indices, values = np.zeros_like(x["indices"]), np.zeros_like(x["values"])
    firsts = np.arange(len(indices)) * indices.shape[1] - entries.starts[:-1]
    at = np.arange(len(entries.values)) + np.repeat(firsts, entries.lengths)
    indices.reshape(-1)[at] = entries.columns
    values.reshape(-1)[at] = entries.values
    length = entries.lengths.astype(x["length"].dtype)
    return {**x, "indices": indices, "values": values, "length": length}


def find_entries(x: Matrix, *, zeros: bool = False) -> Entries:
    """Return the entries of X: what is not zero, or what is stored.

    Parameters
    ----------
    x
        CSR, dense or padded rows.
    zeros
        Take zeros that are stored, in CSR or padded rows, as entries too.
    """
    values = get_values(x)
    if isinstance(x, np.ndarray):
        # Searching through bools takes a third of the time of searching through floats.
        at = np.flatnonzero(values != 0)
        starts = np.searchsorted(at, np.arange(len(x) + 1) * x.shape[1])
        columns = at % max(x.shape[1], 1)
        return Entries(values.reshape(-1)[at], columns, starts.astype(np.int64), at)
    if isinstance(x, Mapping):
        at = np.flatnonzero(np.arange(values.shape[1]) < _lengths(x)[:, None])
        starts = np.concatenate([[0], np.cumsum(_lengths(x), dtype=np.int64)])
        columns = x["indices"].reshape(-1)[at]
        entries = Entries(values.reshape(-1)[at], columns, starts, at)
    else:
        starts = x.indptr.astype(np.int64, copy=False)
        entries = Entries(values, x.indices[: len(values)], starts)
    return entries if zeros else entries.keep(entries.values != 0)


def put_entries(x: Matrix, entries: Entries, values: Values) -> Matrix:
    """Return X with other values of the entries that are stored; all else is zero.

    Parameters
    ----------
    x
        CSR, dense or padded rows.
    entries
        What ``find_entries(x, zeros=True)`` gives.
    values
        The new values, shape ``(n_entries,)``.
    """
    if entries.at is None:
        return put_values(x, values)
    new = np.zeros(get_values(x).shape, values.dtype)
    new.reshape(-1)[entries.at] = values
    return put_values(x, new)


def _lengths(x: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """Return the length of each padded row, checked."""
    lengths = np.asarray(x["length"], np.int64)
    width = x["values"].shape[1]
    if len(lengths) and not 0 <= lengths.min() <= lengths.max() <= width:
        raise ValueError(
            f"the lengths of padded rows of width {width} must be from 0 to {width},"
            f" got {lengths.min()} to {lengths.max()}"
        )
    return lengths


def sum_rows(x: Matrix) -> npt.NDArray[np.float64]:
    """Return the total of each row, float64, shape ``(n_rows,)``."""
    values = get_values(x)
    if not is_csr(x):
        sums: npt.NDArray[np.float64] = values.sum(axis=1, dtype=np.float64)
        return sums
    starts = x.indptr[:-1]
    filled = np.flatnonzero(x.indptr[1:] > starts)  # reduceat has no empty sums
    totals = np.zeros(x.shape[0])
    if len(filled):
        totals[filled] = np.add.reduceat(values, starts[filled], dtype=np.float64)
    return totals


def count_columns(x: Matrix, n_vars: int | None, known: int | None) -> int:
    """Return the number of genes of X.

    Parameters
    ----------
    x
        CSR, dense or padded rows.
    n_vars
        What the user gave; padded rows do not tell it.
    known
        What the batch tells.

    Raises
    ------
    ValueError
        If nothing tells it, or two disagree.
    """
    found = None if isinstance(x, Mapping) else int(x.shape[1])
    for number in (found, known):
        if number is not None and n_vars is not None and number != n_vars:
            raise ValueError(f"n_vars is {n_vars:,}, and X has {number:,} genes")
    for number in (found, n_vars, known):
        if number is not None:
            return number
    raise ValueError(
        "padded rows do not tell the number of genes; give n_vars=source.shape[1]"
    )


def check_columns(columns: npt.NDArray[Any], n_vars: int) -> None:
    """Raise if a column is outside ``[0, n_vars)``."""
    wrong = first_outside(np.ascontiguousarray(columns).reshape(-1), n_vars)
    if wrong is not None:
        column = np.ravel(columns)[wrong]
        raise ValueError(f"X has column {column}, and there are {n_vars:,} genes")


def check_counts(values: Values) -> None:
    """Raise if a value is negative or NaN."""
    if values.size and not values.min() >= 0:  # the minimum of NaN is NaN
        raise ValueError(
            f"values must be counts, 0 or more, got {values.min()}; put this transform"
            " before one that makes negative values, such as scale"
        )


def float_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of results: floats stay, integers and bools become float32."""
    return dtype.newbyteorder("=") if dtype.kind == "f" else np.dtype(np.float32)
