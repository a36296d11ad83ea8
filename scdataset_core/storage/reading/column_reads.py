"""Reads columns of uncompressed 2-D arrays, through rows in scratch memory."""

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ScdatasetError
from ..context import ReadContext
from ..io.byte_sources import Destinations, ShortReadError, read_fully
from ..layout import ArrayLayout
from .byte_ranges import ByteRanges, LocationNumbers
from .chunk_lookup import find_chunks
from .merged_reads import error_of_read
from .read_advice import expect_objects
from .requests import Ranges, cut_at_chunks

__all__ = ["column_tasks"]

Integers = npt.NDArray[np.int64]
# Rows are read into scratch memory about this much at a time.
STEP_BYTES = 4 << 20


def column_tasks(ranges: Ranges, context: ReadContext) -> list[Callable[[], None]]:
    """Return functions that do requests for some columns of plain chunks."""
    parts: list[_Columns] = []
    for number, request in enumerate(ranges.requests):
        array, columns = request.array, request.columns
        assert columns is not None
        rows, width = array.needed_grid.chunk_shape
        here = slice(ranges.bounds[number], ranges.bounds[number + 1])
        starts = ranges.starts[here]
        pieces = cut_at_chunks(
            starts, ranges.stops[here], ranges.offset[here], np.full(len(starts), rows)
        )
        target = ranges.target[here][pieces.range]
        wanted = [
            (first, n, ranges.targets[which], offset)
            for first, n, which, offset in zip(
                pieces.first.tolist(),
                pieces.n.tolist(),
                target.tolist(),
                pieces.offset.tolist(),
                strict=True,
            )
        ]
        per_row = -(-array.shape[1] // width)
        for column in np.unique(columns // width).tolist():
            there = np.flatnonzero(columns // width == column)
            inside = columns[there] - column * width
            chunk = pieces.chunk * per_row + column
            parts.append(_Columns(array, context, chunk, wanted, inside, there))
    tasks = [task for part in parts for task in part.tasks()]
    if all(part.is_near for part in parts):
        return tasks
    return expect_objects(_ranges_of(parts), context) + tasks


def _ranges_of(parts: "list[_Columns]") -> ByteRanges:
    """Return all that is read, sorted by source and position."""
    numbering = LocationNumbers()
    ranges = [one for part in parts for one in part.ranges(numbering)]
    of, position, n_bytes = np.array(sorted(ranges), np.int64).reshape(-1, 3).T
    return ByteRanges(numbering.locations, of, position, n_bytes)


class _Columns:
    """The pieces of a request in one column of chunks."""

    def __init__(
        self,
        array: ArrayLayout,
        context: ReadContext,
        chunk: Integers,
        pieces: list[tuple[int, int, npt.NDArray[Any], int]],
        inside: Integers,
        there: Integers,
    ) -> None:
        found = find_chunks(array, chunk, encoded=False)
        self._array, self._context = array, context
        self._file_of = None if found.file is None else found.file.tolist()
        self._positions = found.position.tolist()
        self._chunks = chunk.tolist()
        self._pieces = pieces
        self._low = int(inside.min())
        self._span = int(inside.max()) + 1 - self._low
        self._inside, self._there = inside - self._low, there

    @property
    def is_near(self) -> bool:
        """Whether the array lies in local files."""
        return self._array.table.store is None

    def ranges(self, numbering: LocationNumbers) -> Iterator[tuple[int, int, int]]:
        """Yield number of the source, position and length of each read."""
        for i, (first, n, _, _) in enumerate(self._pieces):
            if self._positions[i] >= 0:
                source = numbering.number(self._array.table, self._file(i))
                for row, some in self._steps(n):
                    yield source, *self._range(i, first + row, some)

    def _file(self, i: int) -> int:
        """Return the number of the file that a piece lies in."""
        return 0 if self._file_of is None else int(self._file_of[i])

    @property
    def _row_bytes(self) -> int:
        grid = self._array.needed_grid
        return grid.chunk_shape[1] * grid.stored_dtype.itemsize

    def _steps(self, n: int) -> Iterator[tuple[int, int]]:
        """Yield the first row of each read of so many rows, and how many it reads."""
        step = max(STEP_BYTES // self._row_bytes, 1)
        for row in range(0, n, step):
            yield row, min(step, n - row)

    def _range(self, i: int, first: int, n: int) -> tuple[int, int]:
        """Return where rows of a piece lie, and their bytes.

        They go from the first wanted column of the first row to the last one of the
        last row.
        """
        itemsize = self._array.needed_grid.stored_dtype.itemsize
        position = self._positions[i] + first * self._row_bytes + self._low * itemsize
        return position, (n - 1) * self._row_bytes + self._span * itemsize

    def tasks(self) -> list[Callable[[], None]]:
        """Return functions that do some pieces each."""
        n = len(self._pieces)
        step = max(n // (4 * self._context.threads), 16)
        return [
            partial(self._do, start, min(start + step, n))
            for start in range(0, n, step)
        ]

    def _do(self, start: int, stop: int) -> None:
        begun = perf_counter()
        fill, n_read = self._array.needed_grid.fill, 0
        for i in range(start, stop):
            first, n, target, offset = self._pieces[i]
            if self._positions[i] < 0:
                target[offset : offset + n, self._there] = fill
                continue
            for row, some in self._steps(n):
                block = self._rows(i, first + row, some)
                n_read += some * self._row_bytes
                rows = slice(offset + row, offset + row + some)
                target[rows, self._there] = block[:, self._inside]
        self._context.stats.add(bytes_read=n_read, read_s=perf_counter() - begun)

    def _rows(self, i: int, first: int, n: int) -> npt.NDArray[np.generic]:
        """Return rows of a chunk, from the first wanted column on."""
        grid, scratch = self._array.needed_grid, self._context.scratch
        n_plain = n * self._row_bytes
        position, n_bytes = self._range(i, first, n)
        scratch.reserve_plain(n_plain)
        table = np.array([[scratch.plain_address, n_bytes]], np.uint64)
        destinations = Destinations(table)
        source = self._context.open_source(self._array.table.location(self._file(i)))
        try:
            read_fully(source, position, destinations, 0, 1, n_bytes)
        except ScdatasetError:  # it names what is wrong with the source
            raise
        except (OSError, ShortReadError) as error:
            raise error_of_read(self._array, self._chunks[i], error) from error
        block = np.frombuffer(scratch.plain[:n_plain], grid.stored_dtype)
        return block.reshape(n, -1)
