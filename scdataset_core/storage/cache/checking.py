"""Checks the bytes of kept chunks before a process uses them."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, ScdatasetError
from ..io.byte_sources import Location, ShortReadError
from ..layout import ArrayLayout
from ..reading.byte_ranges import ByteRanges
from ..reading.merged_reads import MergedReads
from ..reading.read_advice import advice_tasks
from ..reading.uncompressed import PlainReads
from .entries import count_elements
from .kept_files import read_checksum, read_index
from .narrowing import kept_dtype
from .open_entries import OpenEntry
from .process import CacheProcess
from .records import checksum, seed_of

if TYPE_CHECKING:
    from ..context import ReadContext

__all__ = ["Checks"]

Integers = npt.NDArray[np.int64]
# One task checks about this much; and so much is read at a time of a larger chunk.
CHECK_BYTES = 2 << 20


class Checks:
    """Compares chunks of an entry with their checksums.

    Parameters
    ----------
    opened, array
        The entry, in which chunks that match are noted, and its array.
    context
        Byte sources and scratch memory.
    process
        What it reports to if a chunk does not match.
    fail
        Called with the error if the entry cannot be read.
    """

    def __init__(
        self,
        opened: OpenEntry,
        array: ArrayLayout,
        context: "ReadContext",
        process: CacheProcess,
        fail: Callable[[Exception], None],
    ) -> None:
        self._opened, self._array, self._context = opened, array, context
        self._process, self._fail = process, fail

    def tasks(self, chunks: Integers) -> list[Callable[[], None]]:
        """Return functions that check chunks, those of them that the index has."""
        advice: list[Callable[[], None]] = []
        tasks: list[Callable[[], None]] = []
        try:
            kinds, crcs = read_index(self._opened.entry, chunks, self._context)
            there = np.flatnonzero(kinds)
            for kind in np.unique(kinds[there]).tolist():
                mine = there[kinds[there] == kind]
                advice += self._advise(kind, chunks[mine])
                step = max(CHECK_BYTES // self._n_bytes(kind), 1)
                for first in range(0, len(mine), step):
                    some = mine[first : first + step]
                    tasks.append(partial(self._check, kind, chunks[some], crcs[some]))
        except (OSError, ScdatasetError) as error:
            self._fail(error)
            return []
        return advice + tasks

    def _n_bytes(self, kind: int) -> int:
        """Return the bytes of a kept chunk."""
        dtype = kept_dtype(kind, self._array.dtype)
        return count_elements(self._array) * dtype.itemsize

    def _advise(self, kind: int, chunks: Integers) -> list[Callable[[], None]]:
        """Return functions that ask a cold disk for chunks."""
        n_bytes = self._n_bytes(kind)
        location = Location(self._opened.entry.data[kind - 1])
        sizes = np.full(len(chunks), n_bytes)
        ranges = ByteRanges([location], None, chunks * n_bytes, sizes)
        return advice_tasks(ranges, self._context)

    def _check(self, kind: int, chunks: Integers, crcs: npt.NDArray[np.uint32]) -> None:
        opened = self._opened
        n_forgotten = opened.n_forgotten
        try:
            opened.note(kind, self._process, self._context)
            found = self._checksums(kind, chunks)
        except (OSError, ScdatasetError) as error:
            self._fail(error)
            return
        same = np.array(found) == crcs
        opened.add(chunks[same], kind, n_forgotten, self._process)
        for chunk in chunks[~same].tolist():
            opened.note_damage()
            opened.pending.discard(chunk)
            self._process.report(
                f"chunk {chunk} of {self._array.label} is not what was kept, and is"
                " read from its file again"
            )

    def _checksums(self, kind: int, chunks: Integers) -> list[int]:
        """Return the checksums of the bytes of chunks, -1 where they end early."""
        n_bytes = self._n_bytes(kind)
        numbers = chunks.tolist()
        if n_bytes > CHECK_BYTES:
            return [self._checksum_of_large(kind, chunk) for chunk in numbers]
        try:
            addresses = self._read(kind, chunks, n_bytes)
        except CorruptFileError:  # the file is too short for some of them
            if len(numbers) == 1:
                return [-1]
            return [self._checksums(kind, np.array([n]))[0] for n in numbers]
        generation = self._opened.entry.generation
        return [
            checksum(address, n_bytes, seed_of(generation, chunk, kind))
            for address, chunk in zip(addresses.tolist(), numbers, strict=True)
        ]

    def _read(self, kind: int, chunks: Integers, n_bytes: int) -> Integers:
        """Read chunks to this thread's scratch memory; return where each begins."""
        scratch = self._context.scratch
        scratch.reserve_packed(n_bytes * len(chunks))
        addresses: Integers = np.arange(len(chunks)) * n_bytes + scratch.packed_address
        zeros, sizes = np.zeros(len(chunks), np.int64), np.full(len(chunks), n_bytes)
        reads = PlainReads(
            [self._opened.layouts[kind]],
            of=zeros,
            chunk=zeros,
            file=None,
            position=chunks * n_bytes,
            n_bytes=sizes,
            address=addresses,
            memory=(),
        )
        for task in MergedReads(reads, self._context).tasks(inline=True):
            task()
        return addresses

    def _checksum_of_large(self, kind: int, chunk: int) -> int:
        """Return the checksum of a chunk that is read piece by piece."""
        entry = self._opened.entry
        path = entry.data[kind - 1]
        n_bytes = self._n_bytes(kind)
        found = seed_of(entry.generation, chunk, kind)
        try:
            for at in range(0, n_bytes, CHECK_BYTES):
                size = min(CHECK_BYTES, n_bytes - at)
                position = chunk * n_bytes + at
                found = read_checksum(self._context, path, position, size, found)
        except ShortReadError:
            return -1
        return found
