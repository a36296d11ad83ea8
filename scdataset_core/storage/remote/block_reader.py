"""Reads objects as files, in large blocks: for the many small reads of descriptions."""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .identity import ObjectIdentity
from .object_source import ObjectSource
from .requests import ExpectedReads, WantedRanges

__all__ = ["BLOCK_BYTES", "BlockReader", "KeptBlocks"]

# Descriptions and chunk tables lie together, more or less: a request for a megabyte
# takes hardly longer than one for a hundred bytes.
BLOCK_BYTES = 1 << 20
# Blocks of all files that this process holds.
MOST_BLOCKS = 64
# Who reads on and on is given more blocks at once, up to so many.
MOST_AHEAD = 8


class KeptBlocks(Protocol):
    """Keeps blocks of objects on a disk."""

    def find(self, number: int) -> npt.NDArray[np.uint8] | None:
        """Return a block, or None where it is not kept."""
        ...

    def keep(self, number: int, block: npt.NDArray[np.uint8]) -> None:
        """Keep a block."""
        ...


class _HeldBlocks:
    """The blocks that this process used last."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[object, npt.NDArray[np.uint8]] = OrderedDict()

    def find(self, key: object) -> npt.NDArray[np.uint8] | None:
        """Return a block that is held, or None."""
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
            return block

    def hold(self, key: object, block: npt.NDArray[np.uint8]) -> None:
        """Hold a block, and let go of that which was unused for longest."""
        with self._lock:
            self._blocks[key] = block
            while len(self._blocks) > MOST_BLOCKS:
                self._blocks.popitem(last=False)


_held = _HeldBlocks()


class BlockReader(io.RawIOBase):
    """An object as a file that is read through blocks.

    Parameters
    ----------
    source
        The object.
    kept
        Keeps blocks beyond this process; None: nothing does.

    Attributes
    ----------
    failure : BaseException or None
        What went wrong last: libraries that read through this may hide it.
    """

    def __init__(self, source: ObjectSource, kept: KeptBlocks | None = None) -> None:
        super().__init__()
        self._source, self._kept = source, kept
        identity = source.identity
        assert isinstance(identity, ObjectIdentity)
        self._identity = identity
        self._size = identity.n_bytes
        self._at = 0
        self._next, self._ahead = -1, 1
        self._expected = ExpectedReads()
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:  # Any: a writable buffer
        """Fill a buffer from the position on; return the bytes that there were."""
        out = memoryview(buffer).cast("B")
        stop = min(self._at + len(out), self._size)
        start, done = self._at, 0
        if start >= stop:
            return 0
        first, last = start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        try:
            for low in range(first, last + 1, MOST_AHEAD):
                numbers = range(low, min(low + MOST_AHEAD, last + 1))
                for number, block in zip(numbers, self._blocks(numbers), strict=True):
                    begin = max(start - number * BLOCK_BYTES, 0)
                    piece = block[begin : stop - number * BLOCK_BYTES]
                    out[done : done + len(piece)] = piece.data
                    done += len(piece)
        except BaseException as error:
            self.failure = error
            raise
        self._at = start + done
        return done

    def _blocks(self, numbers: range) -> Sequence[npt.NDArray[np.uint8]]:
        """Return blocks; those that are not here are asked for, all together."""
        found = {number: self._find(number) for number in numbers}
        missing = [number for number, block in found.items() if block is None]
        if missing:
            found.update(self._ask(missing))
        self._next = numbers.stop
        return [block for n in numbers if (block := found[n]) is not None]

    def _key(self, number: int) -> object:
        return self._source.name, self._identity, number

    def _find(self, number: int) -> npt.NDArray[np.uint8] | None:
        block = _held.find(self._key(number))
        if block is None and self._kept is not None:
            block = self._kept.find(number)
            if block is not None:
                size = min(BLOCK_BYTES, self._size - number * BLOCK_BYTES)
                block = block[:size]
                _held.hold(self._key(number), block)
        return block

    def _ask(self, missing: list[int]) -> Sequence[tuple[int, npt.NDArray[np.uint8]]]:
        """Return blocks from the store, and hold and keep them.

        Whoever reads on where the last block ended gets more of them each time.
        """
        self._ahead = (
            min(self._ahead * 2, MOST_AHEAD) if missing[0] == self._next else 1
        )
        end = -(-self._size // BLOCK_BYTES)
        stop = min(missing[0] + self._ahead, end)
        more = [n for n in range(missing[-1] + 1, stop) if self._find(n) is None]
        numbers = np.array([*missing, *more], np.int64)
        starts = numbers * BLOCK_BYTES
        sizes = np.minimum(self._size - starts, BLOCK_BYTES)
        zeros = np.zeros(len(numbers), np.int64)
        wanted = WantedRanges([self._source], zeros, starts, sizes)
        self._expected.begin(wanted)
        found = []
        for number, start, size in zip(
            numbers.tolist(), starts.tolist(), sizes.tolist(), strict=True
        ):
            block = np.concatenate(wanted.take(self._source, start, size))
            _held.hold(self._key(number), block)
            if self._kept is not None:
                self._kept.keep(number, block)
            found.append((number, block))
        return found
