"""The kept chunks of one array, as the reading code asks for them."""

import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import ScdatasetError
from ..io.byte_sources import ShortReadError
from ..io.fork_safe_lock import first_use_lock
from ..layout import ArrayLayout, FoundChunks
from .checking import Checks
from .entries import (
    Entry,
    count_elements,
    describe,
    name_of,
    open_entry,
    read_kinds,
)
from .folder import Cache, why_unusable
from .keeping import Keeper
from .kept_files import read_kept
from .narrowing import can_keep, kept_dtype
from .open_entries import EntryState, OpenEntry, is_to_begin
from .process import FULL_S, CacheProcess
from .unchanged_files import (
    check_table,
    find_touched,
    has_version,
    is_touched,
)
from .writing import is_gone

if TYPE_CHECKING:
    from ..context import ReadContext

__all__ = ["ArrayCache", "can_be_cached"]

Integers = npt.NDArray[np.int64]
Kinds = npt.NDArray[np.uint8]
# A cache whose files fail this often in a process is not asked any more.
MOST_FAILURES = 8
# Chunks that other threads go on to forget are checked so often, and then decoded.
MOST_CHECKS = 3
# Where an entry was removed as it was made, it is made again after so many seconds.
AGAIN_S = 0.2


def can_be_cached(array: ArrayLayout) -> bool:
    """Return whether chunks of an array are worth keeping, and can be."""
    return (
        array.grid is not None and bool(array.grid.pipeline) and can_keep(array.dtype)
    )


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
        self._state: EntryState | None = None
        self._n_failures = 0
        self._is_touched = False
        self._own: tuple[int, CacheProcess] | None = None
        self._keeper = Keeper()

    def __getstate__(self) -> dict[str, Any]:
        return {"cache": self.cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["cache"])  # type: ignore[misc]

    @property
    def _process(self) -> CacheProcess:
        own = self._own
        if own is None or own[0] != os.getpid():
            own = self._own = os.getpid(), self.cache.process
        return own[1]

    def _open(self, array: ArrayLayout) -> OpenEntry | None:
        """Return the array's entry, opened in this process; None: do without."""
        state = self._state
        if is_to_begin(state):
            with first_use_lock():
                state = self._state
                if is_to_begin(state):
                    self._keeper.forget_pieces()
                    known = None if state is None else state.opened
                    try:
                        state = self._begin(array, known)
                    except Warning:  # raised as an error: once is enough
                        self._state = EntryState(os.getpid(), None)
                        raise
                    self._state = state
        assert state is not None
        return state.opened

    def _begin(self, array: ArrayLayout, known: OpenEntry | None) -> EntryState:
        """Open the entry, or after a fork go on with the parent's."""
        every, process = array.table.identities, self._process
        nothing = EntryState(os.getpid(), None)
        if not hasattr(every, "digest") and not all(map(has_version, every)):
            return nothing  # files that cannot be told from what they were before
        problem = why_unusable(self.cache.folder)
        if problem is None:
            facts = describe(array)
            name = name_of(facts)
            with suppress(OSError):  # it may be there for reading only
                process.begin_use(name)
            try:
                opened = known or self._open_entry(array, facts)
            except OSError as error:
                problem = why_unusable(self.cache.folder)
                gone = is_gone(error) or isinstance(error, FileExistsError)
                if problem is None and gone:
                    # It was removed as it was made.
                    nothing = EntryState(os.getpid(), None, time.monotonic() + AGAIN_S)
                else:
                    problem = f"it cannot be used ({error.strerror or error})"
            except BaseException:
                process.end_use(name)
                raise
            else:
                if opened is not None:
                    opened.pending = set()
                    weakref.finalize(self, process.end_use, name).atexit = False
                    return EntryState(os.getpid(), opened)
                nothing = EntryState(os.getpid(), None, time.monotonic() + FULL_S)
            process.end_use(name)
        if problem is not None:
            process.report(problem)
        return nothing

    def _open_entry(
        self, array: ArrayLayout, facts: dict[str, Any]
    ) -> OpenEntry | None:
        """Open or make the array's entry; None: the cache is full."""
        entry = open_entry(self.cache.folder, facts, self._process.make_room)
        if entry is None:
            return None
        self._process.remove_stale(entry.name)
        return OpenEntry(entry, array)

    def find_kept(
        self, array: ArrayLayout, chunks: Integers, context: "ReadContext"
    ) -> FoundChunks:
        """Return in which type each of some chunks is kept, and where those of a type.

        Chunks that this process has not used before are checked first, on the threads
        of `context`. See :meth:`~..layout.ChunkCache.find_kept`.
        """
        self._process.report_failed_write()
        opened = self._look(array, context)
        if opened is None:
            return FoundChunks(np.zeros(len(chunks), np.uint8), {}, 0)
        touched = self._find_touched(array, chunks)
        if touched is None:
            return self._check_new(opened, array, chunks, context)
        found = self._check_new(opened, array, chunks[~touched], context)
        kinds = np.zeros(len(chunks), np.uint8)
        kinds[~touched] = found.kinds
        return found._replace(kinds=kinds)

    def find_known(
        self, array: ArrayLayout, chunks: Integers, context: "ReadContext"
    ) -> FoundChunks | None:
        """Return what is known of chunks, see :meth:`~..layout.ChunkCache.find_known`.

        Nothing is checked.
        """
        self._process.report_failed_write()
        opened = self._look(array, context)
        if opened is None or self._find_touched(array, chunks) is not None:
            return None
        return opened.find(chunks)

    def confirm(
        self,
        array: ArrayLayout,
        chunks: Integers,
        kind: int,
        found: FoundChunks,
        context: "ReadContext",
    ) -> bool:
        """Return whether chunks are still what was checked, now that they were read."""
        opened = self._look(array, context)
        if opened is None or opened.layouts[kind] is not found.layouts[kind]:
            return False
        if opened.n_forgotten == found.state:
            return True
        kinds = self._check_new(opened, array, chunks, context).kinds
        return bool((kinds == kind).all())

    def _check_new(
        self,
        opened: OpenEntry,
        array: ArrayLayout,
        chunks: Integers,
        context: "ReadContext",
    ) -> FoundChunks:
        """Return the kinds of chunks, and where those of a kind lie.

        Chunks that are new to this process are checked first.
        """
        found = opened.find(chunks)
        for _ in range(MOST_CHECKS):
            if found.kinds.all():
                break
            before = found.state
            unknown = np.unique(chunks[found.kinds == 0])
            context.run(self._check(opened, array, unknown, context))
            found = opened.find(chunks)
            if found.state == before:
                break
            # Another thread forgot all that was checked, what was just found too.
        return found

    def _look(self, array: ArrayLayout, context: "ReadContext") -> OpenEntry | None:
        """Return the array's entry as it is now; None: do without."""
        opened = self._open(array)
        if opened is None:
            return None
        try:
            if opened.look(self._process, context):
                return opened
        except OSError as error:
            self.fail(error)
            return None
        with first_use_lock():
            if self._state is not None and self._state.opened is opened:
                self._state = None
        return self._open(array)

    def _find_touched(
        self, array: ArrayLayout, chunks: Integers
    ) -> npt.NDArray[np.bool_] | None:
        """Return which chunks are of files that something has touched; None: none.

        Raises
        ------
        FileChangedError
            If the array's one file was written anew under its old size and time.
        """
        touched = find_touched(array.table, chunks)
        if touched is not None and not self._is_touched and is_touched(array):
            check_table(array)
            self._is_touched = True
            self._process.report(
                f"{array.file} was touched since it was opened, and what is kept of it"
                " is left aside until it is opened again"
            )
        return touched

    def find(
        self,
        array: ArrayLayout,
        chunk: int,
        unwanted: int,
        want: int,
        context: "ReadContext",
    ) -> memoryview | None:
        """Return a chunk that is kept, see :meth:`~..layout.ChunkCache.find`."""
        opened = self._look(array, context)
        chunks = np.array([chunk])
        if opened is None or self._find_touched(array, chunks) is not None:
            return None
        found = self._check_new(opened, array, chunks, context)
        kind = int(found.kinds[0])
        if not kind:
            return None
        first, end = unwanted // array.dtype.itemsize, -(-want // array.dtype.itemsize)
        kept = np.empty(end - first, kept_dtype(kind, array.dtype))
        position = (chunk * count_elements(array) + first) * kept.itemsize
        try:
            read_kept(context, opened.entry.data[kind - 1], position, kept)
        except (OSError, ShortReadError, ScdatasetError) as error:
            self.fail(error)
            return None
        if not self.confirm(array, chunks, kind, found, context):
            return None
        plain = np.empty(end, array.dtype)
        plain[first:] = kept
        return plain.view(np.uint8).data

    def begin(self, array: ArrayLayout) -> Entry | None:
        """Return the array's entry, opened in this process; None: do without."""
        opened = self._open(array)
        return None if opened is None else opened.entry

    def fail(self, error: Exception) -> None:
        """Take note that kept chunks could not be read; they are checked anew."""
        gone = isinstance(error, OSError) and is_gone(error)
        self._n_failures += not gone  # what is gone is begun anew
        off = not gone and self._n_failures >= MOST_FAILURES
        with first_use_lock():
            self._state = EntryState(os.getpid(), None) if off else None
        if not gone:
            self._process.report(f"what is kept cannot be read ({error})")

    def keep(
        self, array: ArrayLayout, chunks: Sequence[int], plain: memoryview
    ) -> None:
        """Keep decoded chunks, see :meth:`~..layout.ChunkCache.keep`."""
        opened = self._open(array)
        if opened is None or self._process.is_full:
            return
        self._keeper.keep(opened, array, chunks, plain, self._process.writer)

    def keep_piece(
        self, array: ArrayLayout, chunk: int, start: int, piece: memoryview
    ) -> None:
        """Keep a piece of a chunk, see :meth:`~..layout.ChunkCache.keep_piece`."""
        opened = self._open(array)
        if opened is None or self._process.is_full:
            return
        writer = self._process.writer
        self._keeper.keep_piece(opened, array, chunk, start, piece, writer)

    def waiting(self) -> AbstractContextManager[None]:
        """Write chunks at once where they are decoded, while the block runs."""
        return self._keeper.waiting()

    @property
    def is_full(self) -> bool:
        """Whether it is no use to offer chunks for now."""
        state = self._state
        if state is not None and state.opened is None and not is_to_begin(state):
            return True
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

    def _check(
        self,
        opened: OpenEntry,
        array: ArrayLayout,
        chunks: Integers,
        context: "ReadContext",
    ) -> list[Callable[[], None]]:
        """Return tasks that check the bytes of chunks."""
        checks = Checks(opened, array, context, self._process, self.fail)
        return checks.tasks(chunks)
