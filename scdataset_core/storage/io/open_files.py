"""Local files as byte sources: opened when first needed, checked for change, closed."""

import errno
import os
import stat
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError, ScdatasetError
from ..remote.object_source import ObjectSource
from ..remote.requests import ExpectedReads
from ..stats import ReadStats
from .byte_sources import (
    ByteSource,
    ByteStore,
    Destinations,
    Location,
    SourceIdentity,
)
from .fork_safe_lock import ForkSafeLock
from .identities import Identity, check_unchanged, error_for_missing
from .open_limit import most_open
from .positional_reads import Reader, choose_reader

__all__ = [
    "READ_ONLY",
    "OpenFile",
    "OpenSources",
    "check_plain",
    "check_plain_inside",
    "is_of_system",
    "open_and_make_room",
]

T = TypeVar("T")
Integers = npt.NDArray[np.int64]
# A pipe that took the place of a file must not hold up who opens it.
READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def check_plain(path: str) -> None:
    """Raise if something lies at a path that is neither a file nor a folder.

    To open a pipe waits until somebody writes to it.

    Raises
    ------
    FileFormatError
        If it is a pipe, a socket or a device.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  # asked for every chunk of zarr
    except (OSError, ValueError):  # nothing is there, or no path has such a name
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FileFormatError(
            f"{path}: a pipe, a socket or a device, which cannot be read at any place;"
            " write what it gives to a file, and open that"
        )


def check_plain_inside(folder: str) -> None:
    """Raise if something in a folder, or below it, is neither a file nor a folder.

    It is for folders that a library reads, by whatever names it finds there.

    Raises
    ------
    FileFormatError
        If it is a pipe, a socket or a device.
    """
    wanted, seen = [folder], set()
    while wanted:
        doubtful = []
        with suppress(OSError), os.scandir(wanted.pop()) as entries:
            for entry in entries:
                if entry.is_file():
                    continue
                if not entry.is_dir():  # or a link that leads nowhere
                    doubtful.append(entry.path)
                    continue
                if entry.is_symlink():  # which may lead back to where it lies
                    status = entry.stat()
                    place = status.st_dev, status.st_ino
                    if place in seen:
                        continue
                    seen.add(place)
                wanted.append(entry.path)
        for path in doubtful:
            check_plain(path)


class OpenFile:
    """A local file open for positional reads: a :class:`~.byte_sources.ByteSource`.

    It is closed when nothing refers to it any more. So a file that is dropped while a
    thread reads it stays open until that read ends.

    Parameters
    ----------
    path
        The file.
    reader
        Way to read bytes; None: the fastest here.
    """

    __slots__ = (
        "__weakref__",
        "descriptor",
        "identity",
        "lock",
        "path",
        "pid",
        "reader",
    )

    def __init__(self, path: str, reader: Reader | None = None) -> None:
        self.path = path
        self.descriptor = os.open(path, READ_ONLY)
        self.pid = os.getpid()
        self.lock = threading.Lock()  # for readers that move the file's own position
        self.identity = Identity.of(self.descriptor)
        self.reader = choose_reader() if reader is None else reader

    def serves(self, expected: SourceIdentity | None) -> bool:
        """Return whether it is this process's own, and still what is expected.

        The parent's cannot be shared, for its position; and another file may have
        taken the path since.
        """
        if self.pid != os.getpid():
            return False
        if not isinstance(expected, Identity):
            return expected is None or Identity.of(self.descriptor) == expected
        status = os.fstat(self.descriptor)  # every read asks it of every file
        same = expected.mtime_ns == status.st_mtime_ns
        return same and expected.n_bytes == status.st_size

    def read(
        self,
        position: Integers,
        destinations: Destinations,
        first: Integers,
        count: Integers,
    ) -> Integers:
        """Do reads one after another, see :class:`~.byte_sources.ByteSource`."""
        read = self.reader
        done = [
            read(self, start, destinations, row, n_rows)
            for start, row, n_rows in zip(
                position.tolist(), first.tolist(), count.tolist(), strict=True
            )
        ]
        return np.array(done, np.int64)

    def read_pieces(self, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return pieces of which first bytes and lengths are given.

        A piece that would go beyond the end of the file is shorter.
        """
        if hasattr(os, "pread"):
            return [os.pread(self.descriptor, n, at) for at, n in pieces]
        found = []
        with self.lock:
            for at, n in pieces:
                os.lseek(self.descriptor, at, os.SEEK_SET)
                found.append(os.read(self.descriptor, n))
        return found

    def __del__(self) -> None:
        descriptor = getattr(self, "descriptor", -1)
        if descriptor >= 0:
            os.close(descriptor)


