"""Plans reads of chunks that are stored as they are, straight into the targets."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..layout import ArrayLayout
from .chunk_lookup import find_chunks
from .requests import Pieces, Ranges, cut_at_chunks, find_addresses

__all__ = [
    "FoundSpans",
    "PlainReads",
    "Spans",
    "copy_repeats",
    "find_spans",
    "finish_reads",
    "place_reads",
]

Integers = npt.NDArray[np.int64]


class Spans(NamedTuple):
    """Runs of bytes that lie together both in a chunk and in a target.

    Parameters
    ----------
    range
        Number of the range that each run belongs to.
    chunk
        Number of the chunk that it lies in.
    inside
        Its first byte there.
    n_bytes
        Its length.
    outside
        Its first byte in its target.
    """

    range: Integers
    chunk: Integers
    inside: Integers
    n_bytes: Integers
    outside: Integers

    def take(self, selected: npt.NDArray[np.bool_]) -> "Spans":
        """Return some of them."""
        return Spans(*(column[selected] for column in self))


class PlainReads(NamedTuple):
    """Reads of bytes, and the addresses in memory that they go to.

    Parameters
    ----------
    arrays
        Arrays they belong to.
    of, chunk
        The array and the chunk of each, for messages.
    file
        The number of its file in the array's table; None: 0 for all.
    position, n_bytes
        The bytes.
    address
        Where they go.
    memory
        What lies at these addresses, where it is not memory of the thread that reads.
        The reads keep it: whoever asked for them may be gone, after an interrupt.
    """

    arrays: Sequence[ArrayLayout]
    of: Integers
    chunk: Integers
    file: Integers | None
    position: Integers
    n_bytes: Integers
    address: Integers
    memory: Sequence[npt.NDArray[Any]]


class FoundSpans(NamedTuple):
    """The runs of bytes of ranges, and where they lie in files.

    Parameters
    ----------
    spans
        The runs, without those of a range that repeats the one before it.
    position, file
        Their first bytes, and the numbers of their files; None: 0 for all.
    missing
        Runs in chunks that were never written, not among `spans`; None: there are none.
    wanted
        Which ranges repeat none before them; None: all.
    """

    spans: Spans
    position: Integers
    file: Integers | None
    missing: Spans | None
    wanted: npt.NDArray[np.bool_] | None

    def take(self, ranges: npt.NDArray[np.bool_]) -> "FoundSpans":
        """Return the runs of some ranges."""
        some = ranges[self.spans.range]
        missing = self.missing
        return FoundSpans(
            self.spans.take(some),
            self.position[some],
            None if self.file is None else self.file[some],
            None if missing is None else missing.take(ranges[missing.range]),
            self.wanted,
        )


def find_spans(ranges: Ranges) -> FoundSpans:
    """Return the runs of bytes of all ranges, and where they lie."""
    wanted: npt.NDArray[np.bool_] | None = np.ones(len(ranges.of), bool)
    assert wanted is not None
    np.logical_or(
        ranges.starts[1:] != ranges.starts[:-1],
        ranges.stops[1:] != ranges.stops[:-1],
        out=wanted[1:],
    )
    # A range that repeats is read once, and copied. Ranges of two requests never are
    # the same, though their numbers may be.
    wanted[ranges.bounds[:-1]] = True
    if wanted.all():
        wanted = None
    spans = _cut_spans(ranges, wanted)
    position, file, absent = _find_positions(ranges, spans)
    missing = None
    if absent is not None:
        missing = spans.take(absent)
        spans, position = spans.take(~absent), position[~absent]
        file = None if file is None else file[~absent]
    return FoundSpans(spans, position + spans.inside, file, missing, wanted)


def finish_reads(ranges: Ranges, found: FoundSpans) -> Callable[[], None] | None:
    """Return what is to be called after the reads that :func:`place_reads` returns."""
    swapped = [not request.array.stored_natively for request in ranges.requests]
    if found.missing is None and not any(swapped) and found.wanted is None:
        return None

    def finish() -> None:
        if found.missing is not None:
            _fill(ranges, found.missing)
        if any(swapped):
            of = ranges.of[found.spans.range]
            _swap(ranges, found.spans.take(np.array(swapped)[of]))
        if found.wanted is not None:
            copy_repeats(ranges, found.wanted)

    return finish


def place_reads(ranges: Ranges, found: FoundSpans) -> PlainReads:
    """Return the reads of runs of bytes straight into their targets."""
    spans = found.spans
    addresses = find_addresses(ranges.targets)
    return PlainReads(
        [request.array for request in ranges.requests],
        ranges.of[spans.range],
        spans.chunk,
        found.file,
        found.position,
        spans.n_bytes,
        addresses[ranges.target[spans.range]] + spans.outside,
        ranges.targets,
    )


def _cut_spans(ranges: Ranges, wanted: npt.NDArray[np.bool_] | None) -> Spans:
    """Return the runs of bytes of all ranges, or of those that are wanted."""
    grids = [request.array.needed_grid for request in ranges.requests]
    of, starts, stops, offset = ranges.of, ranges.starts, ranges.stops, ranges.offset
    if wanted is not None:
        of, starts = of[wanted], starts[wanted]
        stops, offset = stops[wanted], offset[wanted]
    chunk_rows = np.array([grid.chunk_shape[0] for grid in grids], np.int64)
    pieces = cut_at_chunks(starts, stops, offset, chunk_rows[of])
    of = of[pieces.range]
    if wanted is not None:
        pieces = pieces._replace(range=np.flatnonzero(wanted)[pieces.range])
    shapes = [request.array.shape[1:] for request in ranges.requests]
    itemsize = [grid.stored_dtype.itemsize for grid in grids]
    row_bytes = np.array(
        [prod(shape) * size for shape, size in zip(shapes, itemsize, strict=True)],
        np.int64,
    )
    if all(grid.chunk_shape[1:] == s for grid, s in zip(grids, shapes, strict=True)):
        size = row_bytes[of]
        return Spans(
            pieces.range,
            pieces.chunk,
            pieces.first * size,
            pieces.n * size,
            pieces.offset * size,
        )
    chunk_bytes = [grid.n_bytes // grid.chunk_shape[0] for grid in grids]
    return _split_rows(pieces, row_bytes[of], np.array(chunk_bytes, np.int64)[of])


def _split_rows(pieces: Pieces, row_bytes: Integers, width: Integers) -> Spans:
    """Return the runs of rows that lie in several chunks of `width` bytes a row.

    There is one run for each row and chunk, ordered by chunk, then by row.
    """
    per_row = -(-row_bytes // width)
    counts = pieces.n * per_row
    of = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    n = pieces.n[of]
    column = number // n
    row = number - column * n
    width, row_bytes = width[of], row_bytes[of]
    return Spans(
        pieces.range[of],
        pieces.chunk[of] * per_row[of] + column,
        (pieces.first[of] + row) * width,
        np.minimum(width, row_bytes - column * width),
        (pieces.offset[of] + row) * row_bytes + column * width,
    )


def _find_positions(
    ranges: Ranges, spans: Spans
) -> tuple[Integers, Integers | None, npt.NDArray[np.bool_] | None]:
    """Return where the spans' chunks begin, in which file, and which are absent."""
    position = np.empty(len(spans.chunk), np.int64)
    file: Integers | None = None
    absent: npt.NDArray[np.bool_] | None = None
    # Spans keep the order of their ranges, so each request's are together.
    edges = np.searchsorted(spans.range, ranges.bounds).tolist()
    for number, request in enumerate(ranges.requests):
        here = slice(edges[number], edges[number + 1])
        found = find_chunks(request.array, spans.chunk[here], encoded=False)
        position[here] = found.position
        if found.file is not None:
            file = np.zeros(len(position), np.int64) if file is None else file
            file[here] = found.file
        if found.absent is not None:
            absent = np.zeros(len(position), bool) if absent is None else absent
            absent[here] = found.absent
    return position, file, absent


