"""Rows of a matrix in memory, checked, their genes selected, laid out as batches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import first_outside
from ..form import Form, pack_dense, pack_rows
from ..outputs.base import Empty, NameRow
from .genes.joins import GeneJoin, map_columns
from .read_request import ReadRequest
from .rows import Rows

__all__ = ["pack_matrix", "read_matrix"]

Matrix = Any  # an ndarray or a SciPy CSR array


def read_matrix(
    matrix: Matrix,
    request: ReadRequest,
    genes: GeneJoin | None = None,
    *,
    dtype: np.dtype[Any],
    name_row: Callable[[Any], str],
) -> list[Any]:
    """Return the X of each minibatch of a request for rows of a matrix.

    Parameters
    ----------
    matrix
        An array, or CSR rows, whose pointers and columns are not trusted.
    request
        Which of its rows are wanted, and where they go.
    genes
        The columns of the source among those of the matrix, its only file; None: all.
    dtype
        Type of the values, before the form of the request is applied.
    name_row
        Says what a row of the matrix is called in errors.
    """
    sparse = not isinstance(matrix, np.ndarray)

    def make(batch: int) -> Any:
        rows = request.batch_rows(batch)
        take = _take_sparse if sparse else _take_dense
        taken = take(matrix, rows, genes, name_row).astype(dtype, copy=False)
        return pack_matrix(
            taken,
            genes if sparse else None,
            form=request.form,
            empty=request.context.empty,
            name_row=lambda row: name_row(rows[row]),
        )

    return request.make_batches(make)


def pack_matrix(
    matrix: Matrix,
    genes: GeneJoin | None,
    file: int = 0,
    *,
    form: Form,
    empty: Empty,
    name_row: NameRow | None = None,
) -> Any:  # Any: which of three types depends on the form
    """Lay all rows of a matrix out in `form`, with the genes of a source.

    Parameters
    ----------
    matrix
        An array, or CSR rows whose columns were checked.
    genes
        How the columns of files map to those of the source; None: they are the same.
    file
        Whose columns the matrix has.
    form, empty, name_row
        See :func:`scdataset_core.form.pack_rows`.
    """
    named: dict[str, Any] = {} if name_row is None else {"name_row": name_row}
    if isinstance(matrix, np.ndarray):
        columns = None if genes is None else genes.stored_columns(file)
        if columns is not None:
            matrix = _widen(matrix, columns)
        return pack_dense(matrix, form=form, empty=empty, **named)
    n_vars = matrix.shape[1]
    rows = matrix.data, matrix.indices, matrix.indptr.astype(np.int64, copy=False)
    if genes is not None:
        n_vars = len(genes.names)
        rows = map_columns(*rows, genes.column_maps[file])
    return pack_rows(*rows, n_vars=n_vars, form=form, empty=empty, **named)


def _widen(rows: npt.NDArray[Any], columns: Rows) -> npt.NDArray[Any]:
    """Return dense rows with other columns, 0 in those that are -1."""
    present = np.flatnonzero(columns >= 0)
    wide = np.zeros((len(rows), len(columns)), rows.dtype)
    wide[:, present] = rows[:, columns[present]]
    return wide


def _take_dense(
    matrix: npt.NDArray[Any], rows: Rows, genes: GeneJoin | None, name_row: Any
) -> npt.NDArray[Any]:
    """Return some rows of an array, and only the columns of the source."""
    columns = None if genes is None else genes.stored_columns(0)
    # Only the wanted part of a memory map is read.
    wanted = rows if columns is None else np.ix_(rows, columns)
    return np.asarray(matrix[wanted])


def _take_sparse(
    matrix: Any, rows: Rows, genes: GeneJoin | None, name_row: Callable[[Any], str]
) -> Any:
    """Return some rows of a CSR array, checked, with all of their columns."""
    _check_pointers(matrix, rows, name_row)
    taken = matrix[rows]
    wrong = first_outside(taken.indices, taken.shape[1])
    if wrong is not None:
        at = int(np.searchsorted(taken.indptr, wrong, side="right")) - 1
        raise ValueError(
            f"{name_row(rows[at])} has column {taken.indices[wrong]}, and there"
            f" are {taken.shape[1]} columns"
        )
    return taken


def _check_pointers(matrix: Any, rows: Rows, name_row: Callable[[Any], str]) -> None:
    """Raise if SciPy, which trusts pointers, would read outside of the memory."""
    starts, stops = matrix.indptr[rows], matrix.indptr[rows + 1]
    n_stored = min(len(matrix.indices), len(matrix.data))
    wrong = (starts < 0) | (stops < starts) | (stops > n_stored)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(
            f"{name_row(rows[at])} starts at {starts[at]} and ends at {stops[at]} of"
            f" {n_stored} stored values: its row pointers (indptr) are wrong"
        )
