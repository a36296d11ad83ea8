"""Memory that one thread uses again and again, for chunks as stored and as decoded."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Scratch"]

# Memory beyond this, for a very large chunk, is given back after its use.
LARGEST_KEPT = 16 << 20


class Scratch:
    """Growing buffers of one thread, and the decoder state that goes with them.

    Attributes
    ----------
    packed : memoryview
        Chunks as stored.
    plain : memoryview
        Chunks as decoded: one, or several for what takes several at a time.
    n_held : int
        Bytes of the beginning of `plain` that are held: the next chunk is decoded to
        what follows them.
    packed_address, plain_address : int
        Where they lie.
    decompressor : int or None
        Address of libdeflate's state, which one thread may use at a time.
    """

    def __init__(self) -> None:
        self.decompressor: int | None = None
        self.n_held = 0
        self._set_packed(0)
        self._set_plain(0)

    def _set_packed(self, n_bytes: int) -> None:
        self._packed: npt.NDArray[np.uint8] = np.empty(n_bytes, np.uint8)
        self.packed = self._packed.data
        self.packed_address: int = self._packed.ctypes.data

    def _set_plain(self, n_bytes: int) -> None:
        self._plain: npt.NDArray[np.uint8] = np.empty(n_bytes, np.uint8)
        self.plain = self._plain.data
        self.plain_address: int = self._plain.ctypes.data

    def reserve_packed(self, n_bytes: int) -> None:
        """Make room for `n_bytes`; the contents are lost."""
        if len(self.packed) < n_bytes:
            self._set_packed(n_bytes)

    def reserve_plain(self, n_bytes: int) -> None:
        """Make room for `n_bytes`; the contents are lost."""
        if len(self.plain) < n_bytes:
            self._set_plain(n_bytes)

    def reserve_next(self, n_bytes: int) -> int:
        """Make room for `n_bytes` behind those that are held; return their address."""
        if len(self.plain) < self.n_held + n_bytes:
            held = self.plain[: self.n_held]
            self._set_plain(self.n_held + n_bytes)
            self.plain[: self.n_held] = held
        return self.plain_address + self.n_held

    def next_plain(self, n_bytes: int) -> memoryview:
        """Return the `n_bytes` behind those that are held."""
        return self.plain[self.n_held : self.n_held + n_bytes]

    def hold(self, plain: memoryview) -> None:
        """Hold a chunk too, which may have been decoded to where it belongs."""
        n_bytes = len(plain)
        if plain.obj is not self.plain.obj:  # it was decoded elsewhere
            self.reserve_next(n_bytes)
            self.next_plain(n_bytes)[:] = plain
        self.n_held += n_bytes

    def offset_of(self, view: memoryview) -> int | None:
        """Return where in `packed` a view of it begins, or None for other memory."""
        address: int = np.frombuffer(view, np.uint8).ctypes.data
        offset = address - self.packed_address
        return offset if 0 <= offset < len(self.packed) else None

    def trim(self) -> None:
        """Give back memory that is larger than most chunks need."""
        if len(self.packed) > LARGEST_KEPT:
            self._set_packed(0)
        if len(self.plain) > LARGEST_KEPT:
            self._set_plain(0)

    def keep_decompressor(self, state: int | None, free: Callable[[Any], Any]) -> int:
        """Keep a decoder's state as long as this scratch lives."""
        if state is None:
            raise MemoryError("libdeflate could not allocate its state")
        self.decompressor = state
        weakref.finalize(self, free, state).atexit = False
        return state
