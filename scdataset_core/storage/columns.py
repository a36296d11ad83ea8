"""Columns of uncompressed 2-D arrays: rows read into scratch, columns copied out."""

from collections.abc import Callable
from functools import partial
from time import perf_counter

import numpy as np
import numpy.typing as npt

from .context import ReadContext
from .files import OpenFile
from .groups import failed
from .locate import find
from .readers import Places, ShortReadError, read_fully
from .requests import Request, cut

__all__ = ["column_tasks"]

Integers = npt.NDArray[np.int64]
# Rows are read into scratch memory about this much at a time.
STEP_BYTES = 4 << 20


def column_tasks(request: Request, context: ReadContext) -> list[Callable[[], None]]:
    """Return functions that do a request for some columns of plain chunks."""
    grid = request.array.grid
    columns = request.columns
    assert grid is not None
    assert columns is not None
    rows, width = grid.chunk_shape
    pieces = cut(
        request.starts,
        request.stops,
        request.which,
        request.offsets,
        chunk_rows=rows,
    )
    per_row = -(-request.array.shape[1] // width)
    tasks: list[Callable[[], None]] = []
    for column in np.unique(columns // width).tolist():
        there = np.flatnonzero(columns // width == column)
        here = columns[there] - column * width
        part = _Columns(request, context, here, there)
        found = find(request.array, pieces.chunk * per_row + column, encoded=False)
        part.positions = found.position.tolist()
        part.chunks = (pieces.chunk * per_row + column).tolist()
        table = request.array.table
        numbers = [0] if found.file is None else found.file.tolist()
        part.files = {
            n: context.open_file(table.files[n], table.identities[n])
            for n in set(numbers)
        }
        part.file_of = numbers * len(pieces.n) if found.file is None else numbers
        part.pieces = list(
            zip(*(values.tolist() for values in pieces[1:]), strict=True)
        )
        tasks += part.tasks()
    return tasks


class _Columns:
    """The pieces of a request in one column of chunks."""

    positions: list[int]
    chunks: list[int]
    files: dict[int, OpenFile]
    file_of: list[int]
    pieces: list[tuple[int, ...]]

    def __init__(
        self, request: Request, context: ReadContext, here: Integers, there: Integers
    ) -> None:
        self._request = request
        self._context = context
        self._low = int(here.min())
        self._span = int(here.max()) + 1 - self._low
        self._here, self._there = here - self._low, there

    def tasks(self) -> list[Callable[[], None]]:
        """Return functions that do some pieces each."""
        step = max(len(self.pieces) // (4 * self._context.threads), 16)
        return [
            partial(self._do, start, min(start + step, len(self.pieces)))
            for start in range(0, len(self.pieces), step)
        ]

    def _do(self, start: int, stop: int) -> None:
        begun = perf_counter()
        grid = self._request.array.grid
        assert grid is not None
        row_bytes = grid.chunk_shape[1] * grid.stored_dtype.itemsize
        n_read = 0
        for i in range(start, stop):
            first, n, which, offset = self.pieces[i]
            target = self._request.targets[which]
            if self.positions[i] < 0:
                target[offset : offset + n, self._there] = grid.fill
                continue
            step = max(STEP_BYTES // row_bytes, 1)
            for row in range(0, n, step):
                some = min(step, n - row)
                block = self._rows(i, first + row, some, row_bytes)
                n_read += some * row_bytes
                rows = slice(offset + row, offset + row + some)
                target[rows, self._there] = block[:, self._here]
        self._context.stats.add(bytes_read=n_read, read_s=perf_counter() - begun)

    def _rows(
        self, i: int, first: int, n: int, row_bytes: int
    ) -> npt.NDArray[np.generic]:
        """Return rows of a chunk, from the first wanted column to the last."""
        grid = self._request.array.grid
        assert grid is not None
        scratch = self._context.scratch
        itemsize = grid.stored_dtype.itemsize
        # From the first wanted column of the first row to the last one of the last.
        n_bytes = (n - 1) * row_bytes + self._span * itemsize
        scratch.reserve_plain(n * row_bytes)
        places = Places(np.array([[scratch.plain_address, n_bytes]], np.uint64))
        position = self.positions[i] + first * row_bytes + self._low * itemsize
        file = self.files[self.file_of[i]]
        array = self._request.array
        try:
            read_fully(self._context.reader, file, position, places, 0, 1, n_bytes)
        except ShortReadError as error:
            raise array.corrupt(self.chunks[i], str(error)) from error
        except OSError as error:
            raise failed(array, self.chunks[i], error) from error
        block = np.frombuffer(scratch.plain[: n * row_bytes], grid.stored_dtype)
        return block.reshape(n, -1)
