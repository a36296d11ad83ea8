"""An entry as one process has it open, and what it has found sound there."""

import math
import os
import time
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..chunks import ChunkTable
from ..io.byte_sources import Location
from ..layout import ArrayLayout, FoundChunks
from .entries import Entry
from .kept_files import layout_of_kept
from .process import CacheProcess
from .records import RECORD_BYTES, checksum, make_record, seed_of
from .unchanged_files import Looks
from .writing import ChunkWrites, FileStatus, is_gone

if TYPE_CHECKING:
    from ..context import ReadContext

__all__ = ["EntryState", "OpenEntry", "is_to_begin"]

Kinds = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


class OpenEntry:
    """An entry, and what this process knows of it.

    Attributes
    ----------
    kinds : ndarray of uint8
        The kind of each chunk whose bytes were checked in this process; 0 for others.
    pending : set of int
        Chunks that wait to be written.
    giant_kinds : dict of int to int
        The kind to keep a very large chunk in, as far as it is known.
    layouts : dict of int to ArrayLayout
        Where the chunks of each kind lie; other objects once damage was found.
    n_forgotten : int
        How often something of :attr:`kinds` was forgotten.
    """

    def __init__(self, entry: Entry, array: ArrayLayout) -> None:
        self.entry = entry
        self.kinds: Kinds = np.zeros(len(array.table), np.uint8)
        self.n_forgotten = 0
        self.pending: set[int] = set()
        self.giant_kinds: dict[int, int] = {}
        self.layouts = {
            kind: layout_of_kept(path, array, kind)
            for kind, path in enumerate(entry.data, 1)
        }
        self._seen: dict[int, tuple[FileStatus, int | None]] = {}

    def find(self, chunks: Integers) -> FoundChunks:
        """Return what is known of some chunks."""
        # The kinds last: what is found or forgotten after this makes the others differ.
        state, layouts = self.n_forgotten, self.layouts
        return FoundChunks(self.kinds[chunks], layouts, state)

    def note(self, kind: int, process: CacheProcess, context: "ReadContext") -> None:
        """Note what a file of chunks is, before the first of them is checked."""
        if kind not in self._seen:
            path = self.entry.data[kind - 1]
            descriptor = _descriptor(path, context)
            status = process.writer.find_status(path, descriptor)
            # Another thread may have noted it meanwhile, and checked chunks.
            self._seen.setdefault(kind, status)

    def add(
        self, chunks: Integers, kind: int, n_forgotten: int, process: CacheProcess
    ) -> None:
        """Note chunks as checked, unless some were forgotten since they were read."""
        with process.lock:
            if self.n_forgotten == n_forgotten:
                self.kinds[chunks] = kind

    def note_damage(self) -> None:
        """Have what is being read now be read anew, as a chunk was not what was kept.

        That chunk may be mended before those who read it meanwhile look at it again.
        """
        self.layouts = {kind: copy(layout) for kind, layout in self.layouts.items()}

    def look(self, process: CacheProcess, context: "ReadContext") -> bool:
        """Forget what was checked of files that others than this process have changed.

        Other processes only add chunks. But what they write cannot be told from damage,
        and to check chunks again costs little of what they cost to decode.

        Returns
        -------
        there
            Whether the entry is still there.

        Raises
        ------
        OSError
            If its files cannot be opened.
        """
        try:
            if not self._seen:  # else the links of the other files tell it
                os.stat(self.entry.index)  # noqa: PTH116  # at every read
            for kind, (known, n_foreign) in list(self._seen.items()):
                path = self.entry.data[kind - 1]
                descriptor = _descriptor(path, context)
                if FileStatus.of(descriptor) == known:
                    continue
                now, n_now = process.writer.find_status(path, descriptor)
                if not now.n_links:
                    return False
                if n_now is None or n_now != n_foreign:
                    with process.lock:
                        # Counted last, see `find`.
                        self.kinds[self.kinds == kind] = 0
                        self.n_forgotten += 1
                self._seen[kind] = now, n_now
        except OSError as error:
            if not is_gone(error):
                raise
            return False
        return True

    def plan_writes(
        self, table: ChunkTable, chunks: list[int], kind: int, kept: npt.NDArray[Any]
    ) -> ChunkWrites:
        """Return what writes chunks and their records.

        Parameters
        ----------
        table, chunks
            The array's table, and numbers of chunks, which are pending from now on.
        kind, kept
            The type that they are kept in, and a row for each.
        """
        address = kept.__array_interface__["data"][0]  # `ctypes` makes an object
        n_bytes = kept[0].nbytes
        records = []
        for row, chunk in enumerate(chunks):
            seed = seed_of(self.entry.generation, chunk, kind)
            crc = checksum(address + row * n_bytes, n_bytes, seed)
            records.append(make_record(crc, kind))
        writes = ChunkWrites(
            self.entry.data[kind - 1],
            [chunk * n_bytes for chunk in chunks],
            kept,
            self.entry.index,
            [chunk * RECORD_BYTES for chunk in chunks],
            partial(_records_of_unchanged, table, chunks, records),
            partial(self._end_writes, chunks),
        )
        self.pending.update(chunks)
        return writes

    def _end_writes(self, chunks: list[int], done: bool) -> None:
        """Let chunks be found, or offered again."""
        self.pending.difference_update(chunks)


def _records_of_unchanged(
    table: ChunkTable, chunks: list[int], records: list[bytes], looks: Looks
) -> list[bytes | None]:
    """Return the records of chunks, None where a file is not what it was."""
    return [
        record if looks.is_unchanged(table, chunk) else None
        for chunk, record in zip(chunks, records, strict=True)
    ]


class EntryState(NamedTuple):
    """What a process has of the array's entry.

    Parameters
    ----------
    pid
        The process.
    opened
        The entry; None: it does without.
    again
        When it tries again, on the monotonic clock.
    """

    pid: int
    opened: OpenEntry | None
    again: float = math.inf


def is_to_begin(state: EntryState | None) -> bool:
    """Return whether the entry is to be opened, for the first time or again."""
    if state is None or state.pid != os.getpid():
        return True
    return state.opened is None and time.monotonic() > state.again


def _descriptor(path: str, context: "ReadContext") -> int:
    descriptor = context.open_source(Location(path)).descriptor
    assert descriptor is not None  # a local file has one
    return descriptor
