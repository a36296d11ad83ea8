"""Positional reads into scattered places, one interface over what systems offer.

A read is a position in a file and a table of places in memory, two unsigned columns:
address and length (the layout of C's ``struct iovec``). The bytes from the position on
fill the places one after another. The tables are made by vectorised arithmetic, so a
read of a thousand rows makes no Python object a row.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .open_files import OpenFile

__all__ = [
    "Places",
    "Reader",
    "ShortReadError",
    "read_fully",
    "reader_named",
]

IOV_MAX = 1024
# Of one place that is read at once, where a read makes bytes of its own.
MOST_BYTES = 1 << 30


class ShortReadError(Exception):
    """A file ended before a read did; `position` is where."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the file ends at byte {position}")
        self.position = position


class Places:
    """A table of places in memory: one row ``(address, length)`` each.

    Parameters
    ----------
    table
        Shape ``(k, 2)``, uint64, C-contiguous. Whoever makes it answers for the
        addresses: they must be those of live, writable memory.
    """

    __slots__ = ("address", "table")

    def __init__(self, table: npt.NDArray[np.uint64]) -> None:
        self.table = table
        self.address: int = table.ctypes.data


class Reader(Protocol):
    """Reads into at most `IOV_MAX` places; may return early, as ``preadv`` does."""

    def __call__(
        self, file: OpenFile, position: int, places: Places, first: int, count: int
    ) -> int:
        """Fill `count` rows of `places` from `first` on; return the bytes read."""
        ...


def _views(places: Places, first: int, count: int) -> list[memoryview]:
    """Return writable views of places."""
    rows = places.table[first : first + count].tolist()
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
        self, file: OpenFile, position: int, places: Places, first: int, count: int
    ) -> int:
        """Fill places, see :class:`Reader`."""
        n: int = self._preadv(file.fd, places.address + 16 * first, count, position)
        if n < 0:
            code = ctypes.get_errno()
            if code != 4:  # EINTR: nothing was read yet
                raise OSError(code, os.strerror(code), file.path)
            return self(file, position, places, first, count)
        return n


def read_with_preadv(
    file: OpenFile, position: int, places: Places, first: int, count: int
) -> int:
    """Fill places with :func:`os.preadv`, see :class:`Reader`."""
    return os.preadv(file.fd, _views(places, first, count), position)


def _one_by_one(
    read: Callable[[int, int], bytes], position: int, views: list[memoryview]
) -> int:
    """Fill places with one read each, until one is short; return the bytes read."""
    done = 0
    for view in views:
        data = read(min(len(view), MOST_BYTES), position + done)
        view[: len(data)] = data
        done += len(data)
        if len(data) < len(view):
            break
    return done


def read_with_pread(
    file: OpenFile, position: int, places: Places, first: int, count: int
) -> int:
    """Fill places with one :func:`os.pread` each, see :class:`Reader`."""
    return _one_by_one(
        lambda size, at: os.pread(file.fd, size, at),
        position,
        _views(places, first, count),
    )


def read_with_seek(
    file: OpenFile, position: int, places: Places, first: int, count: int
) -> int:
    """Fill places by seeking and reading under a lock, see :class:`Reader`."""

    def read(size: int, at: int) -> bytes:
        os.lseek(file.fd, at, os.SEEK_SET)
        return os.read(file.fd, size)

    with file.lock:
        return _one_by_one(read, position, _views(places, first, count))


@lru_cache
def reader_named(name: str | None = None) -> Reader:
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
    return known[name]()


def read_fully(
    reader: Reader,
    file: OpenFile,
    position: int,
    places: Places,
    first: int,
    count: int,
    n_bytes: int,
    done: int = 0,
) -> None:
    """Fill places to the last byte, continuing after short reads.

    Parameters
    ----------
    reader
        How to read.
    file
        What to read.
    position
        Byte of the file that goes first.
    places, first, count
        The rows of the table to fill, at most `IOV_MAX`.
    n_bytes
        Sum of their lengths.
    done
        How many of these bytes were read before.

    Raises
    ------
    ShortReadError
        If the file ends before.
    """
    if not done:
        done = reader(file, position, places, first, count)
    while done < n_bytes:
        # Cut what is done off the table: the rest starts inside one of the places.
        rest = places.table[first : first + count].copy()
        ends = np.cumsum(rest[:, 1])
        at = int(np.searchsorted(ends, done, side="right"))
        inside = done - (int(ends[at - 1]) if at else 0)
        rest = np.ascontiguousarray(rest[at:])
        rest[0, 0] += np.uint64(inside)
        rest[0, 1] -= np.uint64(inside)
        n = reader(file, position + done, Places(rest), 0, len(rest))
        if n == 0:
            raise ShortReadError(position + done)
        done += n
