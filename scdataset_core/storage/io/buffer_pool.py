"""Buffers that are used again, once no array or view refers to their memory."""

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BufferPool"]

# Below this, a fresh allocation uses memory that the process already has. Above it, the
# system maps every page anew, which costs as much as reading warm data into it.
SMALLEST = 64 * 1024
STEPS_PER_DOUBLING = 8
ALIGNMENT = 64


class _Lease(weakref.ref[Any]):
    """Gives a block back to its pool when the last view of it is gone."""

    __slots__ = ("block", "pool")
    block: npt.NDArray[np.uint8]
    pool: "BufferPool"


def _end_of_lease(lease: weakref.ref[Any]) -> None:
    assert isinstance(lease, _Lease)
    lease.pool.take_back(lease)


class BufferPool:
    """Hands out 1-D arrays, and takes their memory back once no view of it lives.

    Every array lies over an exporter object of its own, which all views of the array
    keep alive: slices, sparse matrices, tensors and memory views alike. When the
    exporter dies, the memory may be handed out again, from whatever thread that is.

    Parameters
    ----------
    idle_bytes
        How many bytes of unused memory are kept.
    """

    def __init__(self, idle_bytes: int = 128 << 20) -> None:
        self.idle_bytes = idle_bytes
        self._room = 0  # at least so many more bytes may lie idle
        self._idle: dict[int, list[npt.NDArray[np.uint8]]] = {}
        self._leases: dict[int, _Lease] = {}

    def empty(self, n: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array of shape ``(n,)`` whose contents are arbitrary."""
        return self.empty_together(n, [dtype])[0]

    def empty_together(
        self, n: int, dtypes: Sequence[npt.DTypeLike]
    ) -> list[npt.NDArray[Any]]:
        """Return an array of shape ``(n,)`` of each type, all over one block.

        They are of use together: the block is used again when no view of any lives.
        """
        kinds = [np.dtype(dtype) for dtype in dtypes]
        starts, n_bytes = [], 0
        for kind in kinds:
            starts.append(n_bytes)
            n_bytes += -(-int(n) * kind.itemsize // ALIGNMENT) * ALIGNMENT
        if n_bytes < SMALLEST:
            return [np.empty(n, kind) for kind in kinds]
        block = self._block(n_bytes)
        exporter = (ctypes.c_char * len(block)).from_buffer(block.data)
        lease = _Lease(exporter, _end_of_lease)
        lease.block, lease.pool = block, self
        self._leases[id(lease)] = lease
        memory = memoryview(exporter)
        return [
            np.frombuffer(memory, kind, n, start)
            for kind, start in zip(kinds, starts, strict=True)
        ]

    def _block(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        """Return an idle block of about `n_bytes`, or a new one."""
        step = 1 << (n_bytes - 1).bit_length() - STEPS_PER_DOUBLING.bit_length()
        size = -(-n_bytes // step) * step
        for near in (size, size + step, size + 2 * step):
            try:
                return self._idle[near].pop()
            except (KeyError, IndexError):
                continue
        return _aligned(size)

    def take_back(self, lease: _Lease) -> None:
        """Keep the memory of an ended lease, unless enough lies idle."""
        # Runs wherever the last view dies, even inside a garbage collection that
        # interrupts `empty`: no lock, and all that counts is done in atomic steps. Two
        # threads may take the same room; what lies idle is counted again when it ends.
        self._leases.pop(id(lease), None)
        size = len(lease.block)
        if size > self._room:
            self._room = self.idle_bytes - self.n_idle_bytes
        if size <= self._room:
            self._room -= size
            self._idle.setdefault(size, []).append(lease.block)

    @property
    def n_idle_bytes(self) -> int:
        """Bytes that lie idle."""
        return sum(size * len(blocks) for size, blocks in list(self._idle.items()))

    def close(self) -> None:
        """Drop idle memory, and keep none from now on."""
        self.idle_bytes = self._room = 0
        self._idle.clear()


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    """Return new memory that begins at a cache line, as JAX wants it to share it."""
    memory = np.empty(size + ALIGNMENT - 1, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
