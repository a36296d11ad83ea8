"""Chunks stored as they are: the wanted bytes, read straight into their places."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .layout import ArrayLayout
from .locate import find
from .requests import Pieces, Request, cut

__all__ = ["Reads", "plan_direct"]

Integers = npt.NDArray[np.int64]


class Reads(NamedTuple):
    """Bytes of files, and the places in memory they go to.

    Parameters
    ----------
    array
        The array they belong to.
    chunk
        The chunk of each, for messages.
    file
        The number of its file in the array's table; None: 0 for all.
    position, n_bytes
        The bytes.
    address
        The place.
    """

    array: ArrayLayout
    chunk: Integers
    file: npt.NDArray[Any] | None
    position: Integers
    n_bytes: Integers
    address: Integers


class Spans(NamedTuple):
    """Runs of bytes that are together both in a chunk and in a target.

    Parameters
    ----------
    chunk
        Number of the chunk each lies in.
    inside
        Its first byte there.
    n_bytes
        Its length.
    which, outside
        Its target and first byte there.
    """

    chunk: Integers
    inside: Integers
    n_bytes: Integers
    which: Integers
    outside: Integers

    def take(self, selected: npt.NDArray[np.bool_]) -> "Spans":
        """Return some of them."""
        return Spans(*(column[selected] for column in self))


def addresses_of(targets: Sequence[npt.NDArray[Any]]) -> Integers:
    """Return where each target lies in memory."""
    found = [target.__array_interface__["data"][0] for target in targets]
    return np.array(found, np.int64)


def spans_of(array: ArrayLayout, pieces: Pieces) -> Spans:
    """Return the runs of bytes of pieces of whole rows."""
    grid = array.grid
    assert grid is not None
    row_bytes = prod(array.shape[1:]) * array.dtype.itemsize
    if grid.chunk_shape[1:] == array.shape[1:]:
        return Spans(
            pieces.chunk,
            pieces.first * row_bytes,
            pieces.n * row_bytes,
            pieces.which,
            pieces.offset * row_bytes,
        )
    # A row lies in several chunks: one run a row and chunk, by chunk, then by row.
    itemsize = array.dtype.itemsize
    width = grid.chunk_shape[1]
    per_row = -(-array.shape[1] // width)
    of = np.repeat(np.arange(len(pieces.n)), pieces.n * per_row)
    number = np.arange(len(of)) - np.repeat(
        (np.cumsum(pieces.n) - pieces.n) * per_row, pieces.n * per_row
    )
    column, row = np.divmod(number, pieces.n[of])
    columns = np.minimum(width, array.shape[1] - column * width)
    return Spans(
        pieces.chunk[of] * per_row + column,
        (pieces.first[of] + row) * (width * itemsize),
        columns * itemsize,
        pieces.which[of],
        (pieces.offset[of] + row) * row_bytes + column * (width * itemsize),
    )


def plan_direct(request: Request) -> tuple[Reads, Callable[[], None] | None]:
    """Return the reads of a request, and what is to be done after them."""
    array = request.array
    grid = array.grid
    assert grid is not None
    starts, stops = request.starts, request.stops
    which, offsets = request.which, request.offsets
    # A range that repeats is read once, and copied.
    repeats = (starts[1:] == starts[:-1]) & (stops[1:] == stops[:-1])
    has_repeats = bool(repeats.any())
    if has_repeats:
        new = np.concatenate(([True], ~repeats))
        starts, stops, which, offsets = (
            column[new] for column in (starts, stops, which, offsets)
        )
    spans = spans_of(
        array, cut(starts, stops, which, offsets, chunk_rows=grid.chunk_shape[0])
    )
    found = find(array, spans.chunk, encoded=False)
    missing = None
    position, file = found.position, found.file
    if found.absent is not None:
        missing = spans.take(found.absent)
        position = position[~found.absent]
        file = None if file is None else file[~found.absent]
        spans = spans.take(~found.absent)
    address = addresses_of(request.targets)[spans.which] + spans.outside
    reads = Reads(
        array, spans.chunk, file, position + spans.inside, spans.n_bytes, address
    )
    swapped = not grid.stored_dtype.isnative
    if missing is None and not swapped and not has_repeats:
        return reads, None

    def finish() -> None:
        if missing is not None:
            for run in _runs(request, missing):
                run[...] = grid.fill
        if swapped:
            for run in _runs(request, spans):
                run.byteswap(inplace=True)
        if has_repeats:
            _repeat(request, repeats)

    return reads, finish


def _runs(request: Request, spans: Spans) -> list[npt.NDArray[Any]]:
    """Return the elements of targets that spans go to, as views."""
    itemsize = request.array.dtype.itemsize
    flat = [target.reshape(-1) for target in request.targets]
    starts = spans.outside // itemsize
    stops = starts + spans.n_bytes // itemsize
    return [
        flat[which][start:stop]
        for which, start, stop in zip(
            spans.which.tolist(), starts.tolist(), stops.tolist(), strict=True
        )
    ]


def _repeat(request: Request, repeats: npt.NDArray[np.bool_]) -> None:
    """Copy what was read for a range to the ranges after it that are the same."""
    targets = request.targets
    here = np.flatnonzero(repeats) + 1
    numbers = np.arange(len(repeats) + 1)
    numbers[here] = 0
    origin = np.maximum.accumulate(numbers)[here]
    for to, source, to_at, source_at, n in zip(
        request.which[here].tolist(),
        request.which[origin].tolist(),
        request.offsets[here].tolist(),
        request.offsets[origin].tolist(),
        (request.stops - request.starts)[here].tolist(),
        strict=True,
    ):
        targets[to][to_at : to_at + n] = targets[source][source_at : source_at + n]
