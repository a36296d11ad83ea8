"""The form in which X reaches the user: sparse rows, dense rows, or padded rows."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from .checks import first_outside, first_unfit

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Like `numpy.empty` for one dimension.
Empty = Callable[[int, np.dtype[Any]], npt.NDArray[Any]]
# What a row is called in errors.
NameRow = Callable[[int], str]
Output = Literal["csr", "dense", "padded"]
Overflow = Literal["error", "largest"]

__all__ = ["Form", "pack", "pack_dense", "pack_rows"]


@dataclass(frozen=True)
class Form:
    """How the X of a batch is laid out.

    Parameters
    ----------
    output
        ``"csr"``, ``"dense"`` or ``"padded"``.
    dtype
        Type of the values; the source's own type if None. A value that it cannot hold
        is an error; fractions are cut off by integers, digits rounded off by floats.
        SciPy has no float16, so CSR rows stored as float16 become float32.
    width
        Columns of padded rows.
    overflow
        What happens to a row with more than `width` stored values: ``"error"``, or
        ``"largest"`` to keep its `width` largest values.
    by_name
        Where X is several arrays: the form of each that differs from this one.
    """

    output: Output
    dtype: np.dtype[Any] | None = None  # Any: the scalar type is a run-time value
    width: int | None = None
    overflow: Overflow = "error"
    by_name: "Mapping[str, Form]" = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.output not in ("csr", "dense", "padded"):
            raise ValueError(
                f'output must be "csr", "dense", "padded" or "anndata",'
                f" got {self.output!r}"
            )
        if self.dtype is not None and self.dtype.kind not in "biufc":
            raise ValueError(f"dtype must be a type of numbers, got {self.dtype}")
        if self.overflow not in ("error", "largest"):
            raise ValueError(
                f'overflow must be "error" or "largest", got {self.overflow!r}'
            )
        if self.output == "csr" and self.dtype == np.float16:
            raise ValueError(
                'dtype="float16" with output="csr": SciPy has no sparse float16;'
                ' ask for float32, or for output="dense" or "padded"'
            )
        if self.output == "padded" and (self.width is None or self.width < 1):
            raise ValueError(f"width must be at least 1, got {self.width}")

    def of(self, name: str) -> "Form":
        """Return the form of the array called `name`, where X is several."""
        return self.by_name.get(name, self)

    def value_dtype(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """Return the type of the values made from values of type `stored`."""
        if self.dtype is not None:
            return self.dtype
        if self.output == "csr" and stored == np.float16:
            return np.dtype(np.float32)
        return stored


def pack(x: Any, *, form: Form) -> Any:  # Any: as pack_rows
    """Lay a dense array or a CSR matrix out in `form`; anything else stays as it is.

    Several arrays by name each come in their own form.
    """
    if isinstance(x, Mapping) and form.by_name.keys() == x.keys():
        return {name: pack(part, form=form.of(name)) for name, part in x.items()}
    if isinstance(x, np.ndarray):
        return pack_dense(x, form=form)
    if getattr(x, "format", None) != "csr":
        return x
    starts = x.indptr.astype(np.int64, copy=False)
    _check_csr(x.indices, starts, len(x.data), x.shape)
    return pack_rows(x.data, x.indices, starts, n_vars=x.shape[1], form=form)


def _check_csr(
    columns: npt.NDArray[np.integer[Any]],
    starts: npt.NDArray[np.int64],
    n_stored: int,
    shape: tuple[int, int],
) -> None:
    """Raise if the parts of a CSR matrix, of a user's making, do not go together."""
    if (
        len(starts) != shape[0] + 1
        or starts[0] != 0
        or (starts[1:] < starts[:-1]).any()
        or not starts[-1] <= min(len(columns), n_stored)
    ):
        raise ValueError(
            f"the row pointers (indptr) of a CSR matrix of shape {shape} with"
            f" {n_stored} stored values are wrong"
        )
    wrong = first_outside(columns[: int(starts[-1])], shape[1])
    if wrong is not None:
        raise ValueError(
            f"a CSR matrix of shape {shape} has the column {columns[wrong]}"
        )


