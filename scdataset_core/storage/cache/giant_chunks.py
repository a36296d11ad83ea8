"""Keeps very large chunks piece by piece, as they are decoded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..layout import ArrayLayout
from .entries import Entry, count_elements
from .narrowing import common_kind, kept_dtype, narrow
from .records import RECORD_BYTES, checksum, make_record, seed_of
from .unchanged_files import Looks
from .writing import ChunkWrites

__all__ = ["GiantWrite"]


class GiantWrite:
    """A very large chunk that is kept piece by piece, in the type of its first piece.

    A piece that does not fit that type ends it, and no record is written. The chunk is
    kept in a wider type when it is decoded the next time.

    Parameters
    ----------
    entry, array, chunk
        Where the chunk is kept, its array, and its number.
    kind
        The type to keep it in; 0: that of the first piece.

    Attributes
    ----------
    kind : int
        The type; wider than it was where a piece did not fit.
    """

    def __init__(
        self,
        entry: Entry,
        array: ArrayLayout,
        chunk: int,
        kind: int,
    ) -> None:
        self._entry, self._array, self._chunk = entry, array, chunk
        self.kind = kind
        self._rest = b""
        self._n_done = 0  # elements
        self._crc = 0
        self._sound = True

    def add(
        self,
        start: int,
        piece: memoryview,
        submit: Callable[[ChunkWrites], bool],
        *,
        last: bool,
    ) -> bool:
        """Write a piece; return whether the chunk can still be kept."""
        size = self._array.dtype.itemsize
        if start != self._n_done * size + len(self._rest):
            return False
        data = self._rest + bytes(piece)
        whole = len(data) // size * size
        self._rest = data[whole:]
        if not whole:
            return not last
        kept = self._narrow(data[:whole])
        if kept is None:
            return False
        entry = self._entry
        self._crc = checksum(kept.ctypes.data, kept.nbytes, self._crc)
        first = self._chunk * count_elements(self._array) + self._n_done
        self._n_done += len(kept)
        crc = self._crc
        return submit(
            ChunkWrites(
                entry.data[self.kind - 1],
                [first * kept.itemsize],
                kept[None],
                entry.index,
                [self._chunk * RECORD_BYTES],
                lambda looks: [self._make_record(crc, looks) if last else b""],
                self._note,
            )
        )

    def _narrow(self, data: bytes) -> npt.NDArray[Any] | None:
        """Return a piece in the type of the first one, or None if it does not fit."""
        values = np.frombuffer(data, self._array.dtype)
        if not self.kind:
            self.kind = narrow(values)[0]
        if not self._n_done:
            self._crc = seed_of(self._entry.generation, self._chunk, self.kind)
        with np.errstate(invalid="ignore", over="ignore"):
            kept = values.astype(kept_dtype(self.kind, self._array.dtype))
            back = kept.astype(values.dtype)
        if back.tobytes() == data:
            return kept
        self.kind = common_kind(self.kind, narrow(values)[0])
        return None

    def _note(self, done: bool) -> None:
        self._sound &= done

    def _make_record(self, crc: int, looks: Looks) -> bytes:
        # A piece that was not written leaves a record that fits nothing.
        unchanged = looks.is_unchanged(self._array.table, self._chunk)
        sound = self._sound and unchanged
        return make_record(crc, self.kind) if sound else bytes(RECORD_BYTES)
