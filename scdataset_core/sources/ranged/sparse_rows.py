"""Sparse rows of several files, each read straight to its place in a minibatch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ...checks import first_outside
from ...errors import CorruptFileError
from ...form import DirectRows, Form, pack_rows
from ...storage import ArrayStack, ReadContext, StackRead, StoredArray, read_stack
from ..genes.joins import GeneJoin, select_columns
from ..read_request import ReadRequest
from ..rows import Moves, Rows, files_of_rows, files_of_sorted, scatter_values
from .cell_file import SparseX
from .kept_pointers import KeptPointers

__all__ = ["SparseReader"]

Targets = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True)
class _Fetch:
    """The rows of one read: where they lie and where they go.

    Parameters
    ----------
    rows, files
        Non-decreasing rows of the source, and the file of each.
    moves
        Where the elements of each row lie in its file, and where they go.
    row_starts
        For each minibatch, where its rows start, and the number of its elements.
    widths
        For each minibatch, the elements that the place of a row has; None where rows
        are packed.
    """

    rows: Rows
    files: Rows
    moves: Moves
    row_starts: list[Rows]
    widths: list[int] | None = None


@dataclass(frozen=True)
class SparseReader:
    """Reads sparse rows.

    Parameters
    ----------
    files
        X of each file.
    file_starts
        First row of each file, and the number of rows.
    genes
        How the columns of the files map to those of the source.
    pointers
        The row pointers of the files.
    dtype
        Type of the values.
    """

    files: Sequence[SparseX]
    file_starts: Rows
    genes: GeneJoin
    pointers: KeptPointers
    dtype: np.dtype[Any]

    @cached_property
    def _elements(self) -> ArrayStack:
        """The arrays that hold the elements of all files."""
        return ArrayStack(_ElementsOf(self.files))

    @cached_property
    def column_dtype(self) -> np.dtype[Any]:
        """Type that column ids are read in; ids that do not fit it become -1."""
        small = self.genes.most_stored <= 2**31
        return np.dtype(np.int32 if small else np.int64)

    @cached_property
    def _n_columns(self) -> Rows:
        """Number of columns of each file."""
        return np.array(self.genes.n_stored, np.int64)

    def read(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see `Source.read_x`."""
        direct = self._find_direct_rows(request.form)
        fetch = self._locate(request, direct)
        if direct is not None and not direct.fit(
            fetch.moves.lengths, lambda row: self._name_of(fetch.rows[row])
        ):
            direct, fetch = None, self._locate(request, None)
        values, columns, largest = self._read_elements(request, fetch)
        is_checked = largest is not None and largest < self.genes.fewest_stored

        def pack(batch: int) -> Any:
            rows, starts = request.batch_rows(batch), fetch.row_starts[batch]
            if direct is None or fetch.widths is None:
                if not is_checked:
                    self._check_columns(columns[batch], starts, rows)
                found = values[batch], columns[batch], starts, rows
                return self._pack(*found, request.form, request.context)
            width = fetch.widths[batch]
            x = direct.finish(values[batch], columns[batch], np.diff(starts), width)
            if not is_checked:
                ends = np.arange(len(rows) + 1) * width
                self._check_columns(x["indices"].reshape(-1), ends, rows)
            return x

        return request.make_batches(pack)

    def _locate(self, request: ReadRequest, direct: DirectRows | None) -> _Fetch:
        """Find where rows lie; their places are packed, or as wide as `direct` says."""
        rows, places, bounds = request.rows, request.places, request.bounds
        files = files_of_sorted(rows, self.file_starts)
        starts, stops = self.pointers.find(rows, files, request.context)
        lengths = stops - starts
        ends = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(scatter_values(lengths, places), out=ends[1:])
        row_starts = [
            ends[a : b + 1] - ends[a]
            for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        ]
        which = request.batch_of_row
        if direct is None:
            offsets = ends[places] - ends[bounds[which]]
            moves = Moves(starts, lengths, which, offsets)
            return _Fetch(rows, files, moves, row_starts)
        longest = np.zeros(request.n_batches, np.int64)
        np.maximum.at(longest, which, lengths)
        widths = direct.choose_widths(longest)
        offsets = request.position_of_row * widths[which]
        moves = Moves(starts, lengths, which, offsets)
        return _Fetch(rows, files, moves, row_starts, widths.tolist())

    def _find_direct_rows(self, form: Form) -> DirectRows | None:
        """Return how elements are read straight into X, if they can be."""
        if self.genes.moves_columns:
            return None
        if self.genes.fewest_stored == 0:  # zeros behind a row are a column, 0
            return None
        return form.direct_rows(self.dtype, self.column_dtype)

    def _read_elements(
        self, request: ReadRequest, fetch: _Fetch
    ) -> tuple[Targets, Targets, int | None]:
        """Read values and columns of all rows into a buffer each for every batch.

        Return also a number that no column is above, if that is known.
        """
        context = request.context
        if fetch.widths is None:
            sizes = [int(starts[-1]) for starts in fetch.row_starts]
        else:
            shapes = zip(request.batch_sizes, fetch.widths, strict=True)
            sizes = [n * width for n, width in shapes]
        dtypes = self.dtype, self.column_dtype
        if request.form.keeps(*dtypes):
            pairs = [context.empty_together(size, dtypes) for size in sizes]
        else:  # one is copied, and its memory is of use again before that of the other
            pairs = [[context.empty(size, dtype) for dtype in dtypes] for size in sizes]
        values, columns = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        moves, files = fetch.moves.join_in(fetch.files)
        _, largest = read_stack(
            StackRead(
                self._elements,
                files,
                moves.starts,
                moves.stops,
                moves.batches,
                moves.offsets,
                (values, columns),
            ),
            context,
        )
        return values, columns, largest

    def _pack(
        self,
        values: npt.NDArray[Any],
        columns: npt.NDArray[Any],
        starts: Rows,
        rows: Rows,
        form: Form,
        context: ReadContext,
    ) -> Any:
        """Map the columns of a part, which were checked, and lay its rows out."""
        n_vars = len(self.genes.names)
        if self.genes.moves_columns:
            values, columns, starts = self._mapped(values, columns, starts, rows)
        return pack_rows(
            values,
            columns,
            starts,
            n_vars=n_vars,
            form=form,
            empty=context.empty,
            name_row=lambda row: self._name_of(rows[row]),
        )

    def _check_columns(
        self, columns: npt.NDArray[Any], starts: Rows, rows: Rows
    ) -> None:
        """Raise if a column id is outside its file's columns."""
        if first_outside(columns, self.genes.fewest_stored) is None:
            return
        limits = self._n_columns[files_of_rows(rows, self.file_starts)]
        wrong = first_outside(columns, np.repeat(limits, np.diff(starts)))
        if wrong is not None:
            place = int(np.searchsorted(starts, wrong, side="right")) - 1
            file, row = self._file_of(int(rows[place]))
            raise self._wrong_column(file, row, wrong - int(starts[place]))

    def _wrong_column(self, file: int, row: int, number: int) -> CorruptFileError:
        """Return the error for a stored element of a row, with its id as stored."""
        x = self.files[file]
        indices = x.indices
        at = int(x.indptr.read(row, row + 1)[0]) + number
        column = int(indices.read(at, at + 1)[0])
        reason = ""
        if column < 0:
            reason = (
                f"; {indices.dtype} holds ids up to {np.iinfo(indices.dtype).max}, so"
                " larger ones overflowed when the file was written: write it again with"
                " int32 indices"
            )
        return CorruptFileError(
            f"{indices.file}: {indices.name} has column {column} in row {row}, and"
            f" there are {self.genes.n_stored[file]} columns{reason}"
        )

    def _mapped(
        self,
        values: npt.NDArray[Any],
        columns: npt.NDArray[Any],
        starts: Rows,
        rows: Rows,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32], Rows]:
        """Return values and columns with those of other genes left out."""
        if self.genes.identical:
            column_map = self.genes.column_maps[0]
            assert column_map is not None
            mapped = column_map.take(columns)
        else:
            column_map, bases = self._stacked_maps
            base = np.repeat(
                bases[files_of_rows(rows, self.file_starts)], np.diff(starts)
            )
            mapped = column_map.take(base + columns.astype(np.int64, copy=False))
        return select_columns(values, mapped, starts)

    @cached_property
    def _stacked_maps(self) -> tuple[npt.NDArray[np.int32], Rows]:
        """One column map over all files, and where that of each file starts."""
        distinct: dict[int, int] = {}
        pieces: list[npt.NDArray[np.int32]] = []
        bases, size = [], 0
        files = zip(self.genes.column_maps, self.genes.n_stored, strict=True)
        for column_map, n_vars in files:
            if id(column_map) not in distinct:
                distinct[id(column_map)] = size
                pieces.append(
                    np.arange(n_vars, dtype=np.int32)
                    if column_map is None
                    else column_map
                )
                size += n_vars
            bases.append(distinct[id(column_map)])
        return np.concatenate(pieces), np.array(bases, np.int64)

    def _name_of(self, row: Any) -> str:
        """Return what a row of the source is called in errors."""
        file, local = self._file_of(int(row))
        return f"row {local} of {self.files[file].data.file}"

    def _file_of(self, row: int) -> tuple[int, int]:
        """Return the file of a row, and the row's number in it."""
        file = int(files_of_rows(row, self.file_starts))
        return file, row - int(self.file_starts[file])


class _ElementsOf(Sequence[tuple[StoredArray, StoredArray]]):
    """The arrays of the elements of each file: their values and their columns."""

    def __init__(self, files: Sequence[SparseX]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> tuple[StoredArray, StoredArray]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[StoredArray, StoredArray]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        x = self._files[index]
        return x.data, x.indices
