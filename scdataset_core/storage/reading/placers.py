"""Copies rows out of decoded chunks, to where the targets want them."""

from collections.abc import Sequence
from math import prod
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .chunk_decoder import WantedChunks
from .conversion import convert
from .requests import Pieces, Ranges, Request, cut_at_chunks

__all__ = ["PiecePlacer", "Placer", "make_placer", "view_as_bytes"]

Integers = npt.NDArray[np.int64]


class Placer(Protocol):
    """Copies what a request wants out of the chunks that it touches.

    Attributes
    ----------
    wanted : WantedChunks
        The chunks.
    """

    wanted: WantedChunks

    def place(self, index: int, plain: memoryview) -> None:
        """Copy what is wanted out of chunk ``wanted.chunk[index]``, decoded."""
        ...


@runtime_checkable
class PiecePlacer(Placer, Protocol):
    """A placer that need not see a chunk whole."""

    def place_piece(self, index: int, piece: memoryview, start: int) -> None:
        """Copy what is wanted out of a piece of a chunk that begins at `start`.

        A piece holds whole elements.
        """
        ...


def view_as_bytes(targets: Sequence[npt.NDArray[Any]]) -> list[memoryview]:
    """Return targets as bytes, once for all requests that share them."""
    return [target.reshape(-1).view(np.uint8).data for target in targets]


def make_placer(ranges: Ranges, number: int, views: list[memoryview]) -> Placer:
    """Return the placer of one of the requests.

    Parameters
    ----------
    ranges
        All ranges and targets.
    number
        Which of the requests it is.
    views
        The targets as bytes.
    """
    request = ranges.requests[number]
    grid = request.array.needed_grid
    here = slice(ranges.bounds[number], ranges.bounds[number + 1])
    starts = ranges.starts[here]
    chunk_rows = np.full(len(starts), grid.chunk_shape[0])
    pieces = cut_at_chunks(starts, ranges.stops[here], ranges.offset[here], chunk_rows)
    pieces = pieces._replace(range=pieces.range + here.start)
    if len(pieces.chunk) and (np.diff(pieces.chunk) < 0).any():
        order = np.argsort(pieces.chunk, kind="stable")
        pieces = Pieces(*(column[order] for column in pieces))
    if request.converts:
        return ConvertingPlacer(ranges, request, pieces, views)
    if request.columns is None and grid.chunk_shape[1:] == request.array.shape[1:]:
        return RowPlacer(ranges, request, pieces, views)
    return ColumnPlacer(ranges, request, pieces)


def _group_by_chunk(pieces: Pieces) -> tuple[Integers, Integers, Integers, Integers]:
    """Group pieces by the row of chunks that they lie in.

    Return each row of chunks once; where its pieces begin; and the first row of it that
    is wanted, with the row behind the last one.
    """
    first = np.flatnonzero(np.diff(pieces.chunk, prepend=-1))
    low = high = first
    if len(first):
        low = np.minimum.reduceat(pieces.first, first)
        high = np.maximum.reduceat(pieces.first + pieces.n, first)
    return pieces.chunk[first], np.append(first, len(pieces.chunk)), low, high


class RowCopies:
    """Copies whole rows, which lie together in a chunk and in their target.

    As bytes, under the interpreter's lock: to give it up for a copy of a few thousand
    bytes, as NumPy does, takes longer than the copy.

    Parameters
    ----------
    ranges
        All ranges and targets.
    pieces
        Those of the request, sorted by chunk.
    bounds
        Where those of each chunk begin.
    row_bytes
        Bytes of a row, as the targets have it.
    views
        The targets as bytes.
    """

    def __init__(
        self,
        ranges: Ranges,
        pieces: Pieces,
        bounds: Integers,
        row_bytes: int,
        views: list[memoryview],
    ) -> None:
        self._bounds = bounds.tolist()
        self._views = views
        self._which = ranges.target[pieces.range].tolist()
        self._to = (pieces.offset * row_bytes).tolist()
        self._to_end = ((pieces.offset + pieces.n) * row_bytes).tolist()
        self._at = (pieces.first * row_bytes).tolist()
        self._at_end = ((pieces.first + pieces.n) * row_bytes).tolist()

    def copy(self, index: int, plain: memoryview) -> None:
        """Copy what is wanted out of a chunk."""
        some = slice(self._bounds[index], self._bounds[index + 1])
        views = self._views
        for which, to, to_end, at, at_end in zip(
            self._which[some],
            self._to[some],
            self._to_end[some],
            self._at[some],
            self._at_end[some],
            strict=True,
        ):
            views[which][to:to_end] = plain[at:at_end]

    def copy_piece(self, index: int, piece: memoryview, start: int) -> None:
        """Copy what is wanted out of a piece of a chunk that begins at `start`."""
        end = start + len(piece)
        for i in range(self._bounds[index], self._bounds[index + 1]):
            low, high = max(self._at[i], start), min(self._at_end[i], end)
            if low < high:
                shift = self._to[i] - self._at[i]
                target = self._views[self._which[i]]
                target[low + shift : high + shift] = piece[low - start : high - start]


