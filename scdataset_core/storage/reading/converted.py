"""Reads uncompressed numbers whose targets are of another type.

A reading thread brings some of them into its scratch memory, in the order of the file,
converts them there, and copies them to their places. So what is wider than its targets
never fills memory, and is converted while the processor's cache holds it.
"""

from collections.abc import Callable
from functools import partial
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from .byte_ranges import lengths_of
from .conversion import convert
from .merged_reads import MergedReads
from .placers import view_as_bytes
from .requests import Ranges
from .uncompressed import (
    FoundSpans,
    PlainReads,
    Spans,
    find_spans,
    finish_reads,
    place_reads,
)

__all__ = ["ConvertedReads", "plan_reads"]

Integers = npt.NDArray[np.int64]
# About so much is read and converted at a time.
TASK_BYTES = 2 << 20
# A longer run of numbers is read in pieces.
PIECE_BYTES = 1 << 18


def plan_reads(
    ranges: Ranges, context: ReadContext
) -> tuple[list[MergedReads], list[Callable[[], None]]]:
    """Return the reads that requests need, and what to call after them.

    Parameters
    ----------
    ranges
        Ranges of uncompressed arrays; those that are converted are of 1-D ones.
    context
        Byte sources, scratch memory, ring and counters.
    """
    found = find_spans(ranges)
    finish: list[Callable[[], None]] = []
    parts: list[MergedReads] = []
    converts = [request.converts for request in ranges.requests]
    plain = found
    if any(converts):
        mine = np.array(converts)[ranges.of]
        plain, other = found.take(~mine), found.take(mine)
        if len(other.position):
            parts.append(ConvertedReads(ranges, other, context))
        if other.missing is not None:
            finish.append(partial(_fill, ranges, other.missing))
    if len(plain.position):
        parts.insert(0, MergedReads(place_reads(ranges, plain), context))
    finish_plain = finish_reads(ranges, plain)  # and copy what repeats, of all
    return parts, [*finish, *([finish_plain] if finish_plain else [])]


class ConvertedReads(MergedReads):
    """Reads of numbers that are converted on the way to their targets.

    Parameters
    ----------
    ranges
        The ranges.
    found
        Where they lie; at least one run of bytes.
    context
        Byte sources, scratch memory, ring and counters.
    """

    def __init__(self, ranges: Ranges, found: FoundSpans, context: ReadContext) -> None:
        spans, position, file = _cut_long_spans(found)
        of = ranges.of[spans.range]
        ends = np.cumsum(spans.n_bytes)
        first = _first_of_tasks(of, ends)
        self._tasks = np.append(first, len(ends))
        begins = ends - spans.n_bytes
        # Where each run goes in the scratch memory of its task.
        inside = begins - np.repeat(begins[first], lengths_of(first, len(ends)))
        arrays = [request.array for request in ranges.requests]
        reads = PlainReads(
            arrays, of, spans.chunk, file, position, spans.n_bytes, inside, ()
        )
        super().__init__(reads, context, cuts=first)
        self._inside = inside
        self._dtypes = [
            (array.needed_grid.stored_dtype, request.targets[0].dtype)
            for array, request in zip(arrays, ranges.requests, strict=True)
        ]
        sizes = [[dtype.itemsize for dtype in pair] for pair in self._dtypes]
        stored, wanted = np.array(sizes)[of].T
        size = spans.n_bytes // stored * wanted
        at, to = inside // stored * wanted, spans.outside // stored * wanted
        places = ranges.target[spans.range], to, to + size, at, at + size
        self._places = [column.tolist() for column in places]
        self._views = view_as_bytes(ranges.targets)

    def _share_groups(self, *, inline: bool) -> list[int]:
        """Return where the groups of each task begin, and the number of groups."""
        bounds: list[int] = np.searchsorted(self._first, self._tasks).tolist()
        return bounds

    def _read(self, some: slice) -> None:
        """Read the groups of a task, convert what was read and copy it to its place."""
        start = int(self._first[some.start])
        stop = int(self._first[some.stop - 1] + self._count[some.stop - 1])
        n_bytes = int(self._inside[stop - 1] + self._reads.n_bytes[stop - 1])
        scratch = self._context.scratch
        scratch.reserve_plain(n_bytes)
        self._destinations.table[start:stop, 0] = (
            self._inside[start:stop] + scratch.plain_address
        )
        super()._read(some)
        begun = perf_counter()
        stored, wanted = self._dtypes[int(self._reads.of[start])]
        n_wanted = n_bytes // stored.itemsize * wanted.itemsize
        scratch.reserve_packed(n_wanted)
        converted = scratch.packed[:n_wanted]
        convert(
            np.frombuffer(scratch.plain[:n_bytes], stored),
            np.frombuffer(converted, wanted),
        )
        views = self._views
        for which, to, to_end, at, at_end in zip(
            *(column[start:stop] for column in self._places), strict=True
        ):
            views[which][to:to_end] = converted[at:at_end]
        self._context.stats.add(place_s=perf_counter() - begun)


def _cut_long_spans(found: FoundSpans) -> tuple[Spans, Integers, Integers | None]:
    """Return runs of at most `PIECE_BYTES`, their positions and files."""
    spans, position, file = found.spans, found.position, found.file
    counts = -(-spans.n_bytes // PIECE_BYTES)
    if counts.max() == 1:
        return spans, position, file
    of = np.repeat(np.arange(len(counts)), counts)
    before = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    before *= PIECE_BYTES
    pieces = Spans(
        spans.range[of],
        spans.chunk[of],
        spans.inside[of] + before,
        np.minimum(spans.n_bytes[of] - before, PIECE_BYTES),
        spans.outside[of] + before,
    )
    return pieces, position[of] + before, None if file is None else file[of]


def _first_of_tasks(of: Integers, ends: Integers) -> Integers:
    """Return the first run of each task: those of a task are of one request."""
    task = (ends - 1) // TASK_BYTES
    new = np.ones(len(of), bool)
    np.not_equal(task[1:], task[:-1], out=new[1:])
    new[1:] |= of[1:] != of[:-1]
    return np.flatnonzero(new)


def _fill(ranges: Ranges, spans: Spans) -> None:
    """Write the fill values of chunks that were never written."""
    columns = spans.range.tolist(), spans.outside.tolist(), spans.n_bytes.tolist()
    for number, outside, n_bytes in zip(*columns, strict=True):
        grid = ranges.requests[int(ranges.of[number])].array.needed_grid
        itemsize = grid.stored_dtype.itemsize
        at, n = outside // itemsize, n_bytes // itemsize
        target = ranges.targets[int(ranges.target[number])][at : at + n]
        convert(np.full(n, grid.fill, grid.stored_dtype), target)
