"""Does reads of stacks of arrays: plans those of all files together."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from ..layout import ArrayLayout
from .array_stacks import ArrayStack, StackRead, first_of_each
from .byte_ranges import ByteRanges
from .conversion import can_convert, convert
from .merged_reads import MergedReads, tasks_of
from .read_requests import STAGED_BYTES, read_requests
from .requests import check_targets, cut_at_chunks
from .uncompressed import PlainReads

__all__ = ["read_stack"]

Integers = npt.NDArray[np.int64]
Targets = Sequence[npt.NDArray[Any]]


def read_stack(read: StackRead, context: ReadContext) -> None:
    """Read every range of every array of a stack into its target.

    Parameters
    ----------
    read
        The ranges that are wanted, and their targets.
    context
        The threads, files, buffers and counters to use.

    Raises
    ------
    ValueError, CorruptFileError, FileChangedError, OSError
        As :func:`~.read_requests.read_requests`.
    """
    if not len(read.files):
        return
    first = first_of_each(read.files)
    plain = read.stack.are_plain(read.files[first])
    rest: StackRead | None = None
    if not plain.all():
        mine = np.repeat(plain, np.diff(first, append=len(read.files)))
        read, rest = read.take(mine), read.take(~mine)
    buffers = _buffers(read, context) if len(read.files) else []
    if buffers is None:
        read_requests([*read.split(), *(rest.split() if rest else [])], context)
        return
    # These first: what widens kept chunks writes into places of other ranges too.
    if rest is not None:
        read_requests(rest.split(), context)
    if not len(read.files):
        return
    _read_plain(read, buffers, context)
    for targets, read_to in zip(read.targets, buffers, strict=True):
        if read_to is not targets:
            for target, buffer in zip(targets, read_to, strict=True):
                convert(buffer, target)


def _buffers(read: StackRead, context: ReadContext) -> Sequence[Targets] | None:
    """Return where the elements are read to: the targets, or buffers of their types.

    None where that cannot be, or something is wrong with what is asked for, which
    requests for each array say.
    """
    slots = read.stack.slots
    sizes = np.array([len(target) for target in read.targets[0]], np.int64)
    count = read.stops - read.starts
    which = read.which
    if which.min() < 0 or which.max() >= len(sizes) or read.starts.min() < 0:
        return None
    if count.min() < 0 or read.offsets.min() < 0:
        return None
    if (read.offsets > sizes[which] - count).any():
        return None
    if any((read.stops > slot.lengths[read.files]).any() for slot in slots):
        return None
    n_wanted, whole = int(count.sum()), int(sizes.sum())
    buffers: list[Targets] = []
    for slot, targets in zip(slots, read.targets, strict=True):
        dtype = targets[0].dtype
        check_targets(targets, dtype, (), "stacked arrays")
        if [len(target) for target in targets] != sizes.tolist():
            return None
        if dtype == slot.dtype:
            buffers.append(targets)
        elif (
            can_convert(slot.dtype, dtype)
            and n_wanted == whole
            and n_wanted * slot.dtype.itemsize <= STAGED_BYTES
        ):
            buffers.append([context.empty(len(t), slot.dtype) for t in targets])
        else:
            return None
    return buffers


def _read_plain(
    read: StackRead, buffers: Sequence[Targets], context: ReadContext
) -> None:
    """Read ranges that were checked into buffers of the types of the arrays."""
    first = first_of_each(read.files)
    numbers = read.files[first]
    source = np.zeros(len(read.files), np.int64)
    source[first[1:]] = 1
    np.cumsum(source, out=source)
    stack = read.stack
    n_slots = len(stack.slots)
    parts = []
    for place, targets in enumerate(buffers):
        of, *columns = _locate(read, place, targets)
        here = source[of]
        parts.append((here, here * n_slots + place, *columns))
    here, array, chunk, position, n_bytes, address = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    if not len(here):
        return
    arrays = _ArraysOf(stack, numbers.tolist())
    memory = [target for targets in buffers for target in targets]
    reads = PlainReads(arrays, array, chunk, None, position, n_bytes, address, memory)
    locations = [stack.location(number) for number in numbers.tolist()]
    of_reads = here if len(locations) > 1 else None
    ranges = ByteRanges(locations, of_reads, position, n_bytes)
    context.run(tasks_of([MergedReads(reads, context, ranges=ranges)]))
    context.stats.add(bytes_used=int(n_bytes.sum()))


def _locate(read: StackRead, place: int, targets: Targets) -> tuple[Integers, ...]:
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
    addresses = np.array(
        [target.__array_interface__["data"][0] for target in targets], np.int64
    )
    address = addresses[read.which[pieces.range]] + pieces.offset * size
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
