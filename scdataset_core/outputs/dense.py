"""Dense output: X is an ndarray of all columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import first_unfit
from .base import (
    Empty,
    MatrixLayout,
    Packing,
    SparseRows,
    StoredRows,
    cast,
    check_values,
    make_zeros,
    put_at_places,
    unfit_error,
)
from .csr import make_csr

__all__ = ["DenseOutput"]


class DenseOutput(MatrixLayout):
    """``output="dense"``: an array ``(n_rows, n_vars)``."""

    name = "dense"

    def pack_rows(self, rows: SparseRows, packing: Packing) -> Any:
        """Return dense rows; values of one column of a row add up."""
        if packing.dtype.kind in "iu" and _can_lose(rows.values.dtype, packing.dtype):
            # Values of one column are added up before they are made small.
            summed = _add_up(rows, packing._replace(dtype=rows.values.dtype))
            return self.pack_dense(summed, packing)
        check_values(rows, packing)
        return _add_up(rows, packing)

    def pack_dense(self, rows: npt.NDArray[Any], packing: Packing) -> Any:
        """Return dense rows as the type wanted: themselves, or a copy."""
        if rows.dtype != packing.dtype:
            wrong = first_unfit(rows.reshape(-1), packing.dtype)
            if wrong is not None:
                row, column = divmod(wrong, rows.shape[1])
                name = packing.name_row(row)
                raise unfit_error(name, rows[row, column], packing.dtype)
        return cast(rows, packing.dtype, packing.empty)

    def merge(
        self, pieces: Sequence[tuple[Any, npt.NDArray[np.int64]]], empty: Empty
    ) -> Any:
        """Return one array of the rows of several."""
        return put_at_places(pieces, empty)

    def row_bytes(self, stored: StoredRows, packing: Packing) -> float:
        """Return the bytes of a row: a value for each column."""
        return float(stored.n_vars * packing.dtype.itemsize)

    def reading_bytes(self, stored: StoredRows, packing: Packing) -> float:
        """Return the mean bytes that a row takes besides while it is laid out."""
        same_type = packing.dtype == stored.dtype
        if not stored.column_bytes:
            return 0.0 if same_type else stored.row_bytes
        extra = stored.row_bytes
        if not same_type and packing.dtype.kind in "iu":
            extra += stored.n_vars * stored.dtype.itemsize  # see `pack_rows`
        return extra


def _can_lose(stored: np.dtype[Any], dtype: np.dtype[Any]) -> bool:
    return not np.can_cast(stored, dtype, "safe")


def _add_up(rows: SparseRows, packing: Packing) -> npt.NDArray[Any]:
    """Return dense rows of sparse ones, whose values of one column add up."""
    dtype, n_rows = packing.dtype, len(rows.starts) - 1
    dense = make_zeros((n_rows, rows.n_vars), dtype, packing.empty)
    if dtype != np.float16 and dtype.kind in "fiu":
        make_csr(rows, dtype, packing.empty).toarray(out=dense)
        return dense
    # SciPy's kernel knows no float16 and no bool.
    row_ids = np.repeat(np.arange(n_rows, dtype=np.int64), np.diff(rows.starts))
    at = row_ids * rows.n_vars + rows.columns
    if np.all(at[1:] > at[:-1]):
        dense.reshape(-1)[at] = rows.values
    else:  # unsorted, or the same column twice in a row
        np.add.at(dense.reshape(-1), at, rows.values.astype(dtype, copy=False))
    return dense