def open_and_make_room(opener: Callable[[], T], name: str) -> T:
    """Open something; close sources that are not in use if the system asks for it.

    Parameters
    ----------
    opener
        Opens it. It is called again when there is room.
    name
        Its name, for the error.
    """
    try:
        return opener()
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
    for sources in _every():
        sources._open.clear()
    try:
        return opener()
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise OSError(
            error.errno,
            f"{os.strerror(error.errno)}; this process uses up what it may open: raise"
            " its limit (ulimit -n), or use fewer workers or threads",
            name,
        ) from error


def is_of_system(error: BaseException) -> bool:
    """Return whether the system refused something, whatever a file's bytes are.

    HDF5's own errors about bytes have no number.
    """
    own = isinstance(error, ScdatasetError)
    return isinstance(error, OSError) and bool(error.errno) and not own


class OpenSources:
    """The byte sources one reading context has open, the longest unused closed first.

    Those of a process that are without a bound of their own share what it may open, see
    :func:`~.open_limit.most_open`.

    Parameters
    ----------
    most
        Number of sources that stay open; None: what the process's limit allows.
    reader
        Way to read local files; None: the fastest here.
    stats
        Counts requests to object stores; None: nothing does.

    Attributes
    ----------
    expected : ExpectedReads
        What was asked for early of objects in stores.
    """

    def __init__(
        self,
        most: int | None = None,
        *,
        reader: Reader | None = None,
        stats: ReadStats | None = None,
    ) -> None:
        self.expected = ExpectedReads(stats)
        self.reader = choose_reader() if reader is None else reader
        self._most = most
        self._open: OrderedDict[object, ByteSource] = OrderedDict()
        self._n_opened = 0
        key, forget = id(self), _all.pop
        _all[key] = weakref.ref(self, lambda _: forget(key, None))

    def get(self, location: Location) -> ByteSource:
        """Return a source opened in this process, checked to be what it must be.

        Raises
        ------
        FileChangedError
            If it is not what is expected.
        OSError
            If it cannot be opened.
        """
        return self.get_all([location])[0]

    def get_all(self, locations: Sequence[Location]) -> list[ByteSource]:
        """Return several sources as :meth:`get` does; all are open at a time."""
        with _lock:
            opened = self._open  # `close` gives this another one
            n_before = self._n_opened
            try:
                return [self._get(location, opened) for location in locations]
            finally:
                if self._n_opened > n_before:
                    self._close_oldest(opened)

    def _get(
        self, location: Location, opened: OrderedDict[object, ByteSource]
    ) -> ByteSource:
        name, expected, store = location
        key = name if store is None else (name, store)
        source = opened.pop(key, None)
        if source is None or not source.serves(expected):
            source = open_and_make_room(
                partial(self._open_checked, location), location.name
            )
            self._n_opened += 1
        opened[key] = source  # as the last one
        return source

    def _close_oldest(self, opened: OrderedDict[object, ByteSource]) -> None:
        """Close those unused for longest, of more than may stay open."""
        most = most_open()
        if self._most is None:
            others = (s for s in _every() if s is not self and s._most is None)
            most = max(most // (1 + sum(1 for s in others if s._open)), 1)
        else:
            most = min(most, self._most)
        with suppress(KeyError):  # all were closed meanwhile
            while len(opened) > most:
                opened.popitem(last=False)

    def _open_checked(self, location: Location) -> ByteSource:
        name, expected, store = location
        try:
            source = self._open_by_name(name, expected, store)
        except FileNotFoundError as error:
            if expected is None:
                raise
            raise error_for_missing(name) from error
        if expected is not None:
            check_unchanged(name, expected, source.identity)
        return source

    def _open_by_name(
        self, name: str, expected: SourceIdentity | None, store: ByteStore | None
    ) -> ByteSource:
        if store is None:
            return OpenFile(name, self.reader)
        open_known = getattr(store, "open_known", None)
        if expected is None or open_known is None:
            source = store.open(name)
        else:
            source = open_known(name, expected)
        if isinstance(source, ObjectSource):
            source.join(self.expected)
        return source

    def close(self) -> None:
        """Close every source that nothing is reading.

        It takes no lock: a collector may call it in a thread that holds another one.
        """
        self._open = OrderedDict()
        self.expected.close()


# One lock for the sources of all contexts: each may have to close those of the others.
_lock = ForkSafeLock()
# Not a WeakSet: while one is iterated, no other thread may add to it.
_all: "dict[int, weakref.ref[OpenSources]]" = {}


def _every() -> list[OpenSources]:
    """Return those of all contexts; listing values is one step of the interpreter."""
    known = [reference() for reference in list(_all.values())]
    return [sources for sources in known if sources is not None]
