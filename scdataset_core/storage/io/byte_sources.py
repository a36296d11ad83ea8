"""Byte sources: the files and other stores that bytes are read from.

A read is a range of bytes of a source and a table of destinations in memory, two
unsigned columns: address and length (the layout of C's ``struct iovec``). The bytes
fill the destinations one after another. Vectorised arithmetic makes the tables, so a
read of a thousand rows makes no Python object a row.

Local files are in :mod:`.open_files`. Another store of bytes is one more module: a
:class:`ByteStore`, which a :class:`~..chunks.ChunkTable` carries with the names in it.
"""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ...errors import ScdatasetError

__all__ = [
    "IOV_MAX",
    "ByteSource",
    "ByteStore",
    "Destinations",
    "Location",
    "ShortReadError",
    "SourceIdentity",
    "read_fully",
    "try_reads",
]

Integers = npt.NDArray[np.int64]
# One read fills at most so many destinations, as ``preadv`` has it.
IOV_MAX = 1024


class Destinations:
    """A table of places in memory that bytes go to: one row ``(address, length)`` each.

    Parameters
    ----------
    table
        Shape ``(k, 2)``, uint64, C-contiguous. Whoever makes it answers for the
        addresses: they must be those of live, writable memory.
    """

    __slots__ = ("address", "table")

    def __init__(self, table: npt.NDArray[np.uint64]) -> None:
        self.table = table
        self.address: int = table.__array_interface__["data"][0]


class SourceIdentity(Protocol):
    """Tells a source from what it was before it changed: size and time, or an ETag.

    Two are equal as long as nothing changed; ``str()`` describes one for errors.
    """

    @property
    def n_bytes(self) -> int:
        """Size of the source."""
        ...


class ByteSource(Protocol):
    """Bytes that can be read by ranges, open in this process.

    Attributes
    ----------
    descriptor : int or None
        Descriptor of the local file that holds the bytes. Only where there is one are
        io_uring and read advice used.
    identity : SourceIdentity
        What the source was when it was opened.
    """

    @property
    def descriptor(self) -> int | None:
        """See the class."""
        ...

    @property
    def identity(self) -> SourceIdentity:
        """See the class."""
        ...

    def serves(self, expected: SourceIdentity | None) -> bool:
        """Return whether this process may read it, and it still is what is expected."""
        ...

    def read(
        self,
        position: Integers,
        destinations: Destinations,
        first: Integers,
        count: Integers,
    ) -> Integers:
        """Do several reads, one after another or all together.

        Parameters
        ----------
        position
            First byte of each read.
        destinations
            The table that all reads share.
        first, count
            Read i fills the rows ``first[i] : first[i] + count[i]``, at most `IOV_MAX`.

        Returns
        -------
        n_bytes
            Bytes read by each. A read may return early, as ``preadv`` does, and is then
            continued; 0 says that the source ends there.

        Raises
        ------
        OSError
            If a read is refused. Of several reads it need not say which: the caller
            does them again, one by one.
        """
        ...


class ByteStore(Protocol):
    """Opens byte sources by name. Pickles, and is hashable.

    A store with credentials, time-outs and the like holds them itself; no message shows
    more of it than the names of its sources. A store may have a method ``open_known``,
    which takes the identity that a source must have besides its name: then it need not
    ask what the source is.
    """

    def open(self, name: str) -> ByteSource:
        """Return a source, open in this process.

        Raises
        ------
        FileNotFoundError
            If there is none of this name.
        """
        ...


class Location(NamedTuple):
    """Names a byte source, and says what it must be.

    Parameters
    ----------
    name
        Name of the source in its store; the path of a local file.
    identity
        What the source was when its layout was taken; None: not to be checked.
    store
        What opens it; None: the local file system.
    """

    name: str
    identity: SourceIdentity | None = None
    store: ByteStore | None = None


class ShortReadError(Exception):
    """A source ended before a read did; `position` is where."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the file ends at byte {position}")
        self.position = position


def try_reads(
    source: ByteSource,
    position: Integers,
    destinations: Destinations,
    first: Integers,
    count: Integers,
) -> Integers:
    """Do several reads of one source; return the bytes of each, 0 for all on an error.

    Whoever asks continues what is incomplete with :func:`read_fully`, which raises the
    error of the very read that fails.
    """
    try:
        return source.read(position, destinations, first, count)
    except ScdatasetError:  # it names what is wrong, and trying again is no use
        raise
    except OSError:
        return np.zeros(len(position), np.int64)


def read_fully(
    source: ByteSource,
    position: int,
    destinations: Destinations,
    first: int,
    count: int,
    n_bytes: int,
    done: int = 0,
) -> None:
    """Do one read to the last byte, continuing where it returns early.

    Parameters
    ----------
    source
        What to read.
    position
        Byte of the source that goes first.
    destinations, first, count
        The rows of the table to fill, at most `IOV_MAX`.
    n_bytes
        Sum of their lengths.
    done
        How many of these bytes were read before.

    Raises
    ------
    ShortReadError
        If the source ends before.
    OSError
        If the read is refused.
    """
    if not done:
        done = _read_one(source, position, destinations, first, count)
    while done < n_bytes:
        # Cut what is done off the table: the rest starts inside a destination.
        rest = destinations.table[first : first + count].copy()
        ends = np.cumsum(rest[:, 1])
        at = int(np.searchsorted(ends, done, side="right"))
        inside = done - (int(ends[at - 1]) if at else 0)
        rest = np.ascontiguousarray(rest[at:])
        rest[0, 0] += np.uint64(inside)
        rest[0, 1] -= np.uint64(inside)
        n = _read_one(source, position + done, Destinations(rest), 0, len(rest))
        if n == 0:
            raise ShortReadError(position + done)
        done += n


def _read_one(
    source: ByteSource,
    position: int,
    destinations: Destinations,
    first: int,
    count: int,
) -> int:
    """Do one read; return its bytes."""
    n_bytes = source.read(
        np.array([position]), destinations, np.array([first]), np.array([count])
    )
    return int(n_bytes[0])
