"""Encoded chunks: each read and decoded once, then given to what places its rows."""

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from ..decoding.deflate import InflateError, inflate_windows
from ..decoding.filters import CodecError
from ..io.open_files import Identity, OpenFile
from ..io.positional_reads import Places, ShortReadError, read_fully
from ..io.scratch_memory import Scratch
from ..layout import ArrayLayout
from .chunk_lookup import find
from .merged_reads import failed
from .placers import Placer, RowPlacer, byte_views, placer_of
from .read_advice import advice_tasks
from .requests import Ranges

__all__ = ["packed_tasks"]

Integers = npt.NDArray[np.int64]
# A task reads a few chunks at once, and is small enough to share a fetch evenly.
MOST_CHUNKS = 16
TASKS_PER_THREAD = 6
TASK_BYTES = 2 << 20
# A chunk larger than this is decoded in windows where its encoding allows it.
GIANT = 32 << 20
WINDOW = 1 << 20


def packed_tasks(ranges: Ranges, context: ReadContext) -> list[Callable[[], None]]:
    """Return functions that do requests for encoded chunks, on any threads."""
    views = byte_views(ranges.targets)
    parts = [
        Packed(request.array, placer_of(ranges, number, views), context)
        for number, request in enumerate(ranges.requests)
    ]
    few = sum(map(len, parts)) // (TASKS_PER_THREAD * context.threads) + 1
    placed = [task for part in parts for task in part.tasks(min(few, MOST_CHUNKS))]
    # Near each other what is near in the files.
    tasks = [task for _, task in sorted(placed, key=lambda task: task[0])]
    return _advice(parts, context) + tasks


def _advice(parts: "list[Packed]", context: ReadContext) -> list[Callable[[], None]]:
    """Return functions that ask for the chunks that are not in memory."""
    files: dict[str, Identity | None] = {}
    numbers: dict[str, int] = {}
    columns = []
    for part in parts:
        used, which = np.unique(part.file_of[part.written], return_inverse=True)
        table = part.array.table
        for number in used.tolist():
            files[table.files[number]] = table.identities[number]
            numbers.setdefault(table.files[number], len(numbers))
        known = [numbers[table.files[number]] for number in used.tolist()]
        size = part.size[part.written].astype(np.int64)
        file = np.array(known, np.int64)[which]
        columns.append(np.stack([file, part.position[part.written], size]))
    file, position, n_bytes = np.concatenate(columns, axis=1)
    order = np.lexsort((position, file))
    found = list(files.items())
    return advice_tasks(found, file[order], position[order], n_bytes[order], context)


