"""Plans reads of chunks that are stored as they are, straight into the targets."""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..layout import ArrayLayout
from .chunk_lookup import find_chunks
from .requests import Pieces, Ranges, cut_at_chunks

__all__ = ["PlainReads", "plan_plain_reads"]

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
    """

    arrays: list[ArrayLayout]
    of: Integers
    chunk: Integers
    file: Integers | None
    position: Integers
    n_bytes: Integers
    address: Integers


def plan_plain_reads(ranges: Ranges) -> tuple[PlainReads, Callable[[], None] | None]:
    """Return the reads that requests need, and what to call after them, if anything."""
    arrays = [request.array for request in ranges.requests]
    wanted = np.ones(len(ranges.of), bool)
    np.logical_or(
        ranges.starts[1:] != ranges.starts[:-1],
        ranges.stops[1:] != ranges.stops[:-1],
        out=wanted[1:],
    )
    # A range that repeats is read once, and copied. Ranges of two requests never are
    # the same, though their numbers may be.
    wanted[ranges.bounds[:-1]] = True
    has_repeats = not wanted.all()
    spans = _find_spans(ranges, wanted if has_repeats else None)
    position, file, absent = _find_positions(ranges, spans)
    missing = None
    if absent is not None:
        missing = spans.take(absent)
        spans, position = spans.take(~absent), position[~absent]
        file = None if file is None else file[~absent]
    addresses = np.array(
        [target.__array_interface__["data"][0] for target in ranges.targets], np.int64
    )
    reads = PlainReads(
        arrays,
        ranges.of[spans.range],
        spans.chunk,
        file,
        position + spans.inside,
        spans.n_bytes,
        addresses[ranges.target[spans.range]] + spans.outside,
    )
    swapped = [not array.stored_natively for array in arrays]
    if missing is None and not any(swapped) and not has_repeats:
        return reads, None

    def finish() -> None:
        if missing is not None:
            _fill(ranges, missing)
        if any(swapped):
            _swap(ranges, spans.take(np.array(swapped)[reads.of]))
        if has_repeats:
            _repeat(ranges, wanted)

    return reads, finish


def _find_spans(ranges: Ranges, wanted: npt.NDArray[np.bool_] | None) -> Spans:
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


def _repeat(ranges: Ranges, wanted: npt.NDArray[np.bool_]) -> None:
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
