"""Reads the files of an entry: kept elements, checksums of them, and records."""

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..chunks import ChunkTable
from ..decoding.pipeline import Pipeline
from ..io.byte_sources import Destinations, Location, ShortReadError, read_fully
from ..layout import ArrayLayout, ChunkGrid
from .entries import Entry
from .narrowing import kept_dtype
from .records import RECORD_BYTES, checksum, kinds_of, read_records

if TYPE_CHECKING:
    from ..context import ReadContext

__all__ = ["layout_of_kept", "read_checksum", "read_index", "read_kept"]

Integers = npt.NDArray[np.int64]
# Records between two that are asked for are read too where they are no more bytes.
SPAN_BYTES = 1 << 20


def layout_of_kept(path: str, array: ArrayLayout, kind: int) -> ArrayLayout:
    """Return the kept chunks of one type as an array in one piece.

    Chunks lie one after the other, whole, so the elements of an array whose chunks are
    whole rows lie where they would in one piece.
    """
    grid = array.needed_grid
    n_rows = -(-len(array) // grid.chunk_shape[0]) * grid.chunk_shape[0]
    shape = (n_rows, *array.shape[1:])
    dtype = kept_dtype(kind, array.dtype)
    whole = ChunkGrid(
        chunk_shape=shape,
        stored_dtype=dtype,
        pipeline=Pipeline(),
        fill=0,
        make_table=_OneChunk(path, int(np.prod(shape)) * dtype.itemsize),
    )
    return ArrayLayout(
        path, array.name, shape=shape, dtype=dtype, grid=whole, contiguous=True
    )


class _OneChunk:
    """Makes the table of an array that lies in one piece at the start of a file."""

    def __init__(self, path: str, n_bytes: int) -> None:
        self._path, self._n_bytes = path, n_bytes

    def __call__(self) -> ChunkTable:
        """Return the table."""
        return ChunkTable(
            [self._path], [None], np.zeros(1, np.int64), np.array([self._n_bytes])
        )


def read_kept(
    context: "ReadContext", path: str, position: int, target: npt.NDArray[Any]
) -> None:
    """Fill an array with bytes of a file of the cache."""
    _read_to(context, path, position, target.ctypes.data, target.nbytes)


def _read_to(
    context: "ReadContext", path: str, position: int, address: int, n_bytes: int
) -> None:
    table = np.array([[address, n_bytes]], np.uint64)
    source = context.open_source(Location(path))
    read_fully(source, position, Destinations(table), 0, 1, n_bytes)


def read_checksum(
    context: "ReadContext", path: str, position: int, n_bytes: int, seed: int
) -> int:
    """Return the checksum of bytes of a file of the cache, continued from `seed`."""
    scratch = context.scratch
    scratch.reserve_packed(n_bytes)
    _read_to(context, path, position, scratch.packed_address, n_bytes)
    return checksum(scratch.packed_address, n_bytes, seed)


def read_index(
    entry: Entry, chunks: Integers, context: "ReadContext"
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Return kind and checksum that the index has for each of some sorted chunks.

    An index that was cut short has none for those behind its end.
    """
    kinds = np.zeros(len(chunks), np.uint8)
    crcs = np.zeros(len(chunks), np.uint32)
    most = SPAN_BYTES // RECORD_BYTES
    edges = np.flatnonzero(np.diff(chunks // most)) + 1
    for first, end in itertools.pairwise([0, *edges.tolist(), len(chunks)]):
        some = chunks[first:end]
        low, high = int(some[0]), int(some[-1]) + 1
        data = np.zeros((high - low) * RECORD_BYTES, np.uint8)
        with contextlib.suppress(ShortReadError):
            read_kept(context, entry.index, low * RECORD_BYTES, data)
        records = read_records(data.data)[some - low]
        kinds[first:end] = kinds_of(records)
        crcs[first:end] = records["checksum"]
    return kinds, crcs
