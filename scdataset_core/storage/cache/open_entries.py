"""An entry as one process has it open, and what it has found sound there."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ..chunks import ABSENT, ChunkTable
from ..io.byte_sources import Location
from ..io.open_files import Identity
from ..layout import ArrayLayout
from .entries import Entry, read_kinds
from .kept_files import layout_of_kept
from .process import CacheProcess

if TYPE_CHECKING:
    from ..context import ReadContext

__all__ = ["OpenEntry", "find_unchanged"]

Integers = npt.NDArray[np.int64]
Kinds = npt.NDArray[np.uint8]


class _Status(NamedTuple):
    """What the system says of a file of chunks, and what was written by then."""

    inode: int
    n_bytes: int
    ctime_ns: int
    n_links: int
    n_written: int


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
        Where the chunks of each kind lie.
    """

    def __init__(self, entry: Entry, array: ArrayLayout) -> None:
        self.entry = entry
        self.kinds: Kinds = np.zeros(len(array.table), np.uint8)
        self.pending: set[int] = set()
        self.giant_kinds: dict[int, int] = {}
        self.layouts = {
            kind: layout_of_kept(path, array, kind)
            for kind, path in enumerate(entry.data, 1)
        }
        self._stored = array.table.offsets != ABSENT
        self._seen: dict[int, _Status] = {}
        self._is_quiet = self._is_complete = False

    def note(self, kind: int, process: CacheProcess, context: "ReadContext") -> None:
        """Note what a file of chunks is, before the first of them is checked."""
        if kind not in self._seen:
            self._seen[kind] = self._status(kind, process, context)

    def look(self, process: CacheProcess, context: "ReadContext") -> bool:
        """Forget what was checked of files that something but writers has changed.

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
            os.stat(self.entry.index)  # noqa: PTH116  # at every read
            now = {kind: self._status(kind, process, context) for kind in self._seen}
        except FileNotFoundError:
            return False
        quiet = True
        for kind, status in now.items():
            known = self._seen[kind]
            if status[:4] == known[:4]:
                continue
            if not status.n_links:
                return False
            if not self._was_written(kind, known, status, process):
                self.kinds[self.kinds == kind] = 0
            self._seen[kind] = status
            quiet = False
        if quiet and not self._is_quiet and not self._is_complete and now:
            kept = read_kinds(self.entry, len(self.kinds)) > 0
            self._is_complete = bool(kept[self._stored].all())
        self._is_quiet = quiet
        return True

    def _was_written(
        self, kind: int, known: _Status, now: _Status, process: CacheProcess
    ) -> bool:
        """Return whether writers may have changed a file.

        They add chunks, and a record after each, until all are there. What else there
        is to see is damage. Checking without need is not wrong either.
        """
        writer, path = process.writer, self.entry.data[kind - 1]
        return (
            now.inode == known.inode
            and now.n_bytes >= known.n_bytes
            and not self._is_complete
            and (writer.writing == path or now.ctime_ns <= _ctime_ns(self.entry.index))
            and (
                writer.n_written != known.n_written
                or process.is_used_elsewhere(self.entry.name)
            )
        )

    def _status(
        self, kind: int, process: CacheProcess, context: "ReadContext"
    ) -> _Status:
        n_written = process.writer.n_written
        source = context.open_source(Location(self.entry.data[kind - 1]))
        assert source.descriptor is not None  # a local file has one
        now = os.fstat(source.descriptor)
        return _Status(
            now.st_ino, now.st_size, now.st_ctime_ns, now.st_nlink, n_written
        )


def _ctime_ns(path: str) -> int:
    return Path(path).stat().st_ctime_ns


def find_unchanged(table: ChunkTable, chunks: Integers) -> npt.NDArray[np.bool_]:
    """Return of each chunk whether its file is what it was when it was opened.

    A store tells itself when a source has changed; files are looked at.
    """
    if table.store is not None:
        return np.ones(len(chunks), bool)
    if table.file_of is None:
        return np.full(len(chunks), _is_unchanged(table, 0))
    files, which = np.unique(table.file_of[chunks], return_inverse=True)
    unchanged = np.array([_is_unchanged(table, file) for file in files.tolist()], bool)
    return unchanged[which]


def _is_unchanged(table: ChunkTable, file: int) -> bool:
    known = table.identities[file]
    return isinstance(known, Identity) and known.is_that_of(table.files[file])
