"""Open files: opened when first needed, checked for change, closed when unused."""

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from ..errors import FileChangedError

__all__ = ["Identity", "OpenFile", "OpenFiles", "check_unchanged"]


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

    Parameters
    ----------
    most
        How many stay open.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._open: OrderedDict[str, OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str, expected: Identity | None = None) -> OpenFile:
        """Return `path` opened in this process, checked against `expected`."""
        with self._lock:
            file = self._open.get(path)
            if file is None or not file.serves(expected):
                file = _opened(path, expected)
                self._open[path] = file
            self._open.move_to_end(path)
            while len(self._open) > self._most:
                self._open.popitem(last=False)
        return file

    def close(self) -> None:
        """Close every file that nothing is reading."""
        with self._lock:
            self._open.clear()
