"""The kept chunks of one array, as the reading code asks for them."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import ScdatasetError
from ..first_use import first_use_lock
from ..io.byte_sources import ShortReadError
from ..layout import ArrayLayout
from .entries import Entry, count_elements, open_entry, read_kinds, stale_entries
from .folder import Cache, why_unusable
from .giant_chunks import GiantWrite
from .kept_files import layout_of_kept, read_checksum, read_index, read_kept
from .narrowing import can_keep, kept_dtype, narrow
from .process import CacheProcess
from .records import RECORD_BYTES, checksum, make_record, seed_of
from .writing import ChunkWrite

if TYPE_CHECKING:
    from ..context import ReadContext

__all__ = ["ArrayCache", "can_be_cached"]

Integers = npt.NDArray[np.int64]
Kinds = npt.NDArray[np.uint8]
# One task checks about this much; and so much is read at a time of a larger chunk.
CHECK_BYTES = 2 << 20
# A cache whose files fail this often in a process is not asked any more.
MOST_FAILURES = 8


def can_be_cached(array: ArrayLayout) -> bool:
    """Return whether chunks of an array are worth keeping, and can be."""
    return (
        array.grid is not None and bool(array.grid.pipeline) and can_keep(array.dtype)
    )


class _OpenEntry:
    """An entry, and what this process knows of it.

    Attributes
    ----------
    kinds : ndarray of uint8
        The kind of each chunk whose bytes were checked in this process; 0 for others.
    pending : set of int
        Chunks that wait to be written.
    giant_kinds : dict of int to int
        The kind to keep a very large chunk in, as far as it is known.
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