def _row_of_batch(row: int) -> str:
    return f"row {row} of the batch"


def pack_rows(
    values: npt.NDArray[Any],
    columns: npt.NDArray[np.integer[Any]],
    starts: npt.NDArray[np.int64],
    *,
    n_vars: int,
    form: Form,
    empty: Empty = np.empty,
    name_row: NameRow = _row_of_batch,
) -> Any:  # Any: which of three types depends on the form
    """Lay sparse rows out in `form`.

    Parameters
    ----------
    values
        Stored values of all rows, one row after the other, shape ``(n_stored,)``.
    columns
        The column of each value, already checked to lie in ``[0, n_vars)``.
    starts
        Where each row starts in `values`, shape ``(n_rows + 1,)``, from 0.
    n_vars
        Number of columns.
    form
        The layout wanted.
    empty
        Gives memory for what must be written anew, as `numpy.empty` does.
    name_row
        Says what a row is called in errors.

    Raises
    ------
    ValueError
        If a row is too long, or a value is outside the form's dtype.

    Returns
    -------
    x
        A CSR array or a dense array ``(n_rows, n_vars)``, or a dict with `indices`
        and `values` ``(n_rows, width)`` and `length` ``(n_rows,)``.
    """
    stored, dtype = values.dtype, form.value_dtype(values.dtype)
    if form.output == "dense" and dtype.kind in "iu" and _can_lose(stored, dtype):
        # Values of one column add up, and that before they are made small.
        dense = _dense(values, columns, starts, n_vars, stored, empty)
        return pack_dense(dense, form=form, empty=empty, name_row=name_row)
    wrong = first_unfit(values, dtype)
    if wrong is not None:
        row = int(np.searchsorted(starts, wrong, side="right")) - 1
        raise _unfit(name_row(row), values[wrong], dtype)
    if form.output == "csr":
        return _csr(_cast(values, dtype, empty), columns, starts, n_vars, empty)
    if form.output == "dense":
        return _dense(values, columns, starts, n_vars, dtype, empty)
    return _padded(values, columns, starts, form, dtype, empty, name_row)


def _can_lose(stored: np.dtype[Any], dtype: np.dtype[Any]) -> bool:
    return not np.can_cast(stored, dtype, "safe")


def _unfit(row: str, value: Any, dtype: np.dtype[Any]) -> ValueError:
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return ValueError(
        f"{row} has the value {value}, and dtype={str(dtype)!r} holds {limits.min} to"
        f" {limits.max}: ask for another dtype"
    )


def pack_dense(
    rows: npt.NDArray[Any],
    *,
    form: Form,
    empty: Empty = np.empty,
    name_row: NameRow = _row_of_batch,
) -> Any:  # Any: as pack_rows
    """Lay dense rows ``(n_rows, n_vars)`` out in `form`; the rest as `pack_rows`."""
    if form.output == "dense":
        dtype = form.value_dtype(rows.dtype)
        if rows.dtype != dtype:
            wrong = first_unfit(rows.reshape(-1), dtype)
            if wrong is not None:
                row, column = divmod(wrong, rows.shape[1])
                raise _unfit(name_row(row), rows[row, column], dtype)
        return _cast(rows, dtype, empty)
    row_ids, columns = np.nonzero(rows)
    starts = np.searchsorted(row_ids, np.arange(len(rows) + 1)).astype(np.int64)
    return pack_rows(
        rows[row_ids, columns],
        columns.astype(np.int32),
        starts,
        n_vars=rows.shape[1],
        form=form,
        empty=empty,
        name_row=name_row,
    )


def _cast(
    values: npt.NDArray[Any], dtype: np.dtype[Any], empty: Empty
) -> npt.NDArray[Any]:
    """Return `values` as `dtype`: themselves, or a copy in memory from `empty`."""
    if values.dtype == dtype:
        return values
    out = empty(values.size, dtype).reshape(values.shape)
    out[...] = values
    return out


def _zeros(shape: tuple[int, int], dtype: np.dtype[Any], empty: Empty) -> Any:
    # Clearing memory that is used again costs less than faulting in new pages.
    out = empty(shape[0] * shape[1], dtype).reshape(shape)
    out[...] = 0
    return out


