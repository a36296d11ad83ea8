"""Reads stacks of arrays that caches keep whole, all arrays of a fetch at a time.

These are the epochs after the first. What a fetch wants of each array is so little then
that to ask for it array by array takes longer than its bytes take to be read.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from ..layout import ArrayLayout, ChunkCache, FoundChunks
from .array_stacks import StackRead, first_of_each
from .kept_reads import read_kept_ranges
from .requests import Pieces, cut_at_chunks
from .widening import Widening, widen_all

__all__ = ["read_kept_stack"]

Integers = npt.NDArray[np.int64]
Bounds = list[int | None]


class _KeptArray(NamedTuple):
    """What a cache has of one array: all that is wanted of it, in one kind."""

    array: ArrayLayout
    cache: ChunkCache
    chunks: Integers
    kind: int
    found: FoundChunks

    @property
    def layout(self) -> ArrayLayout:
        """The array of all elements that the cache keeps in the kind."""
        return self.found.layouts[self.kind]

    def is_sound(self, context: ReadContext) -> bool:
        """Return whether what was read was not changed since it was checked."""
        return self.cache.confirm(
            self.array, self.chunks, self.kind, self.found, context
        )


class _KeptSlot(NamedTuple):
    """The arrays of all files at one place of a stack, kept in one type."""

    arrays: list[_KeptArray]
    dtype: np.dtype[Any]
    n_chunks: int


def read_kept_stack(read: StackRead, context: ReadContext) -> Bounds | None:
    """Read all ranges of a stack out of caches, if these keep all that is wanted.

    Parameters
    ----------
    read
        The ranges, which fit their arrays and targets, and their targets.
    context
        Threads, byte sources, buffers and counters.

    Returns
    -------
    bounds
        For each array of a file a number that none of its integers is above, or None;
        None in place of all where not everything was read, and the targets may hold
        anything.
    """
    if 2 * read.n_wanted < read.n_places:  # to widen all would be a waste
        return None
    slots = _find_slots(read, context)
    if slots is None:
        return None
    try:
        bounds = _read(read, slots, context)
    except Exception as error:  # whatever is wrong with the cache, the source is there
        for slot in slots:
            for kept in slot.arrays:
                kept.cache.fail(error)
        return None
    if not all(kept.is_sound(context) for slot in slots for kept in slot.arrays):
        return None
    n_chunks = sum(slot.n_chunks for slot in slots)
    context.stats.add(chunks_cached=n_chunks, bytes_used=read.n_bytes)
    return bounds


def _find_slots(read: StackRead, context: ReadContext) -> list[_KeptSlot] | None:
    """Return what caches have of all arrays; None where something is missing."""
    stack, files = read.stack, read.files
    first = first_of_each(files)
    numbers, edges = files[first].tolist(), np.append(first, len(files))
    pieces: Pieces | None = None
    rows_before = np.empty(0, np.int64)
    slots = []
    for place, slot in enumerate(stack.slots):
        rows = slot.chunk_rows[files]
        if pieces is None or not np.array_equal(rows, rows_before):
            pieces = cut_at_chunks(read.starts, read.stops, read.offsets, rows)
            rows_before = rows
            bounds = np.searchsorted(pieces.range, edges)
        kept = _find_slot(stack.files, numbers, place, pieces.chunk, bounds, context)
        if kept is None:
            return None
        slots.append(kept)
    return slots


def _find_slot(
    files: Sequence[Sequence[ArrayLayout]],
    numbers: list[int],
    place: int,
    chunks: Integers,
    bounds: Integers,
    context: ReadContext,
) -> _KeptSlot | None:
    """Return what caches have of one array of each of some files, or None."""
    arrays = []
    edges = bounds.tolist()
    for number, (start, stop) in zip(numbers, pairwise(edges), strict=True):
        array = files[number][place]
        cache = array.chunk_cache
        if cache is None or start == stop:
            return None
        found = cache.find_known(array, chunks[start:stop], context)
        if found is None:
            return None
        kind = int(found.kinds[0])
        if not kind:
            return None
        arrays.append(_KeptArray(array, cache, chunks[start:stop], kind, found))
    kinds = np.concatenate([kept.found.kinds for kept in arrays])
    each = np.array([kept.kind for kept in arrays], np.uint8)
    if (kinds != np.repeat(each, np.diff(bounds))).any():
        return None
    dtype = arrays[0].layout.dtype
    if any(kept.layout.dtype != dtype for kept in arrays):
        return None
    new = np.empty(len(chunks), bool)
    np.not_equal(chunks[1:], chunks[:-1], out=new[1:])
    new[bounds[:-1]] = True
    return _KeptSlot(arrays, dtype, int(np.count_nonzero(new)))


def _read(read: StackRead, slots: list[_KeptSlot], context: ReadContext) -> Bounds:
    """Read and widen all ranges; return the bounds of what was read."""
    count = read.stops - read.starts
    first = first_of_each(read.files)
    file = np.repeat(np.arange(len(first)), np.diff(first, append=len(count)))
    position, n_bytes, address = [], [], []
    memory: list[npt.NDArray[Any]] = []
    widenings = [
        Widening(targets, slot.dtype, context)
        for slot, targets in zip(slots, read.targets, strict=True)
    ]
    for slot, widening in zip(slots, widenings, strict=True):
        size = slot.dtype.itemsize
        position.append(read.starts * size)
        n_bytes.append(count * size)
        address.append(widening.addresses[read.which] + read.offsets * size)
        memory += widening.memory
    read_kept_ranges(
        [kept.layout for slot in slots for kept in slot.arrays],
        np.concatenate([file + place * len(first) for place in range(len(slots))]),
        np.concatenate(position),
        np.concatenate(n_bytes),
        np.concatenate(address),
        memory,
        context,
    )
    widen_all(widenings, context, n_bytes=read.n_bytes)
    return [widening.bound for widening in widenings]