class Packed:
    """The encoded chunks of one request.

    Parameters
    ----------
    array
        Their array.
    placer
        Which chunks are wanted, and what is done with each.
    context
        Threads, files and counters.
    """

    def __init__(
        self, array: ArrayLayout, placer: Placer, context: ReadContext
    ) -> None:
        grid = array.needed_grid
        self._grid, self._placer = grid, placer
        self._context = context
        found = find(array, placer.chunk, encoded=True)
        n = len(placer.chunk)
        self.array, self.position, self.size = array, found.position, found.size
        self.file_of = np.zeros(n, np.int64) if found.file is None else found.file
        self.written = found.position >= 0
        self._chunk = placer.chunk.tolist()
        self._want = placer.want.tolist()
        self._unwanted = placer.unwanted.tolist()
        self._position = found.position.tolist()
        self._size = found.size.tolist()
        self._skipped = [0] * n if found.skipped is None else found.skipped.tolist()
        self._file_of = self.file_of.tolist()

    def __len__(self) -> int:
        return len(self._chunk)

    def tasks(self, n_chunks: int) -> list[tuple[tuple[str, int], Callable[[], None]]]:
        """Return functions that do a few chunks each, with their file and place there.

        Parameters
        ----------
        n_chunks
            How many each does at most.
        """
        if self._grid.n_bytes > GIANT:
            return [(self._at(i), partial(self._do_giant, i)) for i in range(len(self))]
        step = max(min(n_chunks, TASK_BYTES // self._grid.n_bytes), 1)
        return [
            (self._at(i), partial(self._do, i, min(i + step, len(self))))
            for i in range(0, len(self), step)
        ]

    def _at(self, i: int) -> tuple[str, int]:
        return self.array.table.files[self._file_of[i]], self._position[i]

    def _open(self, i: int) -> OpenFile:
        """Return the file of a chunk; opened when it is read, for they may be many."""
        table, number = self.array.table, self._file_of[i]
        return self._context.open_file(table.files[number], table.identities[number])

    def _do(self, start: int, stop: int) -> None:
        """Read, decode and place some chunks."""
        scratch = self._context.scratch
        begun = perf_counter()
        n_read = self._read(scratch, start, stop)
        read = perf_counter()
        decoding = 0.0
        inside = 0
        for i in range(start, stop):
            before = perf_counter()
            plain = self._plain(scratch, i, inside)
            decoding += perf_counter() - before
            self._placer.place(i, plain)
            inside += self._stored(i)
        placing = perf_counter() - read - decoding
        self._context.stats.add(
            bytes_read=n_read,
            bytes_decoded=sum(self._want[start:stop]),
            chunks_decoded=stop - start,
            read_s=read - begun,
            decode_s=decoding,
            place_s=placing,
        )

    def _stored(self, i: int) -> int:
        return 0 if self._position[i] < 0 else self._size[i]

    def _plain(self, scratch: Scratch, i: int, start: int) -> memoryview:
        """Return the beginning of a chunk, decoded, in native byte order."""
        grid, want = self._grid, self._want[i]
        if self._position[i] < 0:
            n = want // grid.stored_dtype.itemsize
            filled = np.full(n, grid.fill, self.array.dtype)
            return filled.view(np.uint8).data
        try:
            data = grid.pipeline.decode(
                scratch,
                start,
                self._size[i],
                n_bytes=grid.n_bytes,
                want=want,
                unwanted=self._unwanted[i],
                skipped=self._skipped[i],
            )
        except CodecError as error:
            raise self.array.corrupt(self._chunk[i], str(error)) from error
        if grid.stored_dtype.isnative:
            return memoryview(data)
        stored = np.frombuffer(memoryview(data)[:want], grid.stored_dtype)
        return stored.astype(self.array.dtype).view(np.uint8).data

    def _read(self, scratch: Scratch, start: int, stop: int) -> int:
        """Read some chunks into scratch memory, one after another."""
        total = sum(map(self._stored, range(start, stop)))
        scratch.reserve_packed(total)
        done, number = 0, -1
        for first, n_bytes in self._runs(start, stop):
            if self._file_of[first] != number:
                number, file = self._file_of[first], self._open(first)
            position = self._position[first]
            self._fill(file, first, position, scratch.packed_address + done, n_bytes)
            done += n_bytes
        return total

    def _runs(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield chunks that lie together: the first of them, and their bytes."""
        first, n_bytes, end = -1, 0, -1
        for i in range(start, stop):
            position = self._position[i]
            if position < 0:
                continue
            same_file = first >= 0 and self._file_of[i] == self._file_of[first]
            if position != end or not same_file:
                if first >= 0:
                    yield first, n_bytes
                first, n_bytes = i, 0
            n_bytes += self._size[i]
            end = position + self._size[i]
        if first >= 0:
            yield first, n_bytes

    def _fill(
        self, file: OpenFile, i: int, position: int, address: int, n_bytes: int
    ) -> None:
        """Read bytes from chunk `i` on; `address` has room for them."""
        places = Places(np.array([[address, n_bytes]], np.uint64))
        try:
            read_fully(self._context.reader, file, position, places, 0, 1, n_bytes)
        except ShortReadError as error:
            while i + 1 < len(self) and self._position[i] + self._size[i] <= (
                error.position
            ):
                i += 1
            raise self.array.corrupt(self._chunk[i], str(error)) from error
        except OSError as error:
            raise failed(self.array, self._chunk[i], error) from error

    def _do_giant(self, i: int) -> None:
        """Do one very large chunk, in windows where its encoding allows it."""
        placer = self._placer
        in_order = (
            isinstance(placer, RowPlacer)
            and self._grid.pipeline.is_deflate
            and self._grid.stored_dtype.isnative
            and not self._skipped[i]
            and self._position[i] >= 0
        )
        if not in_order:
            self._do(i, i + 1)
            self._context.scratch.trim()
            return
        assert isinstance(placer, RowPlacer)
        begun = perf_counter()
        done, want = 0, self._want[i]
        windows = inflate_windows(self._stored_windows(i), self._grid.n_bytes)
        try:
            for window in windows:  # to the end, where the checksum is
                if done < want:
                    placer.place_window(i, window, done)
                done += len(window)
        except InflateError as error:
            raise self.array.corrupt(self._chunk[i], str(error)) from error
        self._context.stats.add(
            bytes_decoded=done, chunks_decoded=1, decode_s=perf_counter() - begun
        )

    def _stored_windows(self, i: int) -> Iterator[memoryview]:
        """Yield the stored bytes of a chunk piece by piece."""
        scratch = self._context.scratch
        scratch.reserve_packed(WINDOW)
        file = self._open(i)
        for start in range(0, self._size[i], WINDOW):
            n_bytes = min(WINDOW, self._size[i] - start)
            position = self._position[i] + start
            self._fill(file, i, position, scratch.packed_address, n_bytes)
            self._context.stats.add(bytes_read=n_bytes)
            yield scratch.packed[:n_bytes]