def _csr(
    values: npt.NDArray[Any],
    columns: npt.NDArray[np.integer[Any]],
    starts: npt.NDArray[np.int64],
    n_vars: int,
    empty: Empty,
) -> "csr_array[Any, tuple[int, int]]":
    small = max(n_vars, int(starts[-1])) < 2**31
    index_dtype = np.dtype(np.int32 if small else np.int64)
    # SciPy's constructor looks at its arguments for 27 us; a copy of an empty array
    # whose parts are then replaced takes 5. The parts are known to go together.
    x = copy.copy(_empty_csr(len(starts) - 1, n_vars))
    x.data = values
    x.indices = _cast(columns, index_dtype, empty)
    x.indptr = starts.astype(index_dtype, copy=False)
    return x


@lru_cache(maxsize=8)
def _empty_csr(n_rows: int, n_vars: int) -> "csr_array[Any, tuple[int, int]]":
    from scipy.sparse import csr_array

    return csr_array((n_rows, n_vars), dtype=np.float32)


def _dense(
    values: npt.NDArray[Any],
    columns: npt.NDArray[np.integer[Any]],
    starts: npt.NDArray[np.int64],
    n_vars: int,
    dtype: np.dtype[Any],
    empty: Empty,
) -> npt.NDArray[Any]:
    n_rows = len(starts) - 1
    dense: npt.NDArray[Any] = _zeros((n_rows, n_vars), dtype, empty)
    if dtype != np.float16 and dtype.kind in "fiu":
        _csr(_cast(values, dtype, empty), columns, starts, n_vars, empty).toarray(
            out=dense
        )
        return dense
    # SciPy's kernel knows no float16 and no bool.
    row_ids = np.repeat(np.arange(n_rows, dtype=np.int64), np.diff(starts))
    places = row_ids * n_vars + columns
    if np.all(places[1:] > places[:-1]):
        dense.reshape(-1)[places] = values
    else:  # unsorted, or the same column twice in a row: values of a column add up
        np.add.at(dense.reshape(-1), places, values.astype(dtype, copy=False))
    return dense


def _padded(
    values: npt.NDArray[Any],
    columns: npt.NDArray[np.integer[Any]],
    starts: npt.NDArray[np.int64],
    form: Form,
    dtype: np.dtype[Any],
    empty: Empty,
    name_row: NameRow,
) -> dict[str, npt.NDArray[Any]]:
    assert form.width is not None  # checked by Form
    width, n_rows = form.width, len(starts) - 1
    lengths = np.diff(starts)
    too_long = lengths > width
    if too_long.any() and form.overflow == "error":
        worst = int(np.argmax(lengths))
        raise ValueError(
            f"{name_row(worst)} has {lengths[worst]} stored values and width is"
            f' {width}; give a larger width, or overflow="largest" to keep the largest'
        )
    padded_columns = _zeros((n_rows, width), np.dtype(np.int32), empty)
    padded_values = _zeros((n_rows, width), dtype, empty)
    for row in range(n_rows):
        start, stop = int(starts[row]), int(starts[row + 1])
        row_columns, row_values = columns[start:stop], values[start:stop]
        if stop - start > width:
            kept = _largest(row_values, width)
            row_columns, row_values = row_columns[kept], row_values[kept]
        padded_columns[row, : len(row_columns)] = row_columns
        padded_values[row, : len(row_values)] = row_values
    return {
        "indices": padded_columns,
        "values": padded_values,
        "length": np.minimum(lengths, width).astype(np.int32),
    }


def _largest(values: npt.NDArray[Any], width: int) -> npt.NDArray[np.intp]:
    """Return the sorted positions of the `width` largest values; first of equals."""
    if values.dtype.kind == "f" and np.isnan(values).any():
        order = np.argsort(-values.astype(np.float64), kind="stable")
        return np.sort(order[:width])
    least = np.partition(values, len(values) - width)[len(values) - width]
    kept = values > least
    equal = np.flatnonzero(values == least)
    kept[equal[: width - np.count_nonzero(kept)]] = True
    return np.flatnonzero(kept)
