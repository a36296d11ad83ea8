"""Checks the bytes of kept chunks before a process uses them."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...errors import ScdatasetError
from ..io.byte_sources import ShortReadError
from ..layout import ArrayLayout
from .entries import count_elements
from .kept_files import read_checksum, read_index
from .narrowing import kept_dtype
from .open_entries import OpenEntry
from .process import CacheProcess
from .records import seed_of

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
        try:
            kinds, crcs = read_index(self._opened.entry, chunks, self._context)
        except (OSError, ScdatasetError) as error:
            self._fail(error)
            return []
        there = np.flatnonzero(kinds)
        tasks: list[Callable[[], None]] = []
        n_bytes = count_elements(self._array) * self._array.dtype.itemsize
        step = max(CHECK_BYTES // n_bytes, 1)
        for kind in np.unique(kinds[there]).tolist():
            mine = there[kinds[there] == kind]
            for first in range(0, len(mine), step):
                some = mine[first : first + step]
                tasks.append(partial(self._check, kind, chunks[some], crcs[some]))
        return tasks

    def _check(self, kind: int, chunks: Integers, crcs: npt.NDArray[np.uint32]) -> None:
        opened = self._opened
        n_forgotten = opened.n_forgotten
        for chunk, crc in zip(chunks.tolist(), crcs.tolist(), strict=True):
            try:
                opened.note(kind, self._process, self._context)
                found = self._checksum(kind, chunk)
            except (OSError, ScdatasetError) as error:
                self._fail(error)
                return
            if found == crc:
                opened.add(chunk, kind, n_forgotten, self._process)
                continue
            opened.note_damage()
            opened.pending.discard(chunk)
            self._process.report(
                f"chunk {chunk} of {self._array.label} is not what was kept, and is"
                " read from its file again"
            )

    def _checksum(self, kind: int, chunk: int) -> int | None:
        """Return the checksum of the bytes of a chunk, None where they end early."""
        entry = self._opened.entry
        path = entry.data[kind - 1]
        n = count_elements(self._array) * kept_dtype(kind, self._array.dtype).itemsize
        found = seed_of(entry.generation, chunk, kind)
        try:
            for at in range(0, n, CHECK_BYTES):
                size = min(CHECK_BYTES, n - at)
                position = chunk * n + at
                found = read_checksum(self._context, path, position, size, found)
        except ShortReadError:
            return None
        return found