class RowPlacer:
    """Copies whole rows as they are.

    Parameters
    ----------
    ranges
        All ranges and targets.
    request
        Which of the requests it is.
    pieces
        Its pieces, sorted by chunk.
    views
        The targets as bytes.
    """

    def __init__(
        self,
        ranges: Ranges,
        request: Request,
        pieces: Pieces,
        views: list[memoryview],
    ) -> None:
        array = request.array
        row_bytes = prod(array.shape[1:]) * array.dtype.itemsize
        chunk, bounds, low, high = _group_by_chunk(pieces)
        self.wanted = WantedChunks(chunk, high * row_bytes, low * row_bytes)
        copies = RowCopies(ranges, pieces, bounds, row_bytes, views)
        self.place, self.place_piece = copies.copy, copies.copy_piece


class ConvertingPlacer:
    """Converts numbers of a 1-D array to the type of their targets, and copies them.

    Parameters
    ----------
    ranges
        All ranges and targets.
    request
        Which of the requests it is.
    pieces
        Its pieces, sorted by chunk.
    views
        The targets as bytes.
    """

    def __init__(
        self,
        ranges: Ranges,
        request: Request,
        pieces: Pieces,
        views: list[memoryview],
    ) -> None:
        self._stored, self._wanted = request.array.dtype, request.targets[0].dtype
        chunk, bounds, low, high = _group_by_chunk(pieces)
        itemsize = self._stored.itemsize
        self.wanted = WantedChunks(chunk, high * itemsize, low * itemsize)
        self._low, self._high = low.tolist(), high.tolist()
        self._copies = RowCopies(ranges, pieces, bounds, self._wanted.itemsize, views)

    def place(self, index: int, plain: memoryview) -> None:
        """Convert what is wanted of a chunk, all at once, and copy it."""
        low, high = self._low[index], self._high[index]
        # The memory may be longer than the chunk, by a part of an element too.
        values = np.frombuffer(plain, self._stored, high)
        converted = np.empty(high, self._wanted)
        convert(values[low:], converted[low:])
        self._copies.copy(index, converted.view(np.uint8).data)

    def place_piece(self, index: int, piece: memoryview, start: int) -> None:
        """Convert and copy what is wanted out of a piece, see :class:`PiecePlacer`."""
        values = np.frombuffer(piece, self._stored)
        converted = np.empty(len(values), self._wanted)
        convert(values, converted)
        start = start // self._stored.itemsize * self._wanted.itemsize
        self._copies.copy_piece(index, converted.view(np.uint8).data, start)


class ColumnPlacer:
    """Copies rows of a 2-D array whose rows lie in several chunks, or some columns.

    Parameters
    ----------
    ranges
        All ranges and targets.
    request
        Which of the requests it is.
    pieces
        Its pieces, sorted by row of chunks.
    """

    def __init__(self, ranges: Ranges, request: Request, pieces: Pieces) -> None:
        array = request.array
        self._dtype = array.dtype
        self._width = width = array.needed_grid.chunk_shape[1]
        n_columns = array.shape[1]
        columns = request.columns
        if columns is None:
            columns = np.arange(n_columns)
        rows_of_chunks, bounds, low, high = _group_by_chunk(pieces)
        # For each column of chunks that is touched: columns in it, columns in a target.
        touched, of = np.unique(columns // width, return_inverse=True)
        self._columns = []
        for number, column in enumerate(touched.tolist()):
            outside = np.flatnonzero(of == number)
            inside = columns[outside] - column * width
            self._columns.append((_as_slice(inside), _as_slice(outside)))
        per_row = -(-n_columns // width)
        row_bytes = width * array.dtype.itemsize
        self.wanted = WantedChunks(
            np.add.outer(rows_of_chunks * per_row, touched).reshape(-1),
            np.repeat(high * row_bytes, len(touched)),
            np.repeat(low * row_bytes, len(touched)),
        )
        self._targets = ranges.targets
        self._bounds = bounds.tolist()
        columns_of_pieces = (
            pieces.first,
            pieces.n,
            ranges.target[pieces.range],
            pieces.offset,
        )
        self._pieces = [column.tolist() for column in columns_of_pieces]

    def place(self, index: int, plain: memoryview) -> None:
        """Copy what is wanted out of a chunk."""
        row, column = divmod(index, len(self._columns))
        # The memory may be longer than the chunk, by a part of an element too.
        n_rows = self.wanted.want[index] // (self._width * self._dtype.itemsize)
        block = np.frombuffer(plain, self._dtype, n_rows * self._width)
        block = block.reshape(-1, self._width)
        inside, outside = self._columns[column]
        some = slice(self._bounds[row], self._bounds[row + 1])
        for first, n, which, offset in zip(
            *(values[some] for values in self._pieces), strict=True
        ):
            self._targets[which][offset : offset + n, outside] = block[
                first : first + n, inside
            ]


def _as_slice(numbers: Integers) -> Any:  # Any: a slice, or the numbers
    """Return numbers that follow one another as a slice, which copies faster."""
    if len(numbers) and (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers
