"""What an output decides: how X is laid out, and what becomes of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ..cells import Cells
from ..checks import first_unfit
from ..info import CellInfo

__all__ = [
    "MatrixLayout",
    "Output",
    "Overflow",
    "Packing",
    "SparseRows",
    "StoredRows",
    "cast",
    "check_values",
    "make_zeros",
    "put_at_places",
]

# Like `numpy.empty` for one dimension.
Empty = Callable[[int, np.dtype[Any]], npt.NDArray[Any]]
# Says what a row is called in errors.
NameRow = Callable[[int], str]
Overflow = Literal["error", "largest"]


class SparseRows(NamedTuple):  # made for each minibatch: quicker than a dataclass
    """Sparse rows, one after the other.

    Parameters
    ----------
    values
        Stored values, shape ``(n_stored,)``.
    columns
        The column of each value, checked to lie in ``[0, n_vars)``.
    starts
        Where each row starts in `values`, shape ``(n_rows + 1,)``, from 0.
    n_vars
        Number of columns.
    """

    values: npt.NDArray[Any]
    columns: npt.NDArray[np.integer[Any]]
    starts: npt.NDArray[np.int64]
    n_vars: int


class Packing(NamedTuple):  # made for each minibatch: quicker than a dataclass
    """What laying rows out takes besides the rows.

    Parameters
    ----------
    dtype
        Type of the values that are made.
    width
        Columns of padded rows; None for other layouts.
    overflow
        What happens to a row with more than `width` stored values.
    empty
        Gives memory for what must be written anew, as `numpy.empty` does.
    name_row
        Says what a row is called in errors.
    widths
        The widths that padded rows may have, increasing; empty where it is one.
    """

    dtype: np.dtype[Any]  # Any: the scalar type is a run-time value
    width: int | None
    overflow: Overflow
    empty: Empty
    name_row: NameRow
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class StoredRows:
    """How the rows of a source are stored, on average.

    Parameters
    ----------
    n_vars
        Number of columns.
    n_stored
        Stored values of a row.
    dtype
        Type of the values.
    column_bytes
        Bytes of a column id as it is read; 0 for dense rows.
    """

    n_vars: int
    n_stored: float
    dtype: np.dtype[Any]
    column_bytes: int

    @property
    def row_bytes(self) -> float:
        """Bytes that a row takes as it is stored."""
        if not self.column_bytes:
            return float(self.n_vars * self.dtype.itemsize)
        return self.n_stored * (self.dtype.itemsize + self.column_bytes)


class Output:
    """What a Loader is asked for by ``output=``: one object for each name.

    A new output is a module of this package with a subclass (of :class:`MatrixLayout`
    where it lays X out in its own way), and its line in
    ``scdataset_core.form.OUTPUTS``.
    """

    name: str
    takes_width = False

    def layout_of(self, stored: str) -> str:
        """Return the name of the layout of X, given that in which X is stored."""
        return self.name

    def finisher(self, info: CellInfo) -> Callable[[Cells], Any]:
        """Return what makes a batch of the cells of a minibatch.

        Parameters
        ----------
        info
            What all cells of the source share.
        """
        return Cells.to_dict


class MatrixLayout(Output):
    """An output that lays X out in its own way; a batch is a dict."""

    def prepare(self) -> None:
        """Import what laying out needs, see `Batching.prepare`."""

    def check(self, packing_dtype: np.dtype[Any] | None, width: int | None) -> None:
        """Raise ValueError for a type or a width that does not go with the layout."""

    def value_dtype(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """Return the type of values that are stored as `stored`, if none is asked."""
        return stored

    def pack_rows(self, rows: SparseRows, packing: Packing) -> Any:
        """Return X made of sparse rows; any value too large for its type raises."""
        raise NotImplementedError

    def pack_dense(self, rows: npt.NDArray[Any], packing: Packing) -> Any:
        """Return X made of dense rows ``(n_rows, n_vars)``: of what is not zero."""
        row_ids, columns = np.nonzero(rows)
        starts = np.searchsorted(row_ids, np.arange(len(rows) + 1)).astype(np.int64)
        values, n_vars = rows[row_ids, columns], rows.shape[1]
        sparse = SparseRows(values, columns.astype(np.int32), starts, n_vars)
        return self.pack_rows(sparse, packing)

    def merge(
        self, pieces: Sequence[tuple[Any, npt.NDArray[np.int64]]], empty: Empty
    ) -> Any:
        """Return X of all rows of several X.

        Parameters
        ----------
        pieces
            Each X, and where its rows stand in the whole.
        empty
            Gives memory, as `numpy.empty` does.
        """
        raise NotImplementedError

    def fills(self, x: Any) -> bool:
        """Whether a short batch with this X is filled with empty rows."""
        return False

    def fill(self, x: Any, n_missing: int) -> Any:
        """Return X with `n_missing` empty rows after it."""
        raise NotImplementedError

    def narrow(self, x: Any, widths: tuple[int, ...]) -> Any:
        """Return X in the smallest of its layout's `widths` that holds its rows."""
        return x

    def row_bytes(self, stored: StoredRows, packing: Packing) -> float:
        """Return the mean bytes of a row of X."""
        raise NotImplementedError

    def reading_bytes(self, stored: StoredRows, packing: Packing) -> float:
        """Return the mean bytes that a row takes besides while it is laid out.

        Rows are read as they are stored. What has another type or layout is a copy,
        and both are in memory until the fetch is whole.
        """
        return stored.row_bytes

    def direct_rows(self, packing: Packing) -> Any:  # Any: see `padded.DirectRows`
        """Return how values and int32 columns are read straight into X, or None."""
        return None


def check_values(rows: SparseRows, packing: Packing) -> None:
    """Raise if a value is outside the type wanted, naming its row."""
    wrong = first_unfit(rows.values, packing.dtype)
    if wrong is not None:
        row = int(np.searchsorted(rows.starts, wrong, side="right")) - 1
        raise unfit_error(packing.name_row(row), rows.values[wrong], packing.dtype)


def unfit_error(row: str, value: Any, dtype: np.dtype[Any]) -> ValueError:
    """Return the error for a value that a type cannot hold."""
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return ValueError(
        f"{row} has the value {value}, and dtype={str(dtype)!r} holds {limits.min} to"
        f" {limits.max}: ask for another dtype"
    )


def cast(
    values: npt.NDArray[Any], dtype: np.dtype[Any], empty: Empty
) -> npt.NDArray[Any]:
    """Return `values` as `dtype`: themselves, or a copy in memory from `empty`."""
    if values.dtype == dtype:
        return values
    out = empty(values.size, dtype).reshape(values.shape)
    out[...] = values
    return out


def make_zeros(
    shape: tuple[int, int], dtype: np.dtype[Any], empty: Empty
) -> npt.NDArray[Any]:
    """Return an array of zeros in memory from `empty`."""
    # Clearing memory that is used again costs less than faulting in new pages.
    out = empty(shape[0] * shape[1], dtype).reshape(shape)
    out[...] = 0
    return out


def put_at_places(
    pieces: Sequence[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]], empty: Empty
) -> npt.NDArray[Any]:
    """Return one array of the rows of several, each row at its place."""
    first = pieces[0][0]
    n_rows = sum(len(places) for _, places in pieces)
    shape = (n_rows, *first.shape[1:])
    out = empty(int(np.prod(shape)), first.dtype).reshape(shape)
    for values, places in pieces:
        out[places] = values
    return out
