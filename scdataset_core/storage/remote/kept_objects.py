"""Keeps what describes an object in a cache: blocks of it, and its chunk tables.

To a cache, both are arrays of the object, as chunks of X are. So what keeps those sound
holds here too: they are found by URL, version and size, carry checksums, count in the
limit, and are cleared together.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from ..cache.array_cache import ArrayCache
from ..cache.entries import Entry
from ..cache.folder import Cache
from ..cache.lone_chunks import read_lone_chunk
from ..chunks import ChunkTable
from ..context import default_context
from ..decoding.pipeline import Pipeline
from ..io.byte_sources import ByteStore
from ..layout import ArrayLayout, ChunkGrid
from .block_reader import BLOCK_BYTES
from .identity import ObjectIdentity

__all__ = ["KeptObject"]

_BLOCKS = "(blocks of the file)"
# The columns of a table, one after another: offsets, sizes, filters that were skipped.
_COLUMNS = 3


@dataclass(frozen=True)
class _OneChunkAfterAnother:
    """Makes the table of an array that is a cache's alone."""

    name: str
    identity: ObjectIdentity
    store: ByteStore
    n_chunks: int
    chunk_bytes: int

    def __call__(self) -> ChunkTable:
        """Return the table."""
        starts = np.arange(self.n_chunks, dtype=np.int64) * self.chunk_bytes
        sizes = np.full(self.n_chunks, self.chunk_bytes, np.int64)
        return ChunkTable(
            (self.name,), (self.identity,), starts, sizes, store=self.store
        )


class KeptObject:
    """What a cache keeps of one object.

    Parameters
    ----------
    cache
        The cache.
    name
        The object's name.
    identity
        What it is.
    store
        The store that it is in.
    """

    def __init__(
        self, cache: Cache, name: str, identity: ObjectIdentity, store: ByteStore
    ) -> None:
        self._name, self._identity, self._store = name, identity, store
        self._cache = cache
        n_blocks = -(-identity.n_bytes // BLOCK_BYTES)
        self._blocks = self._array(_BLOCKS, np.dtype(np.uint8), n_blocks, BLOCK_BYTES)
        self._kept = ArrayCache(cache)
        self._entry: Entry | None = None

    def _array(
        self, what: str, dtype: np.dtype[np.integer], n_chunks: int, chunk: int
    ) -> ArrayLayout:
        """Return an array of numbers, cut into chunks of so many."""
        n_bytes = chunk * dtype.itemsize
        make_table = _OneChunkAfterAnother(
            self._name, self._identity, self._store, n_chunks, n_bytes
        )
        grid = ChunkGrid((chunk,), dtype, Pipeline(), 0, make_table)
        shape = (n_chunks * chunk,)
        return ArrayLayout(self._name, what, shape=shape, dtype=dtype, grid=grid)

    @property
    def place(self) -> str:
        """The folder of the cache."""
        return str(self._cache.folder)

    def begin(self) -> None:
        """Open what is kept of the object; nothing is found before."""
        self._entry = self._kept.begin(self._blocks)

    def find(self, number: int) -> npt.NDArray[np.uint8] | None:
        """Return a block of the object, or None where it is not kept.

        It waits for no lock, so that HDF5 may ask for it.
        """
        if self._entry is None:
            return None
        kept = read_lone_chunk(self._entry, number, BLOCK_BYTES)
        return None if kept is None else np.frombuffer(kept, np.uint8)

    def keep(self, number: int, block: npt.NDArray[np.uint8]) -> None:
        """Keep a block of the object; the last one may be shorter."""
        whole = np.zeros(BLOCK_BYTES, np.uint8)
        whole[: len(block)] = block
        self._kept.keep(self._blocks, [number], whole.data)

    def find_table(self, name: str, shape: tuple[int, ...]) -> ChunkTable | None:
        """Return the chunk table of an array in the object, or None.

        Parameters
        ----------
        name
            Name of the array.
        shape
            How many chunks it has along each axis.
        """
        array, n = self._table_array(name, shape)
        n_bytes = _COLUMNS * n * 8
        cache = ArrayCache(self._cache)
        kept = cache.find(array, 0, 0, n_bytes, default_context()) if n else None
        if kept is None:
            return None
        offsets, sizes, skipped = np.frombuffer(kept, np.int64).reshape(_COLUMNS, n)
        small = np.uint32 if sizes.max() < 2**32 else np.uint64
        return ChunkTable(
            (self._name,),
            (self._identity,),
            offsets.copy(),
            sizes.astype(small),
            skipped.astype(np.uint8) if skipped.any() else None,
        )

    def keep_table(self, name: str, shape: tuple[int, ...], table: ChunkTable) -> None:
        """Keep the chunk table of an array in the object."""
        array, n = self._table_array(name, shape)
        if not n or len(table) != n or table.file_of is not None:
            return
        skipped = np.zeros(n, np.int64) if table.skipped is None else table.skipped
        columns = np.concatenate([table.offsets, table.sizes, skipped], dtype=np.int64)
        cache = ArrayCache(self._cache)
        cache.keep(array, [0], columns.view(np.uint8).data)

    def _table_array(
        self, name: str, shape: tuple[int, ...]
    ) -> tuple[ArrayLayout, int]:
        n = prod(shape)
        what = f"{name} (chunk table)"
        return self._array(what, np.dtype(np.int64), 1, _COLUMNS * n), n
