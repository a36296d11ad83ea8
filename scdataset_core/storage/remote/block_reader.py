"""Reads objects as files, in large blocks: for the many small reads of descriptions.

HDF5 reads through this while it holds its own lock, which any thread needs to let go of
an object of HDF5, and the garbage collector may do that in any thread. So nothing here
waits for another thread of Python: that could hold the lock that is waited for, or have
the request to send, and be the one in which the collector waits for HDF5. Nor does it
take a lock, and so a cache gets the blocks later, by :func:`keep_blocks`.
"""

import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count, groupby
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .identity import ObjectIdentity
from .object_source import ObjectSource

__all__ = ["BLOCK_BYTES", "BlockReader", "KeptBlocks", "keep_blocks"]

# Descriptions and chunk tables lie together, more or less: a request for a megabyte
# takes hardly longer than one for a hundred bytes.
BLOCK_BYTES = 1 << 20
# Blocks of all files that this process holds.
MOST_BLOCKS = 64
# Who reads on and on is given more blocks at once, up to so many.
MOST_AHEAD = 8


class KeptBlocks(Protocol):
    """Keeps blocks of objects on a disk."""

    @property
    def place(self) -> str:
        """Where it keeps them."""
        ...

    def begin(self) -> None:
        """Make ready, so that blocks are found."""
        ...

    def find(self, number: int) -> npt.NDArray[np.uint8] | None:
        """Return a block, or None where it is not kept; no lock is taken."""
        ...

    def keep(self, number: int, block: npt.NDArray[np.uint8]) -> None:
        """Keep a block."""
        ...


class _HeldBlocks:
    """The blocks that this process used last.

    Each step on the dict is one of the interpreter, so there is no lock.
    """

    def __init__(self) -> None:
        self._blocks: dict[object, npt.NDArray[np.uint8]] = {}

    def find(self, key: object) -> npt.NDArray[np.uint8] | None:
        """Return a block that is held, or None."""
        block = self._blocks.pop(key, None)
        if block is not None:
            self._blocks[key] = block  # now the last one
        return block

    def hold(self, key: object, block: npt.NDArray[np.uint8]) -> None:
        """Hold a block, and let go of that which was unused for longest."""
        self._blocks[key] = block
        # Another thread may change the dict between two steps: the next block does it.
        with suppress(RuntimeError, StopIteration):
            while len(self._blocks) > MOST_BLOCKS:
                self._blocks.pop(next(iter(self._blocks)), None)


_held = _HeldBlocks()

# Blocks that are to be kept, by number. To add one, and to take one, is one step of the
# interpreter; where nobody takes them, the oldest are not kept.
_to_keep: "deque[tuple[KeptBlocks, int, npt.NDArray[np.uint8]]]" = deque(
    maxlen=MOST_BLOCKS
)


def keep_blocks() -> None:
    """Give caches the blocks that were read; not to be called while HDF5 reads."""
    while True:
        try:
            kept, number, block = _to_keep.popleft()
        except IndexError:  # there are no more
            return
        kept.keep(number, block)


class BlockReader(io.RawIOBase):
    """An object as a file that is read through blocks.

    Parameters
    ----------
    source
        The object.
    kept
        Keeps blocks beyond this process; None: nothing does.
    sharing
        What those readers have in common that share the blocks of an object without a
        version, which is not told from another one of its name and size; None: nobody
        shares those of this reader.

    Attributes
    ----------
    failure : BaseException or None
        What went wrong last: libraries that read through this may hide it.
    """

    def __init__(
        self,
        source: ObjectSource,
        kept: KeptBlocks | None = None,
        sharing: object = None,
    ) -> None:
        super().__init__()
        self._source, self._kept = source, kept
        if kept is not None:
            kept.begin()
        identity = source.identity
        assert isinstance(identity, ObjectIdentity)
        if identity.version is not None:
            sharing = None  # it is known by that, to every reader
        elif sharing is None:
            sharing = object()
        # What is held here lies in this cache too, so that the next process finds it.
        place = None if kept is None else kept.place
        self._of = source.name, identity, place, sharing
        self._size = identity.n_bytes
        self._at = 0
        self._next, self._ahead = -1, 1
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
        return self._of, number

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
        found = []
        for run in _runs([*missing, *more]):
            start = run.start * BLOCK_BYTES
            whole = np.frombuffer(
                self._source.fetch(start, min(run.stop * BLOCK_BYTES, self._size)),
                np.uint8,
            )
            for number in run:
                at = number * BLOCK_BYTES - start
                block = whole[at : at + BLOCK_BYTES].copy()  # it is held for itself
                _held.hold(self._key(number), block)
                if self._kept is not None:
                    _to_keep.append((self._kept, number, block))
                found.append((number, block))
        return found


def _runs(numbers: Sequence[int]) -> Iterator[range]:
    """Yield the runs of consecutive numbers in a rising sequence."""
    places = count()
    for _, run in groupby(numbers, lambda number: number - next(places)):
        some = list(run)
        yield range(some[0], some[-1] + 1)
