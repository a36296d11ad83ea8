"""Reads bytes for HDF5, and stops it before a damaged heap of strings.

HDF5 keeps strings of any length in *global heap collections*: a head, and objects one
behind another, each of which says how long it is. An object of number 0 and size 0 (a
page of zeros, as of a copy that lost it) makes HDF5 look at the same place for ever,
deaf to signals. So a file is opened by a driver that reads through this module, which
looks at every collection before HDF5 does. The names of the members of a group lie in a
*local heap*, whose free blocks each say where the next one is: a page of zeros there
makes HDF5 go round in a circle, taking memory for each step until there is none. (HDF5
File Format Specification 3.0, III.D "Local Heaps", III.E "Global Heap".)
"""

import io
import os
import re
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError
from ..io.identities import Identity, check_unchanged
from ..io.open_files import READ_ONLY

if TYPE_CHECKING:
    import h5py

__all__ = ["CheckedObject", "CheckedReads", "open_through_checks", "reads_of"]

# Two patterns are searched for faster than one of both, which has no fixed beginning.
_COLLECTION, _LOCAL = re.compile(rb"GCOL\x01\0\0\0"), re.compile(rb"HEAP\0\0\0\0")
_FILE_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_Number = tuple[int, int]
_LENGTH = 8
_HEAD = 16  # of a collection, and of an object in it
_LOCAL_HEAD, _LEAST_FREE = 32, 16  # of a local heap, and of a free block in it
_NO_BLOCK = 1  # where the next one is, of the last free block
# A collection has up to 65,535 objects. The longest that text makes is far below this.
_MOST_BYTES = 1 << 30
# Free blocks of all local heaps that begin in one read of HDF5: each takes a read here.
# HDF5 joins those that lie side by side, so that a group has few.
_MOST_FREE = 1 << 18
# A collection is looked at so often in whole, then object by object.
_MOST_TURNS = 16


