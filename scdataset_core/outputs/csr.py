"""Sparse output: X is a `scipy.sparse.csr_array`."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .base import (
    Empty,
    MatrixLayout,
    Packing,
    SparseRows,
    StoredRows,
    cast,
    check_values,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["CsrOutput", "make_csr"]


class CsrOutput(MatrixLayout):
    """``output="csr"``: sparse rows. SciPy has no float16, which becomes float32."""

    name = "csr"

    def prepare(self) -> None:
        """Import what laying out needs."""
        import scipy.sparse  # noqa: F401

    def check(self, packing_dtype: np.dtype[Any] | None, width: int | None) -> None:
        """Raise for float16."""
        if packing_dtype == np.float16:
            raise ValueError(
                'dtype="float16" with output="csr": SciPy has no sparse float16;'
                ' ask for float32, or for output="dense" or "padded"'
            )

    def value_dtype(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """Return the type of values that are stored as `stored`, if none is asked."""
        return np.dtype(np.float32) if stored == np.float16 else stored

    def pack_rows(self, rows: SparseRows, packing: Packing) -> Any:
        """Return a CSR array that shares the memory of `rows` where it can."""
        check_values(rows, packing)
        return make_csr(rows, packing.dtype, packing.empty)

    def merge(
        self, pieces: Sequence[tuple[Any, npt.NDArray[np.int64]]], empty: Empty
    ) -> Any:
        """Return one CSR array of the rows of several."""
        from scipy.sparse import vstack

        places = np.concatenate([at for _, at in pieces])
        order = np.empty(len(places), np.int64)
        order[places] = np.arange(len(places))
        return vstack([x for x, _ in pieces], format="csr")[order]

    def row_bytes(self, stored: StoredRows, packing: Packing) -> float:
        """Return the mean bytes of a row: a value and an int32 column each."""
        return max(1.0, stored.n_stored * (packing.dtype.itemsize + 4))

    def reading_bytes(self, stored: StoredRows, packing: Packing) -> float:
        """Return the mean bytes of what is copied: values or columns."""
        if not stored.column_bytes:
            return stored.row_bytes
        values = 0 if packing.dtype == stored.dtype else stored.dtype.itemsize
        columns = 0 if stored.column_bytes == 4 else stored.column_bytes
        return stored.n_stored * (values + columns)


def make_csr(
    rows: SparseRows, dtype: np.dtype[Any], empty: Empty
) -> "csr_array[Any, tuple[int, int]]":
    """Return sparse rows as a CSR array; the rows are known to go together."""
    small = max(rows.n_vars, int(rows.starts[-1])) < 2**31
    index_dtype = np.dtype(np.int32 if small else np.int64)
    # SciPy's constructor looks at its arguments for 27 us; to take the attributes of an
    # empty array, and then replace its parts, takes 2.
    empty_csr = _empty_csr(len(rows.starts) - 1, rows.n_vars)
    x = object.__new__(type(empty_csr))
    vars(x).update(vars(empty_csr))
    x.data = cast(rows.values, dtype, empty)
    x.indices = cast(rows.columns, index_dtype, empty)
    x.indptr = rows.starts.astype(index_dtype, copy=False)
    return x


@lru_cache(maxsize=8)
def _empty_csr(n_rows: int, n_vars: int) -> "csr_array[Any, tuple[int, int]]":
    from scipy.sparse import csr_array

    return csr_array((n_rows, n_vars), dtype=np.float32)
