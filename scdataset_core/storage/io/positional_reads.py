"""Ways to read local files at a position, one interface over what systems offer."""

import ctypes
import errno
import os
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from .byte_sources import Destinations

__all__ = ["LocalFile", "Reader", "choose_reader"]

# A read that makes bytes of its own makes at most so many at a time.
MOST_BYTES = 1 << 30


class LocalFile(Protocol):
    """An open file, as readers see it.

    Attributes
    ----------
    path : str
        Its path, for errors.
    descriptor : int
        Its descriptor.
    lock : threading.Lock
        Held by readers that move the file's own position.
    """

    @property
    def path(self) -> str:
        """See the class."""
        ...

    @property
    def descriptor(self) -> int:
        """See the class."""
        ...

    @property
    def lock(self) -> threading.Lock:
        """See the class."""
        ...


class Reader(Protocol):
    """Fills at most `IOV_MAX` destinations; may return early, as ``preadv`` does."""

    def __call__(
        self,
        file: LocalFile,
        position: int,
        destinations: Destinations,
        first: int,
        count: int,
    ) -> int:
        """Fill `count` destinations from `first` on; return the bytes read."""
        ...


def _views(destinations: Destinations, first: int, count: int) -> list[memoryview]:
    """Return writable views of destinations."""
    rows = destinations.table[first : first + count].tolist()
    return [
        memoryview((ctypes.c_char * size).from_address(address)).cast("B")
        for address, size in rows
    ]


def _libc_preadv() -> Any:  # Any: a ctypes function pointer
    """Return C's ``preadv``, or None where there is none to be called safely."""
    if sys.platform not in ("linux", "darwin") or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "preadv", None)
    if function is not None:
        function.restype = ctypes.c_ssize_t
        function.argtypes = (
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_int64,
        )
    return function


class LibcReader:
    """C's ``preadv``, called with the table itself."""

    def __init__(self) -> None:
        self._preadv = _libc_preadv()
        if self._preadv is None:
            raise OSError("the C library of this system has no preadv")

    def __call__(
        self,
        file: LocalFile,
        position: int,
        destinations: Destinations,
        first: int,
        count: int,
    ) -> int:
        """Fill destinations, see :class:`Reader`."""
        address = destinations.address + 16 * first
        while True:
            n: int = self._preadv(file.descriptor, address, count, position)
            if n >= 0:
                return n
            code = ctypes.get_errno()
            # After an interrupt nothing was read, and handlers run between the lines.
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code), file.path)


def read_with_preadv(
    file: LocalFile, position: int, destinations: Destinations, first: int, count: int
) -> int:
    """Fill destinations with :func:`os.preadv`, see :class:`Reader`."""
    return os.preadv(file.descriptor, _views(destinations, first, count), position)


def _read_each(
    read: Callable[[int, int], bytes], position: int, views: list[memoryview]
) -> int:
    """Fill each destination with a read, until one is short; return the bytes."""
    done = 0
    for view in views:
        data = read(min(len(view), MOST_BYTES), position + done)
        view[: len(data)] = data
        done += len(data)
        if len(data) < len(view):
            break
    return done


def read_with_pread(
    file: LocalFile, position: int, destinations: Destinations, first: int, count: int
) -> int:
    """Fill destinations with one :func:`os.pread` each, see :class:`Reader`."""
    return _read_each(
        lambda size, at: os.pread(file.descriptor, size, at),
        position,
        _views(destinations, first, count),
    )


def read_with_seek(
    file: LocalFile, position: int, destinations: Destinations, first: int, count: int
) -> int:
    """Fill destinations by seeking and reading under a lock, see :class:`Reader`."""

    def read(size: int, at: int) -> bytes:
        os.lseek(file.descriptor, at, os.SEEK_SET)
        return os.read(file.descriptor, size)

    with file.lock:
        return _read_each(read, position, _views(destinations, first, count))


def keep_within(read: Reader, most: int) -> Reader:
    """Return a reader that asks `read` for at most so many bytes at a time.

    macOS refuses a ``preadv`` of more than 2**31 - 1 bytes, where Linux reads fewer.
    """

    def bounded(
        file: LocalFile,
        position: int,
        destinations: Destinations,
        first: int,
        count: int,
    ) -> int:
        """Fill destinations, see :class:`Reader`."""
        sizes = destinations.table[first : first + count, 1]
        if int(sizes.sum(dtype=np.uint64)) > most:
            return read_with_pread(file, position, destinations, first, count)
        return read(file, position, destinations, first, count)

    return bounded


@lru_cache
def choose_reader(name: str | None = None) -> Reader:
    """Return a reader: "libc", "preadv", "pread" or "seek"; None: the fastest here."""
    known: dict[str, Callable[[], Reader]] = {}
    if _libc_preadv() is not None:
        known["libc"] = LibcReader
    if hasattr(os, "preadv"):
        known["preadv"] = lambda: read_with_preadv
    if hasattr(os, "pread"):
        known["pread"] = lambda: read_with_pread
    known["seek"] = lambda: read_with_seek
    if name is None:
        name = next(iter(known))
    if name not in known:
        raise ValueError(
            f'this system has the readers {", ".join(known)}, got "{name}"'
        )
    read = known[name]()
    is_bounded = sys.platform == "darwin" and name in ("libc", "preadv")
    return keep_within(read, MOST_BYTES) if is_bounded else read