class _Heaps:
    """Looks at the heaps of strings in what is read of a file, before HDF5 does.

    Parameters
    ----------
    name, n_bytes
        The file, for errors, and its size.
    read
        Returns so many bytes of it, from a position on; fewer at its end.
    """

    def __init__(
        self, name: str, n_bytes: int, read: Callable[[int, int], Any]
    ) -> None:  # Any: an object with a buffer
        self._name, self._n_bytes, self._read = name, n_bytes, read
        self._base = 0  # what addresses are counted from
        self._left_bytes = self._left_blocks = 0

    def check(self, before: bytes, view: memoryview, start: int) -> None:
        """Raise if HDF5 would not come to the end of a heap that begins in a read.

        Parameters
        ----------
        before
            What comes before the read: it may hold the first bytes of a signature.
        view, start
            What was read, and the position of its first byte.
        """
        if view[:_LENGTH] == _FILE_SIGNATURE:  # behind what the user put before it
            self._base = start
        # Heaps do not lie over each other, but those of a hostile file may.
        self._left_bytes, self._left_blocks = len(view) + _MOST_BYTES, _MOST_FREE
        head, at = before + bytes(view[: _LENGTH - 1]), start - len(before)
        for signature, check in (
            (_COLLECTION, partial(self._check_collection, view=view, start=start)),
            (_LOCAL, self._check_local),
        ):
            found = [at + match.start() for match in signature.finditer(head)]
            found += [start + match.start() for match in signature.finditer(view)]
            for position in dict.fromkeys(found):
                check(position)

    def _check_collection(self, position: int, view: memoryview, start: int) -> None:
        """Raise if HDF5 would not come to the end of a collection."""
        inside = view[position - start :] if position >= start else memoryview(b"")
        if len(inside) < _HEAD:
            inside = memoryview(self._read(_HEAD, position))
        n_bytes = int.from_bytes(inside[_LENGTH:_HEAD], "little")
        if n_bytes > min(_MOST_BYTES, self._n_bytes - position):
            raise self._damaged(position, f"it claims {n_bytes} bytes")
        self._left_bytes -= n_bytes
        if self._left_bytes < 0:
            raise self._damaged(position, "the row of heaps that lie over it", "end")
        if len(inside) < n_bytes:
            inside = memoryview(self._read(n_bytes, position))
        words = np.frombuffer(inside, "<u8", min(n_bytes, len(inside)) // 8)
        at = _find_endless(words)
        if at is not None:
            raise self._damaged(position, f"its object at byte {position + 8 * at}")

    def _check_local(self, position: int) -> None:
        """Raise if the free blocks of a local heap lead back to each other."""
        head = bytes(self._read(_LOCAL_HEAD, position))
        if len(head) < _LOCAL_HEAD:
            return
        n_bytes, block, address = np.frombuffer(head, "<u8")[1:].tolist()
        most = min(n_bytes, self._n_bytes) // _LEAST_FREE  # that lie side by side
        while block != _NO_BLOCK and block < n_bytes:
            most, self._left_blocks = most - 1, self._left_blocks - 1
            if min(most, self._left_blocks) < 0:
                raise self._damaged(position, "its list of free blocks", "end")
            start = min(address + self._base + block, self._n_bytes)
            block = int.from_bytes(self._read(_LENGTH, start), "little")

    def _damaged(
        self, position: int, what: str, lacks: str = "sound length"
    ) -> CorruptFileError:
        return CorruptFileError(
            f"{self._name}: the text in the heap at byte {position} cannot be read:"
            f" {what} has no {lacks}; the file is damaged (a page of zeros is enough),"
            " restore it from its origin"
        )


class CheckedReads:
    """The file object that HDF5 reads through; it may be used in forked processes.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, READ_ONLY)
        self.identity = Identity.of(self._descriptor)
        self._heaps = _Heaps(
            path, self.identity.n_bytes, partial(os.pread, self._descriptor)
        )
        self._at = 0

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", -1)
        if descriptor >= 0:
            os.close(descriptor)

    def status(self) -> os.stat_result:
        """Return the status of the open file."""
        return os.fstat(self._descriptor)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to where the next read begins."""
        self._at = offset + (self.identity.n_bytes if whence == os.SEEK_END else 0)
        return self._at

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def flush(self) -> None:
        """Do nothing: the file is only read."""

    def readinto(self, buffer: Any) -> int:  # Any: memory of HDF5's
        """Fill a buffer from the file, and zeros behind its end, as HDF5 has it.

        Raises
        ------
        CorruptFileError
            If a heap of strings begins here that HDF5 would not get through.
        FileChangedError
            If the file is not what it was when it was opened.
        """
        start, view = self._at, memoryview(buffer).cast("B")
        before = bytearray(min(_LENGTH - 1, start))
        done = self._read([before, view], start - len(before))
        done = max(done - len(before), 0)
        while done < len(view):
            n = self._read([view[done:]], start + done)
            if not n:
                check_unchanged(self.path, self.identity, Identity.of(self._descriptor))
                view[done:] = bytes(len(view) - done)
                break
            done += n
        self._heaps.check(bytes(before), view, start)
        return len(view)

    def _read(self, buffers: list[Any], position: int) -> int:
        try:
            return os.preadv(self._descriptor, buffers, position)
        except OSError as error:
            what = f"{error.strerror}, at byte {position}"
            raise OSError(error.errno, what, self.path) from error


class CheckedObject(io.RawIOBase):
    """An object of a store as the file object that HDF5 reads through.

    Parameters
    ----------
    reader
        Reads the object.
    name
        The object, for errors.
    """

    def __init__(self, reader: io.RawIOBase, name: str) -> None:
        super().__init__()
        self._reader = reader
        self._heaps = _Heaps(name, reader.seek(0, os.SEEK_END), self._read_at)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, and return it."""
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._reader.tell()

    def readinto(self, buffer: Any) -> int:  # Any: memory of HDF5's
        """Fill a buffer from the object; an error as of `CheckedReads`."""
        start, view = self.tell(), memoryview(buffer).cast("B")
        n = self._reader.readinto(view) or 0
        begin = max(start - _LENGTH + 1, 0)
        before = self._read_at(start - begin, begin)
        self._heaps.check(before, view[:n], start)
        self.seek(start + n)
        return n

    def _read_at(self, n_bytes: int, position: int) -> bytes:
        self._reader.seek(position)
        return self._reader.read(n_bytes) or b""


def _find_endless(words: npt.NDArray[np.uint64]) -> int | None:
    """Return an object behind which HDF5 would not go on; None if there is none.

    Parameters
    ----------
    words
        A collection, in words of 8 bytes. An object begins with a word whose low 16
        bits are its number; the next word is its size, which counts the head where the
        number is 0, for free space.
    """
    if len(words) < 4:  # no object fits
        return None
    size, is_free = words[1:], (words[:-1] & np.uint64(0xFFFF)) == 0
    # As HDF5 computes it, in 64 bits.
    whole = (size + np.uint64(7)) & ~np.uint64(7)
    steps = np.where(is_free, size, whole + np.uint64(_HEAD))
    endless = (steps == 0) | (steps & np.uint64(7) != 0)
    endless[:2] = False  # the head of the collection
    if not endless.any():
        return None
    # Most are zeros that no object begins at, in free space. Which are reached is seen
    # from their side: from what is one object before, again and again, there is hardly
    # ever a way back to the first object. Where there is one for long, the way from the
    # first object is gone once: each turn looks at all words.
    at = np.arange(len(steps))
    following = np.full(len(steps), -1)
    inside = ~endless & (steps // np.uint64(8) < np.uint64(len(steps)))
    following[inside] = at[inside] + (steps[inside] // np.uint64(8)).astype(np.int64)
    following[:2] = -1
    following[following >= len(steps)] = -1
    reaches = endless.copy()
    seen = endless
    for _ in range(_MOST_TURNS):
        if seen[2]:
            break
        seen = (following >= 0) & reaches[following] & ~reaches
        reaches |= seen
        if not seen.any():
            return None
    return _follow(following, endless)


def _follow(
    following: npt.NDArray[np.int64], endless: npt.NDArray[np.bool_]
) -> int | None:
    """Return the first endless object on the way from the first one, or None."""
    steps, ends, at = following.data, endless.data, 2  # whose elements come sooner
    while at >= 0 and not ends[at]:
        at = steps[at]
    return at if at >= 0 else None


# By the number that HDF5 gives to each file that it has open.
_open: "weakref.WeakValueDictionary[_Number, CheckedReads]"
_open = weakref.WeakValueDictionary()


def open_through_checks(path: str) -> "h5py.File":
    """Open a file with h5py for reading, by a driver that reads through checks."""
    import h5py
    from h5py import h5f, h5fd, h5p

    reads = CheckedReads(path)
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_WEAK)  # a data set keeps its file open
    access.set_fileobj_driver(h5fd.fileobj_driver, reads)
    file = h5py.File(h5f.open(os.fsencode(path), h5f.ACC_RDONLY, fapl=access))
    try:
        _open[_number(file)] = reads
    except RuntimeError as error:  # the root itself is damaged
        file.close()
        raise OSError(str(error)) from error
    return file


def reads_of(file: "h5py.File") -> CheckedReads | None:
    """Return what a file is read through; None where HDF5 reads it itself."""
    return _open.get(_number(file)) if file.driver == "fileobj" else None


def _number(file: "h5py.File") -> _Number:
    """Return the number by which HDF5 tells open files apart."""
    from h5py import h5g

    low, high = h5g.get_objinfo(file.id).fileno
    return low, high
