"""Gives chunks decoded: the one place that every decoded chunk passes.

Chunks that the array's cache has are not read; those that were decoded are offered to
it (see :class:`~..layout.ChunkCache`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from time import perf_counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, ScdatasetError
from ..context import ReadContext
from ..decoding.deflate import InflateError, inflate_windows
from ..decoding.filters import CodecError
from ..io.byte_sources import (
    ByteSource,
    Destinations,
    ShortReadError,
    read_fully,
    try_reads,
)
from ..io.scratch_memory import Scratch
from ..layout import ArrayLayout
from .byte_ranges import ByteRanges, LocationNumbers, find_runs
from .chunk_lookup import find_chunks
from .merged_reads import error_of_read
from .offers import make_offer

__all__ = ["ChunkDecoder", "WantedChunks", "is_giant"]

Integers = npt.NDArray[np.int64]
# A chunk larger than this is decoded in windows where its encoding allows it.
GIANT = 32 << 20
WINDOW = 1 << 20
# No chunk follows ALONE, and none was read before NOTHING.
ALONE, NOTHING = -1, -2


def is_giant(array: ArrayLayout) -> bool:
    """Return whether chunks are too large to be decoded several at a time."""
    return array.needed_grid.n_bytes > GIANT


class WantedChunks(NamedTuple):
    """The chunks of an array that are wanted, and which of their bytes.

    Parameters
    ----------
    chunk
        Numbers of the chunks, int64, each once.
    want
        Bytes of the beginning of each decoded chunk that are wanted.
    unwanted
        How many of these, the first ones, are not.
    """

    chunk: Integers
    want: Integers
    unwanted: Integers


class ChunkDecoder:
    """Finds, reads and decodes chunks of one array, before their rows are placed.

    Parameters
    ----------
    array
        The array.
    wanted
        The chunks; the methods name them by their position here.
    context
        Byte sources, scratch memory and counters.
    ask_cache
        Whether the array's cache, if it has one, may have some of the chunks.
    """

    def __init__(
        self,
        array: ArrayLayout,
        wanted: WantedChunks,
        context: ReadContext,
        *,
        ask_cache: bool = True,
    ) -> None:
        self._array, self._grid = array, array.needed_grid
        self._n_bytes = self._grid.n_bytes
        self._context = context
        self._asked = array.chunk_cache if ask_cache else None
        found = find_chunks(array, wanted.chunk, encoded=True)
        n = len(wanted.chunk)
        self._file = np.zeros(n, np.int64) if found.file is None else found.file
        self._position = found.position
        self._size = np.where(found.position < 0, 0, found.size).astype(np.int64)
        self._written = np.flatnonzero(found.position >= 0)
        self._follows = self._find_neighbours()
        self._chunk = wanted.chunk.tolist()
        self._want = wanted.want.tolist()
        self._unwanted = wanted.unwanted.tolist()
        self._skipped = [0] * n if found.skipped is None else found.skipped.tolist()
        self._positions = found.position.tolist()
        self._files = self._file.tolist()
        self._sizes: list[int] = self._size.tolist()

    def __len__(self) -> int:
        return len(self._chunk)

    @property
    def is_giant(self) -> bool:
        """Whether the chunks are too large to be decoded several at a time."""
        return is_giant(self._array)

    def place_of(self, i: int) -> tuple[str, int]:
        """Return the file of a chunk and its first byte there, to sort by."""
        return self._array.table.files[self._files[i]], self._positions[i]

    def stored_ranges(self, numbering: LocationNumbers) -> ByteRanges:
        """Return the stored bytes of all chunks that were written."""
        written = self._written
        return ByteRanges(
            numbering.locations,
            numbering.numbers(self._array.table, self._file[written]),
            self._position[written],
            self._size[written],
        )

    def _find_neighbours(self) -> list[int]:
        """Return for each chunk the one whose bytes it follows, or `ALONE`."""
        follows = np.full(len(self._position), ALONE)
        written = self._written
        if len(written):
            starts = self._position[written]
            stops = starts + self._size[written]
            follows[written[1:]] = written[:-1]
            first = find_runs(starts, stops, of=self._file[written])
            follows[written[first]] = ALONE
        neighbours: list[int] = follows.tolist()
        return neighbours

    def decode(self, start: int, stop: int) -> Iterator[tuple[int, memoryview]]:
        """Yield some chunks decoded, in native byte order.

        Yields
        ------
        i
            Position of the chunk among those wanted.
        plain
            Its bytes, of which those wanted are right; valid until the next one.
        """
        begun = perf_counter()
        cached = self._find_cached(start, stop)
        missing = [i for i in range(start, stop) if i not in cached]
        scratch = self._context.scratch
        n_read = self._read(scratch, missing)
        read_s = perf_counter() - begun
        decode_s = 0.0
        inside = 0
        offer = make_offer(self._array, len(missing), scratch)
        keeps = offer is not None
        for i in range(start, stop):
            plain = cached.get(i)
            if plain is None:
                before = perf_counter()
                try:
                    plain = self._decode_one(scratch, i, inside, whole=keeps)
                except CorruptFileError:  # those before it are sound
                    if offer is not None:
                        offer.end()
                    raise
                inside += self._sizes[i]
                decode_s += perf_counter() - before
                if offer is not None and self._positions[i] >= 0:
                    offer.add(self._chunk[i], plain)
            yield i, plain
        if offer is not None:
            offer.end()
        self._context.stats.add(
            bytes_read=n_read,
            bytes_decoded=sum(self._count_decoded(i, whole=keeps) for i in missing),
            chunks_decoded=len(missing),
            chunks_cached=len(cached),
            read_s=read_s,
            decode_s=decode_s,
        )

    def _count_decoded(self, i: int, *, whole: bool) -> int:
        """Return the bytes that a chunk is decoded to: all, or about those wanted."""
        if self._positions[i] < 0:
            return 0
        if self._grid.pipeline.decodes_parts and not whole:
            return int(self._want[i] - self._unwanted[i])
        return self._n_bytes

    def decode_pieces(self, i: int) -> Iterator[tuple[int, memoryview]]:
        """Yield one very large chunk piece by piece, where its encoding allows it.

        Yields
        ------
        start
            First byte of the piece in the decoded chunk.
        piece
            Bytes in native byte order; valid until the next piece.
        """
        cached = self._find_cached(i, i + 1)
        if cached:
            yield 0, cached[i]
        elif (
            self._grid.pipeline.is_deflate
            and self._grid.stored_dtype.isnative
            and not self._skipped[i]
            and self._positions[i] >= 0
        ):
            yield from self._decode_windows(i)
        else:
            for _, plain in self.decode(i, i + 1):
                yield 0, plain

    def _decode_windows(self, i: int) -> Iterator[tuple[int, memoryview]]:
        """Yield all of a deflated chunk, to its end, where the checksum is."""
        begun = perf_counter()
        cache = self._array.chunk_cache
        done, elsewhere = 0, 0.0
        windows = inflate_windows(self._stored_windows(i), self._n_bytes)
        try:
            for window in windows:
                piece = memoryview(window)
                if cache is not None:
                    cache.keep_piece(self._array, self._chunk[i], done, piece)
                before = perf_counter()
                yield done, piece
                elsewhere += perf_counter() - before
                done += len(window)
        except InflateError as error:
            raise self._array.corrupt(self._chunk[i], str(error)) from error
        self._context.stats.add(
            bytes_decoded=done,
            chunks_decoded=1,
            decode_s=perf_counter() - begun - elsewhere,
        )

    def _find_cached(self, start: int, stop: int) -> dict[int, memoryview]:
        """Return those of some chunks that the array's cache has."""
        cache = self._asked
        if cache is None:
            return {}
        found = {}
        for i in range(start, stop):
            plain = cache.find(
                self._array,
                self._chunk[i],
                self._unwanted[i],
                self._want[i],
                self._context,
            )
            if plain is not None:
                found[i] = plain
        return found

    def _decode_one(
        self, scratch: Scratch, i: int, start: int, *, whole: bool
    ) -> memoryview:
        """Return a chunk, or the beginning of it, decoded, in native byte order."""
        grid, want, unwanted = self._grid, self._want[i], self._unwanted[i]
        if self._positions[i] < 0:
            n = want // grid.stored_dtype.itemsize
            filled = np.full(n, grid.fill, self._array.dtype)
            return filled.view(np.uint8).data
        if whole:
            want, unwanted = self._n_bytes, 0
        try:
            data = grid.pipeline.decode(
                scratch,
                start,
                self._sizes[i],
                n_bytes=self._n_bytes,
                want=want,
                unwanted=unwanted,
                skipped=self._skipped[i],
            )
        except CodecError as error:
            raise self._array.corrupt(self._chunk[i], str(error)) from error
        plain = memoryview(data)
        if not grid.stored_dtype.isnative:
            stored = np.frombuffer(plain[:want], grid.stored_dtype)
            plain = stored.astype(self._array.dtype).view(np.uint8).data
        return plain

    def _read(self, scratch: Scratch, chunks: list[int]) -> int:
        """Read chunks into scratch memory, one after another; return their bytes."""
        total = sum(self._sizes[i] for i in chunks)
        scratch.reserve_packed(total)
        # Lists, since a task has few chunks: arrays cost a tenth of all decoding.
        runs: list[_Run] = []
        address, last = scratch.packed_address, NOTHING
        for i in chunks:
            n_bytes = self._sizes[i]
            if not n_bytes:
                continue
            if self._follows[i] == last:
                runs[-1].n_bytes += n_bytes
            else:
                runs.append(_Run(i, self._positions[i], address, n_bytes))
            address, last = address + n_bytes, i
        for _, some in groupby(runs, key=lambda run: self._files[run.chunk]):
            self._read_runs(list(some))
        return total

    def _read_runs(self, runs: "list[_Run]") -> None:
        """Read runs of bytes of one source."""
        i, n = runs[0].chunk, len(runs)
        source = self._context.open_source(self._array.table.location(self._files[i]))
        destinations = Destinations(
            np.array([(run.address, run.n_bytes) for run in runs], np.uint64)
        )
        position = np.array([run.position for run in runs], np.int64)
        row = np.arange(n)
        done = try_reads(source, position, destinations, row, np.ones(n, np.int64))
        for at, (run, n_done) in enumerate(zip(runs, done.tolist(), strict=True)):
            if n_done != run.n_bytes:
                self._finish(source, run, destinations, at, max(n_done, 0))

    def _finish(
        self,
        source: ByteSource,
        run: "_Run",
        destinations: Destinations,
        row: int,
        done: int,
    ) -> None:
        """Read what is missing of a run; raise what is wrong with it."""
        try:
            read_fully(source, run.position, destinations, row, 1, run.n_bytes, done)
        except ScdatasetError:  # it names what is wrong with the source
            raise
        except (OSError, ShortReadError) as error:
            i = run.chunk
            if isinstance(error, ShortReadError):
                i = self._chunk_at(i, error.position)
            raise error_of_read(self._array, self._chunk[i], error) from error

    def _chunk_at(self, i: int, position: int) -> int:
        """Return which chunk, of those from `i` on that lie together, has a byte."""
        while i + 1 < len(self) and self._positions[i] + self._sizes[i] <= position:
            i += 1
        return i

    def _stored_windows(self, i: int) -> Iterator[memoryview]:
        """Yield the stored bytes of a chunk piece by piece."""
        scratch = self._context.scratch
        scratch.reserve_packed(WINDOW)
        for start in range(0, self._sizes[i], WINDOW):
            n_bytes = min(WINDOW, self._sizes[i] - start)
            position = self._positions[i] + start
            self._read_runs([_Run(i, position, scratch.packed_address, n_bytes)])
            self._context.stats.add(bytes_read=n_bytes)
            yield scratch.packed[:n_bytes]


@dataclass(slots=True)
class _Run:
    """Bytes of a source that one read brings to memory, from a chunk's on."""

    chunk: int
    position: int
    address: int
    n_bytes: int
