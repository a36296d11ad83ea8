"""Attaches a cache to arrays, fills it with all their chunks, says how full it is."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt

from ..chunks import ABSENT
from ..context import ReadContext
from ..layout import ArrayLayout
from ..reading.chunk_decoder import ChunkDecoder, WantedChunks, is_giant
from .array_cache import ArrayCache, can_be_cached
from .entries import index_bytes
from .folder import Cache

__all__ = ["attach_cache", "cached_share", "fill_caches"]

# A task decodes chunks of about so many bytes; progress is told after ROUND tasks.
TASK_BYTES = 4 << 20
ROUND = 16


def attach_cache(arrays: Sequence[ArrayLayout], cache: Cache) -> None:
    """Give those arrays a cache that it serves: compressed ones, of numbers.

    Raises
    ------
    ValueError
        If the limit of the cache has no room for the index of one of them.
    """
    for array in arrays:
        if not can_be_cached(array):
            continue
        if cache.limit is not None and index_bytes(array) > cache.limit:
            raise ValueError(
                f"limit must leave room for an index of {index_bytes(array):,} bytes"
                f" for {array.label}, and more for its chunks; got {cache.limit:,}"
                f" bytes for the cache {cache.folder}"
            )
        array.chunk_cache = ArrayCache(cache)


def cached_share(arrays: Sequence[ArrayLayout], *, flush: bool = True) -> float:
    """Return the share of the arrays' stored chunks that lie in their caches.

    Parameters
    ----------
    arrays
        Arrays that have a cache; none gives 0.0.
    flush
        Whether to wait for what is being written.
    """
    n_kept = n_stored = 0
    for array, cache in _caches(arrays):
        stored = array.table.offsets != ABSENT
        kept = cache.kinds_on_disk(array, flush=flush) > 0
        n_stored += int(np.count_nonzero(stored))
        n_kept += int(np.count_nonzero(kept & stored))
    return n_kept / n_stored if n_stored else 0.0


def fill_caches(
    arrays: Sequence[ArrayLayout],
    progress: Callable[[int, int], object] | None,
    threads: int | None,
) -> float:
    """Decode what the caches of arrays lack; return the share that is kept then.

    Parameters
    ----------
    arrays
        Arrays that have a cache.
    progress
        Called now and then with the bytes that are done and those there are.
    threads
        Threads that decode; None: one a core, at most 8.
    """
    missing = [
        (array, cache, _find_missing(array, cache)) for array, cache in _caches(arrays)
    ]
    total = sum(len(some) * array.needed_grid.n_bytes for array, _, some in missing)
    done = 0
    with ReadContext(threads) as context:
        for array, cache, chunks in missing:
            tasks = _tasks(array, chunks, context)
            while not cache.is_full and (some := list(islice(tasks, ROUND))):
                with cache.waiting():
                    context.run([task for task, _ in some])
                done += sum(n for _, n in some)
                if progress is not None:
                    progress(done, total)
            cache.report_failed_write()
    return cached_share(arrays)


def _caches(arrays: Sequence[ArrayLayout]) -> Iterator[tuple[ArrayLayout, ArrayCache]]:
    for array in arrays:
        if isinstance(array.chunk_cache, ArrayCache):
            yield array, array.chunk_cache


def _find_missing(array: ArrayLayout, cache: ArrayCache) -> npt.NDArray[np.int64]:
    """Return the stored chunks that are not kept."""
    stored = array.table.offsets != ABSENT
    return np.flatnonzero(stored & (cache.kinds_on_disk(array) == 0))


def _tasks(
    array: ArrayLayout, chunks: npt.NDArray[np.int64], context: ReadContext
) -> Iterator[tuple[Callable[[], None], int]]:
    """Yield functions that decode some chunks each, with the bytes they decode to."""
    n_bytes = array.needed_grid.n_bytes
    step = max(TASK_BYTES // n_bytes, 1)
    for first in range(0, len(chunks), step):
        some = chunks[first : first + step]
        yield partial(_decode, array, some, context), len(some) * n_bytes


def _decode(
    array: ArrayLayout, chunks: npt.NDArray[np.int64], context: ReadContext
) -> None:
    """Decode chunks, which offers them to the cache."""
    # Whole chunks are decoded for the cache, and nothing of them is used here.
    little = np.full(len(chunks), array.dtype.itemsize)
    wanted = WantedChunks(chunks, little, np.zeros_like(little))
    giant = is_giant(array)
    decoder = ChunkDecoder(array, wanted, context, ask_cache=giant)
    if giant:
        for i in range(len(decoder)):
            # A piece may show that the next try needs a wider type, twice at most.
            for _ in range(3):
                for _ in decoder.decode_pieces(i):
                    pass
    else:
        for _ in decoder.decode(0, len(decoder)):
            pass
