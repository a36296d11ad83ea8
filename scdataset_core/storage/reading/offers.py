"""Offers decoded chunks to the cache of their array, several at a time.

What a cache first does with a chunk takes less time than to give up the interpreter's
lock and to wait for it again, which each call of NumPy does.
"""

from ..io.scratch_memory import Scratch
from ..layout import ArrayLayout, ChunkCache

__all__ = ["Offer", "make_offer"]

# Chunks of about so many bytes are offered together, if each has no more than a few:
# larger ones are worth calls of their own, and gathering copies them.
OFFER_BYTES = 2 << 20
MOST_BYTES = 256 << 10


def make_offer(array: ArrayLayout, n: int, scratch: Scratch) -> "Offer | None":
    """Return what offers chunks to an array's cache; None: nothing keeps them now.

    Parameters
    ----------
    array
        The array.
    n
        Most chunks that will be added.
    scratch
        Memory of this thread.
    """
    cache = array.chunk_cache
    if cache is None or not n or cache.is_full:
        return None
    n_bytes = array.needed_grid.n_bytes
    most = min(OFFER_BYTES // n_bytes, n) if n_bytes <= MOST_BYTES else 1
    return Offer(array, cache, most, scratch)


class Offer:
    """Gathers decoded chunks of an array, and offers them to its cache together.

    Parameters
    ----------
    array, cache
        The array and its cache.
    most
        How many chunks are offered at a time.
    scratch
        Memory of this thread, for more than one.
    """

    def __init__(
        self, array: ArrayLayout, cache: ChunkCache, most: int, scratch: Scratch
    ) -> None:
        self._array, self._cache, self._most = array, cache, most
        self._n_bytes = array.needed_grid.n_bytes
        self._chunks: list[int] = []
        if most > 1:
            scratch.reserve_gathered(most * self._n_bytes)
        self._gathered = scratch.gathered

    def add(self, chunk: int, plain: memoryview) -> None:
        """Offer a chunk, sooner or later."""
        n_bytes = self._n_bytes
        if self._most == 1:
            self._cache.keep(self._array, [chunk], plain[:n_bytes])
            return
        start = len(self._chunks) * n_bytes
        self._gathered[start : start + n_bytes] = plain[:n_bytes]
        self._chunks.append(chunk)
        if len(self._chunks) == self._most:
            self.end()

    def end(self) -> None:
        """Offer what was gathered."""
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            some = self._gathered[: len(chunks) * self._n_bytes]
            self._cache.keep(self._array, chunks, some)