def _view_spans(ranges: Ranges, spans: Spans) -> list[npt.NDArray[Any]]:
    """Return the elements of targets that spans go to, as views."""
    flat = [target.reshape(-1).view(np.uint8) for target in ranges.targets]
    number = ranges.target[spans.range].tolist()
    return [
        flat[target][start : start + n].view(ranges.targets[target].dtype)
        for target, start, n in zip(
            number, spans.outside.tolist(), spans.n_bytes.tolist(), strict=True
        )
    ]


def _fill(ranges: Ranges, spans: Spans) -> None:
    """Write the fill values of chunks that were never written."""
    of = ranges.of[spans.range].tolist()
    for number, run in zip(of, _view_spans(ranges, spans), strict=True):
        run[...] = ranges.requests[number].array.needed_grid.fill


def _swap(ranges: Ranges, spans: Spans) -> None:
    """Swap the bytes of elements that are stored in the other byte order."""
    for run in _view_spans(ranges, spans):
        run.byteswap(inplace=True)


def copy_repeats(ranges: Ranges, wanted: npt.NDArray[np.bool_]) -> None:
    """Copy what was read for a range to the ranges after it that are the same."""
    targets = ranges.targets
    here = np.flatnonzero(~wanted)
    origin = np.maximum.accumulate(np.where(wanted, np.arange(len(wanted)), 0))[here]
    for to, source, to_at, source_at, n in zip(
        ranges.target[here].tolist(),
        ranges.target[origin].tolist(),
        ranges.offset[here].tolist(),
        ranges.offset[origin].tolist(),
        (ranges.stops - ranges.starts)[here].tolist(),
        strict=True,
    ):
        targets[to][to_at : to_at + n] = targets[source][source_at : source_at + n]