class ArrayCache:
    """Finds and keeps decoded chunks of one array, see :class:`~..layout.ChunkCache`.

    It pickles. Each process opens the folder when it first reads.

    Parameters
    ----------
    cache
        The cache.
    """

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._state: tuple[int, _OpenEntry | None] | None = None
        self._n_failures = 0
        self._synchronous = 0
        self._giants: dict[tuple[int, int], GiantWrite] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"cache": self.cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["cache"])  # type: ignore[misc]

    @property
    def _process(self) -> CacheProcess:
        return self.cache.process

    def _open(self, array: ArrayLayout) -> _OpenEntry | None:
        """Return the array's entry, opened in this process; None: do without."""
        state = self._state
        if state is None or state[0] != os.getpid():
            with first_use_lock():
                state = self._state
                if state is None or state[0] != os.getpid():
                    known = None if state is None else state[1]
                    state = self._state = (os.getpid(), self._begin(array, known))
        return state[1]

    def _begin(self, array: ArrayLayout, known: _OpenEntry | None) -> _OpenEntry | None:
        """Open the entry, or after a fork go on with the parent's."""
        self._giants = {}
        table = array.table
        if any(known is None for known in table.identities[:1]):
            return None  # a file that cannot be told from what it was before
        problem = why_unusable(self.cache.folder)
        if problem is None:
            try:
                opened = known
                if opened is None:
                    entry = open_entry(self.cache.folder, array)
                    opened = _OpenEntry(entry, array)
                    stale = stale_entries(self.cache.folder, entry)
                    self._process.remove_stale(stale)
                self._process.begin_use(opened.entry.name)
            except (OSError, ValueError, KeyError) as error:
                what = getattr(error, "strerror", None) or str(error)
                problem = f"it cannot be used ({what})"
            else:
                opened.pending = set()
                name = opened.entry.name
                weakref.finalize(self, self._process.end_use, name).atexit = False
                return opened
        self._process.report(problem)
        return None

    # What the reading code asks.

    def find_kinds(
        self, array: ArrayLayout, chunks: Integers, context: "ReadContext"
    ) -> Kinds:
        """Return in which type each of some chunks is kept, 0 for those that are not.

        Chunks that this process has not used before are checked first, on the threads
        of `context`.
        """
        self._process.report_failed_write()
        opened = self._open(array)
        if opened is None:
            return np.zeros(len(chunks), np.uint8)
        check_source(array, context)
        kinds = opened.kinds[chunks]
        if not kinds.all():
            unknown = np.unique(chunks[kinds == 0])
            context.run(self._checks(opened, array, unknown, context))
            kinds = opened.kinds[chunks]
        return kinds

    def layout(self, array: ArrayLayout, kind: int) -> ArrayLayout:
        """Return where kept elements of a type lie: an uncompressed array."""
        opened = self._open(array)
        assert opened is not None  # find_kinds found chunks in it
        return opened.layouts[kind]

    def find(
        self,
        array: ArrayLayout,
        chunk: int,
        unwanted: int,
        want: int,
        context: "ReadContext",
    ) -> memoryview | None:
        """Return a chunk that is kept, see :meth:`~..layout.ChunkCache.find`."""
        opened = self._open(array)
        if opened is None:
            return None
        kind = int(opened.kinds[chunk])
        if not kind:
            for check in self._checks(opened, array, np.array([chunk]), context):
                check()
            kind = int(opened.kinds[chunk])
            if not kind:
                return None
        dtype = kept_dtype(kind, array.dtype)
        first, end = unwanted // array.dtype.itemsize, -(-want // array.dtype.itemsize)
        position = (
            chunk * count_elements(array) * dtype.itemsize + first * dtype.itemsize
        )
        kept = np.empty(end - first, dtype)
        try:
            read_kept(context, opened.entry.data[kind - 1], position, kept)
        except (OSError, ShortReadError, ScdatasetError) as error:
            self.fail(error)
            return None
        plain = np.empty(end, array.dtype)
        plain[first:] = kept
        return plain.view(np.uint8).data

    def fail(self, error: Exception) -> None:
        """Take note that kept chunks could not be read; they are checked anew."""
        self._n_failures += 1
        gone = isinstance(error, FileNotFoundError)
        with first_use_lock():
            off = self._n_failures >= MOST_FAILURES
            self._state = (os.getpid(), None) if off else None
        if not gone or off:
            self._process.report(f"what is kept cannot be read ({error})")

    def keep(
        self, array: ArrayLayout, chunk: int, start: int, plain: memoryview
    ) -> None:
        """Keep a decoded chunk, see :meth:`~..layout.ChunkCache.keep`."""
        opened = self._open(array)
        process = self._process
        if opened is None or process.is_full:
            return
        if start or len(plain) < array.needed_grid.n_bytes:
            self._keep_piece(opened, array, chunk, start, plain)
            return
        if opened.kinds[chunk] or chunk in opened.pending:
            return
        kind, kept = narrow(np.frombuffer(plain, array.dtype))
        opened.pending.add(chunk)
        self._submit(
            ChunkWrite(
                opened.entry.data[kind - 1],
                chunk * kept.nbytes,
                kept,
                opened.entry.index,
                chunk * RECORD_BYTES,
                partial(_record, opened.entry, chunk, kind, kept),
                partial(_written, opened, chunk),
            )
        )

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Write chunks at once where they are decoded, while the block runs."""
        self._synchronous += 1
        try:
            yield
        finally:
            self._synchronous -= 1

    @property
    def is_full(self) -> bool:
        """Whether it is no use to offer chunks for now."""
        return self._process.is_full

    def report_failed_write(self) -> None:
        """Warn once if chunks could not be written."""
        self._process.report_failed_write()

    def kinds_on_disk(self, array: ArrayLayout, *, flush: bool = True) -> Kinds:
        """Return in which type each chunk is kept by the index, unchecked."""
        opened = self._open(array)
        n_chunks = len(array.table)
        if opened is None:
            return np.zeros(n_chunks, np.uint8)
        if flush:
            self._process.writer.flush(5.0)
        try:
            return read_kinds(opened.entry, n_chunks)
        except OSError:
            return np.zeros(n_chunks, np.uint8)

    # How it is done.

    def _submit(self, write: ChunkWrite) -> bool:
        if self._synchronous:
            self._process.writer.write(write)
            return True
        if self._process.writer.submit(write):
            return True
        write.done(False)
        return False

    def _checks(
        self,
        opened: _OpenEntry,
        array: ArrayLayout,
        chunks: Integers,
        context: "ReadContext",
    ) -> list[Callable[[], None]]:
        """Return functions that check chunks, those of them that the index has."""
        try:
            kinds, crcs = read_index(opened.entry, chunks, context)
        except (OSError, ShortReadError, ScdatasetError) as error:
            self.fail(error)
            return []
        there = np.flatnonzero(kinds)
        tasks: list[Callable[[], None]] = []
        n_bytes = count_elements(array) * array.dtype.itemsize
        step = max(CHECK_BYTES // n_bytes, 1)
        for kind in np.unique(kinds[there]).tolist():
            mine = there[kinds[there] == kind]
            for first in range(0, len(mine), step):
                some = mine[first : first + step]
                check = partial(
                    self._check, opened, array, kind, chunks[some], crcs[some], context
                )
                tasks.append(check)
        return tasks

    def _check(
        self,
        opened: _OpenEntry,
        array: ArrayLayout,
        kind: int,
        chunks: Integers,
        crcs: npt.NDArray[np.uint32],
        context: "ReadContext",
    ) -> None:
        """Compare the bytes of chunks with their checksums; note those that match."""
        path, generation = opened.entry.data[kind - 1], opened.entry.generation
        n = count_elements(array) * kept_dtype(kind, array.dtype).itemsize
        for chunk, crc in zip(chunks.tolist(), crcs.tolist(), strict=True):
            found = seed_of(generation, chunk, kind)
            try:
                for at in range(0, n, CHECK_BYTES):
                    size = min(CHECK_BYTES, n - at)
                    found = read_checksum(context, path, chunk * n + at, size, found)
            except (OSError, ShortReadError, ScdatasetError) as error:
                self.fail(error)
                return
            if found == crc:
                opened.kinds[chunk] = kind
            else:
                opened.pending.discard(chunk)
                self._process.report(
                    f"chunk {chunk} of {array.label} is not what was kept, and is read"
                    " from its file again"
                )

    def _keep_piece(
        self,
        opened: _OpenEntry,
        array: ArrayLayout,
        chunk: int,
        start: int,
        piece: memoryview,
    ) -> None:
        """Keep the next piece of a very large chunk."""
        key = (threading.get_ident(), chunk)
        if start == 0:
            self._giants.pop(key, None)
            if opened.kinds[chunk] or chunk in opened.pending:
                return
            kind = opened.giant_kinds.get(chunk, 0)
            self._giants[key] = GiantWrite(opened.entry, array, chunk, kind)
        giant = self._giants.get(key)
        if giant is None:
            return
        last = start + len(piece) >= array.needed_grid.n_bytes
        if not giant.add(start, piece, self._submit, last=last) or last:
            opened.giant_kinds[chunk] = giant.kind
            self._giants.pop(key, None)


def check_source(array: ArrayLayout, context: "ReadContext") -> None:
    """Raise if the one file of an array is not any more what it was."""
    table = array.table
    if len(table.files) == 1:
        context.open_source(table.location(0))


def _record(entry: Entry, chunk: int, kind: int, kept: npt.NDArray[Any]) -> bytes:
    crc = checksum(
        kept.ctypes.data, kept.nbytes, seed_of(entry.generation, chunk, kind)
    )
    return make_record(crc, kind)


def _written(opened: _OpenEntry, chunk: int, done: bool) -> None:
    """Let a chunk be found, or offered again."""
    opened.pending.discard(chunk)
