"""An object as a source of bytes, which many requests at a time ask for."""

import ctypes
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..io.byte_sources import Destinations, SourceIdentity
from .identity import ObjectIdentity
from .requests import ExpectedReads, TakenError, WantedRanges

__all__ = ["Fetch", "ObjectSource"]

Integers = npt.NDArray[np.int64]


class Fetch(Protocol):
    """Sends one request for bytes of an object."""

    def __call__(
        self, name: str, start: int, stop: int, expected: ObjectIdentity
    ) -> Any:  # Any: an object with a buffer
        """Return bytes ``[start, stop)`` of an object that is what is expected."""
        ...


class ObjectSource:
    """An object: a :class:`~..io.byte_sources.ByteSource` without a descriptor.

    Parameters
    ----------
    name
        Its name in its store.
    identity
        What it must be.
    fetch
        Sends a request for its bytes.
    """

    descriptor = None

    def __init__(self, name: str, identity: ObjectIdentity, fetch: Fetch) -> None:
        self.name, self.identity, self._fetch = name, identity, fetch
        self._pid = os.getpid()
        self._expected = ExpectedReads()

    def join(self, expected: ExpectedReads) -> None:
        """Take what was asked for early from here, and count requests there."""
        self._expected = expected

    def serves(self, expected: SourceIdentity | None) -> bool:
        """Return whether it is this process's own, and of the version expected.

        Each request finds out whether the object still is.
        """
        return self._pid == os.getpid() and (
            expected is None or expected == self.identity
        )

    def read(
        self,
        position: Integers,
        destinations: Destinations,
        first: Integers,
        count: Integers,
    ) -> Integers:
        """Do reads, see :class:`~..io.byte_sources.ByteSource`.

        Those that were not asked for early are asked for all together.
        """
        sizes = [
            int(destinations.table[row : row + n, 1].sum())
            for row, n in zip(first.tolist(), count.tolist(), strict=True)
        ]
        # A source of another kind is asked again where it ends; this one says so.
        n_bytes = np.minimum(
            np.array(sizes, np.int64), np.maximum(self.identity.n_bytes - position, 0)
        )
        reads = list(
            zip(
                position.tolist(),
                n_bytes.tolist(),
                first.tolist(),
                count.tolist(),
                strict=True,
            )
        )
        found = [self._expected.find(self, start, n) for start, n, _, _ in reads]
        missing = np.array([one is None for one in found], bool)
        rest = self._want(position[missing], n_bytes[missing])
        for (start, n, row, n_rows), wanted in zip(reads, found, strict=True):
            if n:
                pieces = self._take(wanted or rest, start, n)
                _scatter(pieces, destinations.table[row : row + n_rows])
        return n_bytes

    def _take(
        self, wanted: WantedRanges, start: int, n: int
    ) -> list[npt.NDArray[np.uint8]]:
        """Return the bytes of a range, as pieces that follow one another."""
        try:
            return wanted.take(self, start, n)
        except TakenError:  # by another thread, meanwhile
            again = self._want(np.array([start]), np.array([n]))
            return again.take(self, start, n)

    def _want(self, position: Integers, n_bytes: Integers) -> WantedRanges:
        """Have ranges asked for."""
        zeros = np.zeros(len(position), np.int64)
        wanted = WantedRanges([self], zeros, position, n_bytes)
        self._expected.begin(wanted)
        return wanted

    def read_pieces(self, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return pieces of which first bytes and lengths are given.

        All are asked for together. A piece that would go beyond the end is shorter.
        """
        position = np.array([at for at, _ in pieces], np.int64)
        n_bytes = np.array([n for _, n in pieces], np.int64)
        n_bytes = np.clip(self.identity.n_bytes - position, 0, n_bytes)
        wanted = self._want(position, n_bytes)
        return [
            b"".join(map(bytes, wanted.take(self, at, n)))
            for at, n in zip(position.tolist(), n_bytes.tolist(), strict=True)
        ]

    def fetch(self, start: int, stop: int) -> Any:  # Any: an object with a buffer
        """Return bytes of the object, in one request."""
        return self._fetch(self.name, start, stop, self.identity)


def _scatter(
    pieces: Sequence[npt.NDArray[np.uint8]], rows: npt.NDArray[np.uint64]
) -> None:
    """Copy bytes that follow one another to places, one after another."""
    places = iter(rows.tolist())
    address, room = next(places)
    for piece in pieces:
        at, left = piece.ctypes.data, len(piece)
        while left:
            if not room:
                address, room = next(places)
                continue
            n = min(left, room)
            ctypes.memmove(address, at, n)
            address, room, at, left = address + n, room - n, at + n, left - n
