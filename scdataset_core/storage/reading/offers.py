"""Offers decoded chunks to the cache of their array, several at a time.

What a cache first does with a chunk takes less time than to give up the interpreter's
lock and to wait for it again, which each call of NumPy does.
"""

from ..io.scratch_memory import Scratch
from ..layout import ArrayLayout, ChunkCache

__all__ = ["Offer", "make_offer"]

# Chunks of about so many bytes are offered together: they lie one behind the other, in
# memory that a core's cache holds, or nearly.
OFFER_BYTES = 2 << 20


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
    scratch.n_held = 0
    if cache is None or not n or cache.is_full:
        return None
    return Offer(array, cache, n, scratch)


class Offer:
    """Gathers decoded chunks of an array, and offers them to its cache together.

    Parameters
    ----------
    array, cache
        The array and its cache.
    n
        Most chunks that will be added.
    scratch
        Memory of this thread, which holds them.
    """

    def __init__(
        self, array: ArrayLayout, cache: ChunkCache, n: int, scratch: Scratch
    ) -> None:
        self._array, self._cache, self._scratch = array, cache, scratch
        self._n_bytes = array.needed_grid.n_bytes
        self._most = max(min(OFFER_BYTES // self._n_bytes, n), 1)
        self._chunks: list[int] = []
        scratch.reserve_plain(self._most * self._n_bytes)

    def add(self, chunk: int, plain: memoryview) -> None:
        """Offer a chunk that was just decoded, sooner or later."""
        self._scratch.hold(plain[: self._n_bytes])
        self._chunks.append(chunk)
        if len(self._chunks) == self._most:
            self.end()

    def end(self) -> None:
        """Offer what was gathered."""
        scratch = self._scratch
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            self._cache.keep(self._array, chunks, scratch.plain[: scratch.n_held])
        scratch.n_held = 0
