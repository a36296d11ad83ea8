"""Describes files of plain numbers, as `numpy.memmap` writes them, as arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import StoredArray
from ..chunks import ChunkTable
from ..decoding.pipeline import Pipeline
from ..io.identities import Identity, check_unchanged
from ..layout import ChunkGrid

__all__ = ["PartTableMaker", "describe_file", "describe_part"]


@dataclass(frozen=True)
class PartTableMaker:
    """Makes the chunk table of a part of a file: a table of a single chunk.

    Parameters
    ----------
    file
        The file.
    identity
        Identity of the file when it was described.
    offset, n_bytes
        First byte of the part, and how many it has.
    """

    file: str
    identity: Identity
    offset: int
    n_bytes: int

    def __call__(self) -> ChunkTable:
        """Return the table; the file must not have changed."""
        check_unchanged(self.file, self.identity)
        offsets, sizes = np.array([self.offset], np.int64), np.array([self.n_bytes])
        return ChunkTable((self.file,), (self.identity,), offsets, sizes)


def describe_file(path: Path, dtype: np.dtype[Any]) -> StoredArray:
    """Return all bytes of a file as a one-dimensional array.

    Parameters
    ----------
    path
        The file; bytes behind its last whole element are not read.
    dtype
        Type of the elements, with their byte order.
    """
    file = str(path.absolute())
    identity = Identity.of(file)
    return _array(file, path.name, identity, dtype, 0, identity.n_bytes)


def describe_part(whole: StoredArray, start: int, stop: int) -> StoredArray:
    """Return elements ``[start, stop)`` of an array made by :func:`describe_file`."""
    grid = whole.needed_grid
    table = grid.make_table
    assert isinstance(table, PartTableMaker)
    size = grid.stored_dtype.itemsize
    offset, n_bytes = table.offset + start * size, (stop - start) * size
    name = f"{whole.name}[{start}:{stop}]"
    return _array(whole.file, name, table.identity, grid.stored_dtype, offset, n_bytes)


def _array(
    file: str,
    name: str,
    identity: Identity,
    dtype: np.dtype[Any],
    offset: int,
    n_bytes: int,
) -> StoredArray:
    n = n_bytes // dtype.itemsize
    table = PartTableMaker(file, identity, offset, n * dtype.itemsize)
    native = dtype.newbyteorder("=")
    grid = ChunkGrid((max(n, 1),), dtype, Pipeline(), native.type(0), table)
    return StoredArray(file, name, shape=(n,), dtype=native, grid=grid, contiguous=True)
