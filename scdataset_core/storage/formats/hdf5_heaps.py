"""Reads text of variable length straight from the bytes of an HDF5 file.

An element is a reference: the length of the text, and the number of an object in a heap
collection. Of a few objects the library takes microseconds each, and of the 60,000
genes of a thousand files a minute. This reads them with NumPy, all of a list at once.

Layouts of the bytes: HDF5 File Format Specification 3.0, section III.E.
"""

import os
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["REFERENCE", "PackedText", "read_text"]

REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])

_HEAD = 16  # bytes before the first object of a collection, and before each object
_MOST_BYTES = 1 << 28  # of the heap that are read at a time
_SPARSE = 8  # a heap may be so many times as large as its text


class PackedText(NamedTuple):
    """Texts one after another.

    Parameters
    ----------
    lengths
        Bytes of each.
    words
        The bytes of each, filled with zeros to whole words of 8.
    """

    lengths: npt.NDArray[np.uint32]
    words: npt.NDArray[np.uint64]

    @property
    def key(self) -> bytes:
        """Bytes that are those of another list only where all its texts are."""
        return self.lengths.tobytes() + self.words.tobytes()


def read_text(descriptor: int, references: npt.NDArray[np.void]) -> PackedText | None:
    """Return the texts that references lead to; None if the library must be asked.

    Parameters
    ----------
    descriptor
        The open file. Bytes are read at positions, so that it may be shared.
    references
        As the file has them, of the type `REFERENCE`; shape ``(n,)``.

    Returns
    -------
    text
        None too where a number cannot be right, or the text lies far apart: nothing
        outside of the objects that the references name is ever in the result.
    """
    lengths = references["length"].astype(np.uint32)
    if not len(references) or not hasattr(os, "pread"):
        return None
    addresses = references["address"].astype(np.int64)
    numbers = references["number"].astype(np.int64)
    sizes = _HEAD + (lengths.astype(np.int64) + 7) // 8 * 8
    first, total = int(addresses.min()), int(sizes.sum())
    if first <= 0 or int(numbers.max()) >> 16:
        return None
    heap = _read_heap(descriptor, first, int(addresses.max()), total)
    if heap is None:
        return None
    starts = _find_objects(heap, addresses - first, numbers, sizes)
    if starts is None:
        return None
    at = starts // 8
    there = heap.view("<u8")
    if not (
        (there[at] & np.uint64(0xFFFF) == numbers.astype(np.uint64))
        & (there[at + 1] == lengths)
    ).all():
        return None
    return PackedText(lengths, _gather(there, at + 2, lengths))


def _read_heap(
    descriptor: int, first: int, last: int, total: int
) -> npt.NDArray[np.uint8] | None:
    """Return the bytes from one collection to the end of another, whole words."""
    span = last - first
    if not 0 <= span <= min(_MOST_BYTES, _SPARSE * total + (1 << 20)):
        return None
    head = os.pread(descriptor, _HEAD, last)
    size = int.from_bytes(head[8:], "little")
    if head[:4] != b"GCOL" or size % 8 or not _HEAD <= size <= _MOST_BYTES:
        return None
    data = os.pread(descriptor, span + size, first)
    if len(data) < span + size:
        return None
    return np.frombuffer(data, np.uint8)


def _find_objects(
    heap: npt.NDArray[np.uint8],
    collections: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64] | None:
    """Return where each object begins in the heap; None if that cannot be.

    Writers number the objects of a collection in the order of their bytes. So where
    numbers count up, each object begins where the one before ends; the caller checks
    that it does.
    """
    if (collections % 8).any():
        return None
    order = np.argsort(collections << 16 | numbers, kind="stable")
    in_heap, count, size = collections[order], numbers[order], sizes[order]
    jumps = (np.diff(in_heap) != 0) | (np.diff(count) != 1)
    runs = np.flatnonzero(np.concatenate(([True], jumps)))
    begins = _find_firsts(heap, in_heap[runs], count[runs])
    if begins is None:
        return None
    before = np.cumsum(size) - size
    lengths = np.diff(np.append(runs, len(size)))
    found = before + np.repeat(begins - before[runs], lengths)
    if int((found + size).max()) > len(heap):
        return None
    starts: npt.NDArray[np.int64] = np.empty_like(found)
    starts[order] = found
    return starts


def _find_firsts(
    heap: npt.NDArray[np.uint8],
    collections: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64] | None:
    """Return where some objects of a heap begin, sorted by collection and number."""
    begins: list[int] = []
    cuts = np.flatnonzero(np.diff(collections, prepend=-1))
    for start, stop in pairwise([*cuts.tolist(), len(collections)]):
        collection, last = int(collections[start]), int(numbers[stop - 1])
        known = _find_up_to(heap, collection, last)
        found = [known.get(number, -1) for number in numbers[start:stop].tolist()]
        if min(found) < 0:
            return None
        begins += found
    return np.array(begins, np.int64)


def _find_up_to(
    heap: npt.NDArray[np.uint8], collection: int, last: int
) -> dict[int, int]:
    """Return where the objects of a collection begin, up to the one numbered `last`."""
    known: dict[int, int] = {}
    if last == 1:  # as it mostly is: the first one begins behind the head
        return {1: collection + _HEAD}
    head = heap[collection : collection + _HEAD].tobytes()
    n_bytes = int.from_bytes(head[8:], "little")
    if head[:4] != b"GCOL" or n_bytes % 8 or collection + n_bytes > len(heap):
        return known
    words = heap[collection : collection + n_bytes].view("<u8").tolist()
    at, end = _HEAD // 8, n_bytes // 8 - 1
    while at < end:
        number = words[at] & 0xFFFF
        if number == 0:  # what is free
            break
        known[number] = collection + at * 8
        if number == last:
            break
        at += 2 + (words[at + 1] + 7) // 8
    return known


def _gather(
    words: npt.NDArray[np.uint64],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.uint32],
) -> npt.NDArray[np.uint64]:
    """Return the words of all texts, the bytes behind each text made zero."""
    counts = (lengths.astype(np.int64) + 7) // 8
    ends = np.cumsum(counts)
    shift = np.repeat(starts - (ends - counts), counts)
    out: npt.NDArray[np.uint64] = words[np.arange(int(ends[-1])) + shift]
    rest = lengths % 8
    cut = np.flatnonzero(rest)
    mask = (np.uint64(1) << (np.uint64(8) * rest[cut].astype(np.uint64))) - np.uint64(1)
    out[ends[cut] - 1] &= mask
    return out
