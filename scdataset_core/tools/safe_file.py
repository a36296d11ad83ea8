"""Safe files: a file appears when it is complete, whatever happens before."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

__all__ = [
    "Buffer",
    "DiskFile",
    "explain_failure",
    "fill_file",
    "hold_signals",
    "name_unfinished",
    "unfinished_start",
    "write_all",
    "write_whole",
]

Buffer = Any  # Any: the buffer protocol has no type before Python 3.12


class DiskFile:
    """A file that HDF5 writes to, and that hides failures from HDF5.

    HDF5 cannot close a file that it cannot write: it reports the failure, keeps the
    file open, and crashes when the interpreter ends. So the first failure is kept in
    `error`, and later writes are dropped.

    Parameters
    ----------
    path
        The file, which is made or emptied.
    is_new
        Whether it is; otherwise it is there, and is written on.
    stopped
        Says whether the file is no longer wanted; writes are dropped then, too.

    Attributes
    ----------
    error
        The first failure, or None.
    """

    def __init__(
        self, path: Path, *, stopped: Callable[[], bool], is_new: bool = True
    ) -> None:
        self._file = path.open("w+b" if is_new else "r+b", buffering=0)
        self._stopped = stopped
        self.error: OSError | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no use in writing more."""
        return self.error is not None or self._stopped()

    def write(self, data: Buffer) -> int:
        """Write all of `data`, or drop it after a failure."""
        left = memoryview(data).cast("B")
        size = len(left)
        self._attempt(lambda: self._write_all(left))
        return size

    def _write_all(self, left: memoryview) -> None:
        write_all(self._file, left)

    def read(self, size: int) -> bytes:
        """Read `size` bytes; h5py wants the method, and calls `readinto`."""
        data = bytearray(size)
        self.readinto(data)
        return bytes(data)

    def readinto(self, buffer: Buffer) -> int:
        """Read what was written, and zeros for what was dropped."""
        whole = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(whole):
            n_read = self._file.readinto(whole[filled:])
            if not n_read:
                whole[filled:] = bytes(len(whole) - filled)
                break
            filled += n_read
        return len(whole)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def truncate(self, size: int) -> int:
        """Set the file's length."""
        self._attempt(lambda: self._file.truncate(size))
        return size

    def flush(self) -> None:
        """Do nothing: no bytes wait in Python."""

    def close(self) -> None:
        """Close the file; some file systems report only now that it did not fit."""
        self._attempt(self._file.close, whatever=True)

    def _attempt(self, act: Callable[[], object], *, whatever: bool = False) -> None:
        if self.failed and not whatever:
            return
        try:
            act()
        except OSError as error:
            self.error = self.error or error


def write_all(file: FileIO, data: Buffer) -> None:
    """Write all of `data` to a file without a buffer."""
    left = memoryview(data)
    while left:  # a full disk takes a part of the bytes, and fails the next time
        left = left[file.write(left) :]


File = TypeVar("File", bound=DiskFile)


def fill_file(disk: File, write: Callable[[File], object]) -> None:
    """Have a file written, and close it; raise what the disk refused."""
    try:
        write(disk)
    except Exception:
        # After a failure of the disk, HDF5 raises for bytes that are missing.
        if not disk.failed:
            raise
    finally:
        disk.close()
    if disk.error is not None:
        raise disk.error


def unfinished_start(path: Path) -> str:
    """Return how the names of unfinished files begin that runs of this host write.

    The number of a process means nothing on another host or in another container: two
    may have the same, and write to one disk.
    """
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    return f"{path.name}.{host}."


def name_unfinished(path: Path) -> Path:
    """Return where this process writes what becomes the file `path`."""
    return path.with_name(f"{unfinished_start(path)}{os.getpid()}.partial")


def write_whole(path: Path, write: Callable[[DiskFile], object]) -> None:
    """Write a file beside `path` and give it that name once it is complete.

    Parameters
    ----------
    path
        The file; replaced if it is there.
    write
        Called with the file to write to; it returns early once that has failed. Ctrl-C
        makes the file fail, and is raised when the file has been removed, since an
        interrupt inside HDF5 would do harm.

    Raises
    ------
    OSError
        If the file cannot be written; the message names it and the reason.
    """
    # The name is that of this process, so that two may make the same plates.
    unfinished = name_unfinished(path)
    with hold_signals() as signals:
        try:
            disk = DiskFile(unfinished, stopped=lambda: bool(signals))
            fill_file(disk, write)
            if not disk.failed:
                unfinished.replace(path)
        except OSError as error:
            raise OSError(error.errno, explain_failure(error, path)) from error
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def hold_signals() -> Iterator[list[tuple[int, FrameType | None]]]:
    """Collect the signals that would interrupt this thread; deliver one at the end."""
    held: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
    if threading.current_thread() is threading.main_thread():  # others get none
        for number in map(int, (signal.SIGINT, signal.SIGTERM)):
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
    try:
        for number in handlers:
            signal.signal(number, lambda *what: held.append(what))
        yield held
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if held:
            handlers[held[0][0]](*held[0])


def explain_failure(error: OSError, path: Path) -> str:
    """Say why a file could not be written, in words."""
    where = path.absolute()
    if error.errno == errno.EFBIG:
        return f"{where} is larger than a file may be here (see `ulimit -f`)"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write {where}: {error.strerror or error}"
    disk = where.parent
    while not disk.is_mount():
        disk = disk.parent
    if error.errno == errno.EDQUOT:
        return f"your quota on the disk at {disk} is used up: cannot write {where}"
    size = shutil.disk_usage(disk).total
    return f"the disk at {disk} ({size / 1e6:,.0f} MB) is full: cannot write {where}"
