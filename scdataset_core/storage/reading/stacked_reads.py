"""Does reads of stacks of arrays: plans those of all files together."""

from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from ..layout import ArrayLayout
from .array_stacks import CACHED, PLAIN, ArrayStack, StackRead, first_of_each
from .byte_ranges import ByteRanges
from .kept_stacks import read_kept_stack
from .merged_reads import MergedReads, tasks_of
from .read_requests import STAGED_BYTES, read_requests
from .requests import Request, cut_at_chunks
from .uncompressed import PlainReads
from .widening import Widening, widen_all

__all__ = ["read_stack"]

Integers = npt.NDArray[np.int64]


def read_stack(read: StackRead, context: ReadContext) -> list[int | None]:
    """Read every range of every array of a stack into its target.

    Parameters
    ----------
    read
        The ranges that are wanted, and their targets.
    context
        The threads, files, buffers and counters to use.

    Returns
    -------
    bounds
        For each array of a file a number that none of the integers that were read of it
        is above; None where that did not come out by the way.

    Raises
    ------
    ValueError, CorruptFileError, FileChangedError, OSError
        As :func:`~.read_requests.read_requests`.
    """
    bounds: list[int | None] = [None] * len(read.targets)
    if not len(read.files):
        return bounds
    first = first_of_each(read.files)
    ways = read.stack.find_ways(read.files[first])
    if (ways == CACHED).all() and read.fits():
        found = read_kept_stack(read, context)
        if found is not None:
            return found
    plain, rest = read, list[Request]()
    if not (ways == PLAIN).all():
        is_plain = np.repeat(ways == PLAIN, np.diff(first, append=len(read.files)))
        plain, rest = read.take(is_plain), read.take(~is_plain).split()
    if len(plain.files) and not _can_be_read_plain(plain):
        read_requests([*plain.split(), *rest], context)
        return bounds
    # These first: what widens kept chunks writes into places of other ranges too.
    if rest:
        read_requests(rest, context)
    if len(plain.files):
        _read_plain(plain, context)
    return bounds


def _can_be_read_plain(read: StackRead) -> bool:
    """Return whether ranges of plain files fit, and what is converted is little."""
    if not read.fits():
        return False
    dtypes = [slot.dtype for slot in read.stack.slots]
    pairs = zip(read.targets, dtypes, strict=True)
    if all(targets[0].dtype == dtype for targets, dtype in pairs):
        return True
    most_bytes = read.n_wanted * max(dtype.itemsize for dtype in dtypes)
    return read.fills_targets and most_bytes <= STAGED_BYTES


def _read_plain(read: StackRead, context: ReadContext) -> None:
    """Read ranges of plain files."""
    widenings = [
        Widening(targets, slot.dtype, context)
        for targets, slot in zip(read.targets, read.stack.slots, strict=True)
    ]
    first = first_of_each(read.files)
    numbers = read.files[first]
    source = np.zeros(len(read.files), np.int64)
    source[first[1:]] = 1
    np.cumsum(source, out=source)
    stack = read.stack
    n_slots = len(stack.slots)
    parts = []
    for place, widening in enumerate(widenings):
        of, *columns = _locate(read, place, widening)
        here = source[of]
        parts.append((here, here * n_slots + place, *columns))
    here, array, chunk, position, n_bytes, address = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    if not len(here):
        return
    arrays = _ArraysOf(stack, numbers.tolist())
    memory = [array for widening in widenings for array in widening.memory]
    reads = PlainReads(arrays, array, chunk, None, position, n_bytes, address, memory)
    locations = [stack.location(number) for number in numbers.tolist()]
    of_reads = here if len(locations) > 1 else None
    ranges = ByteRanges(locations, of_reads, position, n_bytes)
    context.run(tasks_of([MergedReads(reads, context, ranges=ranges)]))
    context.stats.add(bytes_used=int(n_bytes.sum()))
    widen_all(widenings, context, n_bytes=read.n_bytes)


def _locate(read: StackRead, place: int, widening: Widening) -> tuple[Integers, ...]:
    """Return where the ranges of one array of each file lie, cut at its chunks.

    Returns
    -------
    of, chunk
        The range and the chunk of each piece.
    position, n_bytes
        Its bytes in the file.
    address
        Where they go.
    """
    slot = read.stack.slots[place]
    pieces = cut_at_chunks(
        read.starts, read.stops, read.offsets, slot.chunk_rows[read.files]
    )
    files, size = read.files[pieces.range], slot.dtype.itemsize
    position = read.stack.find_chunks(place, files, pieces.chunk)
    position += pieces.first * size
    address = widening.addresses[read.which[pieces.range]] + pieces.offset * size
    return pieces.range, pieces.chunk, position, pieces.n * size, address


class _ArraysOf(Sequence[ArrayLayout]):
    """The arrays of some files of a stack, which errors name."""

    def __init__(self, stack: ArrayStack, numbers: list[int]) -> None:
        self._stack, self._numbers = stack, numbers
        self._n_slots = len(stack.slots)

    def __len__(self) -> int:
        return len(self._numbers) * self._n_slots

    @overload
    def __getitem__(self, index: int) -> ArrayLayout: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ArrayLayout]: ...
    def __getitem__(self, index: int | slice) -> ArrayLayout | Sequence[ArrayLayout]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        file, slot = divmod(index, self._n_slots)
        return self._stack.files[self._numbers[file]][slot]
