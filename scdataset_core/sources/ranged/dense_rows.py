"""Dense rows of several files, each read straight to its place in a minibatch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ...form import pack_dense
from ...storage import ReadContext, Request, read_requests
from ..genes.joins import GeneJoin
from ..obs.columns import NumberColumn
from ..read_request import ReadRequest
from ..rows import Moves, Rows, cut_by_file, files_of_rows
from .cell_file import DenseX

__all__ = ["ColumnRows", "DenseReader"]


@dataclass(frozen=True)
class DenseReader:
    """Reads dense rows.

    Parameters
    ----------
    files
        X of each file.
    file_starts
        First row of each file, and the number of rows.
    genes
        How the columns of the files map to those of the source.
    dtype
        Type of the values.
    """

    files: Sequence[DenseX]
    file_starts: Rows
    genes: GeneJoin
    dtype: np.dtype[Any]

    @cached_property
    def _columns(self) -> list[Rows | None]:
        """For each file, the columns to read."""
        return [self.genes.stored_columns(file) for file in range(len(self.files))]

    def read(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see `Source.read_x`."""
        rows, context = request.rows, request.context
        n_vars = len(self.genes.names)
        buffers = [
            context.empty(n * n_vars, self.dtype).reshape(n, n_vars)
            for n in request.batch_sizes
        ]
        which, offsets = request.batch_of_row, request.position_of_row
        requests, moves = [], []
        for file, a, b in cut_by_file(rows, self.file_starts):
            local = rows[a:b] - self.file_starts[file]
            mine = which[a:b], offsets[a:b]
            columns = self._columns[file]
            if columns is not None and not np.any(columns >= 0):
                moves.append(
                    partial(_zero, buffers, *mine)
                )  # it holds none of the genes
            elif self._is_direct(file, columns):
                array = self.files[file].values
                requests.append(_request(array, local, buffers, *mine, columns))
            else:
                move = _Move(self.files[file], local, columns, context)
                requests.append(move.request)
                moves.append(partial(move.place, buffers, *mine))
        read_requests(requests, context)
        for place in moves:
            place()
        return request.make_batches(
            lambda batch: pack_dense(
                buffers[batch],
                form=request.form,
                empty=context.empty,
                name_row=lambda row: self._name_of(request.batch_rows(batch)[row]),
            )
        )

    def _name_of(self, row: Any) -> str:
        """Return what a row of the source is called in errors."""
        file = int(files_of_rows(row, self.file_starts))
        return f"row {row - self.file_starts[file]} of {self.files[file].values.file}"

    def _is_direct(self, file: int, columns: Rows | None) -> bool:
        x = self.files[file]
        return (
            x.field is None
            and x.values.dtype == self.dtype
            and (columns is None or not np.any(columns < 0))
        )


def _zero(buffers: Sequence[npt.NDArray[Any]], which: Rows, offsets: Rows) -> None:
    """Make rows 0 in all columns."""
    for batch in np.unique(which).tolist():
        buffers[batch][offsets[which == batch]] = 0


def _request(
    array: Any,  # Any: a StoredArray
    rows: Rows,
    targets: Sequence[npt.NDArray[Any]],
    which: Rows,
    offsets: Rows,
    columns: Rows | None,
) -> Request:
    """Return the request for single rows; neighbours that stay so are one range."""
    moves = Moves(rows, np.ones_like(rows), which, offsets).join()
    return Request(
        array,
        moves.starts,
        moves.stops,
        targets,
        moves.batches,
        moves.offsets,
        columns,
    )


class _Move:
    """A read of rows that are converted or widened on the way to their places."""

    def __init__(
        self, x: DenseX, rows: Rows, columns: Rows | None, context: ReadContext
    ) -> None:
        self._field = x.field
        self._columns = columns
        self._present = None if columns is None else np.flatnonzero(columns >= 0)
        wanted = None
        row_shape = x.values.shape[1:]
        if columns is not None and x.field is None:
            wanted = columns[columns >= 0]
            row_shape = (len(wanted),)
        size = len(rows) * int(np.prod(row_shape))
        self._buffer = context.empty(size, x.values.dtype).reshape(
            len(rows), *row_shape
        )
        which, offsets = np.zeros(len(rows), np.int64), np.arange(len(rows))
        self.request = _request(x.values, rows, [self._buffer], which, offsets, wanted)

    def place(
        self, buffers: Sequence[npt.NDArray[Any]], which: Rows, offsets: Rows
    ) -> None:
        """Convert what was read into its places; columns the file lacks are 0."""
        values = self._buffer if self._field is None else self._buffer[self._field]
        if self._field is not None and self._columns is not None:
            values = values[:, self._columns[self._present]]
        for batch in np.unique(which).tolist():
            mine = which == batch
            if self._present is None:
                buffers[batch][offsets[mine]] = values[mine]
            else:
                buffers[batch][offsets[mine]] = 0
                buffers[batch][np.ix_(offsets[mine], self._present)] = values[mine]


@dataclass(frozen=True)
class ColumnRows:
    """Reads rows of a table of numbers, in place of a format's library.

    Parameters
    ----------
    columns
        The columns of the table.
    dtype
        Type of the rows.
    """

    columns: Sequence[NumberColumn]
    dtype: np.dtype[Any]

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``, with NaN where a value is missing."""
        rows = np.empty((stop - start, len(self.columns)), self.dtype)
        for at, column in enumerate(self.columns):
            rows[:, at] = column.values.read(start, stop)
            if column.mask is not None:
                rows[column.mask.read(start, stop).astype(bool), at] = np.nan
        return rows
