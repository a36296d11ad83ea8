"""Blocks of rows that follow storage chunks, and what reading blocks decodes.

A block boundary costs the same wherever it falls, unless a row begins exactly where a
chunk does: both blocks decode the chunk that the boundary lies in, of the values and of
the column ids. So a block of ``L`` elements decodes ``L + C`` of an array whose chunks
hold ``C``, and only larger blocks decode less for what they use. Blocks follow the
larger of the two grids: with `k` whole chunks of it, ``1 + 1/k`` bytes are decoded for
each byte used where both are of one size, and less where the other one is smaller.
"""

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from ...storage import StoredArray
from ..rows import Rows
from .cell_file import DenseX, SparseX
from .row_pointers import find_chunk_firsts

__all__ = ["decoded_per_used", "find_block_starts", "mean_chunk_rows"]

# Elements that data in one piece is taken to be read in: about AnnData's own chunks.
_PIECE_ELEMENTS = 1 << 15


def find_block_starts(x: SparseX | DenseX, piece_rows: int) -> Rows:
    """Return the first of the rows that start inside each chunk of a file's X.

    Parameters
    ----------
    x
        X of the file.
    piece_rows
        Rows of a block where X is stored in one piece.
    """
    chunk = _followed_array(x).chunk_rows
    if isinstance(x, SparseX) and chunk is not None:
        return find_chunk_firsts(x, chunk)
    return np.arange(0, x.n_obs, chunk or piece_rows, dtype=np.int64)


def mean_chunk_rows(x: SparseX | DenseX) -> float:
    """Return the mean rows in a chunk of the grid that blocks follow, at least 1."""
    chunk = _followed_array(x).chunk_rows
    if chunk is None or isinstance(x, SparseX):
        chunk_rows = (chunk or _PIECE_ELEMENTS) / max(_per_row(x), 1.0)
    else:
        chunk_rows = float(chunk)
    return max(1.0, min(chunk_rows, x.n_obs))


def _followed_array(x: SparseX | DenseX) -> StoredArray:
    """Return the array whose chunks blocks follow.

    It is that of the values; or of the column ids, where both are decoded and theirs
    are larger, or only they have chunks.
    """
    values = x.values
    if not isinstance(x, SparseX):
        return values
    ids = x.indices
    if values.chunk_rows is None:
        return ids
    decoded = _is_decoded(values) and _is_decoded(ids)
    return ids if decoded and (ids.chunk_rows or 0) > values.chunk_rows else values


def decoded_per_used(
    xs: Sequence[SparseX | DenseX], block_rows: int | None = None, *, chunks: int = 1
) -> float | None:
    """Return the bytes that are decoded for each byte of a block that is used.

    Parameters
    ----------
    xs
        X of each file.
    block_rows
        Rows of a block that may begin anywhere; None: a block of whole storage chunks.
    chunks
        How many of them.

    Returns
    -------
    ratio
        The mean over all blocks, if no chunk is shared by two blocks of a fetch; None
        where nothing is decoded.
    """
    decoded = used = 0.0
    for x in xs:
        rows = chunks * mean_chunk_rows(x) if block_rows is None else block_rows
        rows = min(rows, x.n_obs)
        for array, per_row in _decoded_arrays(x):
            length, chunk = rows * per_row, array.chunk_rows or len(array)
            # Dense rows lie whole in a row of chunks: aligned blocks share none.
            aligned = block_rows is None and isinstance(x, DenseX)
            beyond = 0 if aligned else chunk - 1
            n = min(length + beyond, -(-len(array) // chunk) * chunk)
            weight = _row_bytes(array) * x.n_obs / max(rows, 1)
            decoded += n * weight
            used += length * weight
    return decoded / used if used else None


def _decoded_arrays(x: SparseX | DenseX) -> Iterator[tuple[StoredArray, float]]:
    """Yield the arrays that are decoded, and the elements of a row in each."""
    if isinstance(x, SparseX):
        for array in (x.data, x.indices):
            if _is_decoded(array):
                yield array, _per_row(x)
    elif _is_decoded(x.values):
        yield x.values, 1.0


def _is_decoded(array: StoredArray) -> bool:
    return array.grid is not None and bool(array.grid.pipeline)


def _row_bytes(array: StoredArray) -> int:
    return prod(array.shape[1:]) * array.dtype.itemsize


def _per_row(x: SparseX | DenseX) -> float:
    return x.n_stored / max(x.n_obs, 1)
