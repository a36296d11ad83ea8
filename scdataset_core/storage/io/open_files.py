"""Open files: opened when first needed, checked for change, closed when unused."""

import errno
import os
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from ...errors import FileChangedError
from .fork_safe_lock import ForkSafeLock

__all__ = ["Identity", "OpenFile", "OpenFiles", "check_unchanged", "most_open"]

# More files than this need not stay open, however many a process may open.
MOST_OPEN = 64
# Of what a process may open, so much is left alone, and of the rest only a part taken:
# other readers, threads and libraries of the process open files too.
LEFT_ALONE, PART = 32, 4
LEAST_OPEN = 4


def most_open() -> int:
    """Return how many files of a kind may stay open in this process, at its limit."""
    try:
        import resource
    except ImportError:  # Windows, where a process may open thousands
        return MOST_OPEN
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MOST_OPEN
    return max(LEAST_OPEN, min(MOST_OPEN, (limit - LEFT_ALONE) // PART))


class Identity(NamedTuple):
    """What tells a file from one that was changed since.

    Parameters
    ----------
    n_bytes
        Size of the file.
    mtime_ns
        Time of its last change, in nanoseconds.
    """

    n_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, file: str | int) -> "Identity":
        """Return the identity that a path or an open file has now."""
        status = os.fstat(file) if isinstance(file, int) else Path(file).stat()
        return cls(status.st_size, status.st_mtime_ns)


def check_unchanged(path: str, expected: Identity, now: Identity | None = None) -> None:
    """Raise if a file is not what it was when its layout was taken."""
    if now is None:
        try:
            now = Identity.of(path)
        except FileNotFoundError as error:
            raise _gone(path) from error
    if now != expected:
        raise FileChangedError(
            f"{path} changed since it was opened: it had {expected.n_bytes} bytes, last"
            f" changed at {expected.mtime_ns / 1e9:.6f} s, and now has {now.n_bytes},"
            f" changed at {now.mtime_ns / 1e9:.6f} s; open the source again once"
            " nothing writes to it"
        )


class OpenFile:
    """A file open for positional reads; closed when nothing refers to it any more.

    So a file that is dropped while a thread reads it stays open until that read ends.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self.pid = os.getpid()
        self.lock = threading.Lock()  # for readers that move the file's own position
        self.identity = Identity.of(self.fd)

    def serves(self, expected: Identity | None) -> bool:
        """Return whether it is this process's own, and still what is expected.

        The parent's cannot be shared, for its position; and another file may have
        taken the path since.
        """
        same = expected is None or Identity.of(self.fd) == expected
        return self.pid == os.getpid() and same

    def __del__(self) -> None:
        fd = getattr(self, "fd", -1)
        if fd >= 0:
            os.close(fd)


def _opened(path: str, expected: Identity | None) -> OpenFile:
    try:
        file = OpenFile(path)
    except FileNotFoundError as error:
        if expected is None:
            raise
        raise _gone(path) from error
    if expected is not None:
        check_unchanged(path, expected, file.identity)
    return file


def _gone(path: str) -> FileChangedError:
    return FileChangedError(
        f"{path} is not there any more; open the source again once nothing writes to it"
    )


class OpenFiles:
    """The files one reading context has open, the longest unused closed first.

    All of a process share what it may open, see :func:`most_open`.

    Parameters
    ----------
    most
        How many stay open; None: as many as the process's limit lets it.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._open: OrderedDict[str, OpenFile] = OrderedDict()
        _all.add(self)

    def get(self, path: str, expected: Identity | None = None) -> OpenFile:
        """Return `path` opened in this process, checked against `expected`.

        Raises
        ------
        FileChangedError
            If it is not what is expected.
        OSError
            If the system cannot open it.
        """
        with _lock:
            file = self._open.get(path)
            if file is None or not file.serves(expected):
                self._open.pop(path, None)
                file = self._opened(path, expected)
                self._open[path] = file
                sharing = sum(1 for files in _all if files._open)
                most = self._most or max(most_open() // sharing, 1)
                while len(self._open) > most:
                    self._open.popitem(last=False)
            self._open.move_to_end(path)
        return file

    def _opened(self, path: str, expected: Identity | None) -> OpenFile:
        """Open a file, and close those that are not in use where that is needed."""
        try:
            return _opened(path, expected)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        for files in list(_all):
            files._open.clear()
        try:
            return _opened(path, expected)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            raise OSError(
                error.errno,
                f"{error.strerror}; this process uses up what it may open: raise its"
                " limit (ulimit -n), or use fewer workers or threads",
                path,
            ) from error

    def close(self) -> None:
        """Close every file that nothing is reading."""
        with _lock:
            self._open.clear()


# One lock for the files of all contexts: each may have to close files of the others.
_lock = ForkSafeLock()
_all: "weakref.WeakSet[OpenFiles]" = weakref.WeakSet()
