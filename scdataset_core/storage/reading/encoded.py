"""Requests for encoded chunks: each chunk is decoded once, and its rows are placed."""

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter

import numpy as np

from ..context import ReadContext
from .byte_ranges import ByteRanges, LocationNumbers
from .chunk_decoder import ChunkDecoder
from .placers import PiecePlacer, Placer, make_placer, view_as_bytes
from .read_advice import advice_tasks
from .requests import Ranges

__all__ = ["encoded_tasks"]

# A task reads a few chunks at once, and is small enough to share a fetch evenly. Tasks
# of 2 MB took 1 % more processor time (zarr, chunks of 0.25 and 0.5 MB, one thread, two
# cores, November 2026).
MOST_CHUNKS = 16
TASKS_PER_THREAD = 6
TASK_BYTES = 4 << 20


def encoded_tasks(ranges: Ranges, context: ReadContext) -> list[Callable[[], None]]:
    """Return functions that do requests for encoded chunks, on any threads."""
    views = view_as_bytes(ranges.targets)
    requests = [
        EncodedRequest(ranges, number, views, context)
        for number in range(len(ranges.requests))
    ]
    decoders = [request.decoder for request in requests]
    few = sum(map(len, decoders)) // (TASKS_PER_THREAD * context.threads) + 1
    tasks = [task for part in requests for task in part.tasks(min(few, MOST_CHUNKS))]
    # Chunks that are near each other in a file are read one after the other.
    tasks.sort(key=lambda task: task[0])
    advice = advice_tasks(_stored_ranges(decoders), context)
    return advice + [task for _, task in tasks]


def _stored_ranges(decoders: list[ChunkDecoder]) -> ByteRanges:
    """Return the stored bytes of all chunks, sorted by source and position."""
    numbering = LocationNumbers()
    ranges = [decoder.stored_ranges(numbering) for decoder in decoders]
    position = np.concatenate([some.position for some in ranges])
    of = np.concatenate([some.location_of for some in ranges])
    n_bytes = np.concatenate([some.n_bytes for some in ranges])
    order = np.lexsort((position, of))
    return ByteRanges(numbering.locations, of[order], position[order], n_bytes[order])


class EncodedRequest:
    """One request for encoded chunks: what decodes them, and what places their rows.

    Parameters
    ----------
    ranges
        All ranges and targets.
    number
        Number of the request among them.
    views
        The targets as bytes.
    context
        Byte sources, scratch memory and counters.
    """

    def __init__(
        self,
        ranges: Ranges,
        number: int,
        views: list[memoryview],
        context: ReadContext,
    ) -> None:
        self._context = context
        self._placer: Placer = make_placer(ranges, number, views)
        request = ranges.requests[number]
        grid = request.array.needed_grid
        self._n_bytes, self._item_bytes = grid.n_bytes, grid.stored_dtype.itemsize
        self.decoder = ChunkDecoder(
            request.array,
            self._placer.wanted,
            context,
            ask_cache=not request.is_uncached,
        )

    def tasks(self, n_chunks: int) -> list[tuple[tuple[str, int], Callable[[], None]]]:
        """Return functions that do a few chunks each, with their file and place there.

        Parameters
        ----------
        n_chunks
            How many each does at most.
        """
        decoder, n = self.decoder, len(self.decoder)
        if decoder.is_giant:
            return [
                (decoder.place_of(i), partial(self._place_giant, i)) for i in range(n)
            ]
        step = max(min(n_chunks, TASK_BYTES // self._n_bytes), 1)
        return [
            (decoder.place_of(i), partial(self._place, i, min(i + step, n)))
            for i in range(0, n, step)
        ]

    def _place(self, start: int, stop: int) -> None:
        """Decode some chunks, and place their rows."""
        place_s = 0.0
        for i, plain in self.decoder.decode(start, stop):
            begun = perf_counter()
            self._placer.place(i, plain)
            place_s += perf_counter() - begun
        self._context.stats.add(place_s=place_s)

    def _place_giant(self, i: int) -> None:
        """Do one very large chunk, piece by piece where its rows are whole in it."""
        placer, scratch = self._placer, self._context.scratch
        if not isinstance(placer, PiecePlacer):
            self._place(i, i + 1)
            scratch.trim()
            return
        place_s = 0.0
        pieces = _cut_at_items(self.decoder.decode_pieces(i), self._item_bytes)
        for start, piece in pieces:
            begun = perf_counter()
            placer.place_piece(i, piece, start)
            place_s += perf_counter() - begun
        scratch.trim()
        self._context.stats.add(place_s=place_s)


def _cut_at_items(
    pieces: Iterator[tuple[int, memoryview]], item_bytes: int
) -> Iterator[tuple[int, memoryview]]:
    """Yield the same bytes, in pieces that begin and end with whole items."""
    rest = b""
    for begin, piece in pieces:
        start = begin - len(rest)
        whole = memoryview(rest + piece) if rest else piece
        n = len(whole) // item_bytes * item_bytes
        rest = bytes(whole[n:])
        if n:
            yield start, whole[:n]
