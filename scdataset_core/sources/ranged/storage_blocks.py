"""Blocks of rows that follow storage chunks, and what reading blocks decodes.

A block boundary costs the same wherever it falls, unless a row begins exactly where a
chunk does: both blocks decode the chunk that the boundary lies in, of the values and of
the column ids. So a block of ``L`` elements decodes ``L + C`` of an array whose chunks
hold ``C``, and only larger blocks decode less for what they use. Blocks follow the
larger of the two grids: with `k` whole chunks of it, ``1 + 1/k`` bytes are decoded for
each byte used where both are of one size, and less where the other one is smaller.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from ...storage import StoredArray
from ..rows import Rows
from .cell_file import DenseX, SparseX
from .row_pointers import find_chunk_firsts

__all__ = [
    "decoded_per_used",
    "decoded_per_used_aligned",
    "find_block_starts",
    "mean_chunk_rows",
]

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
        per_row = max(x.n_stored / max(x.n_obs, 1), 1.0)
        chunk_rows = (chunk or _PIECE_ELEMENTS) / per_row
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
    arrays: Sequence[StoredArray], n_cells: int, block_cells: float
) -> float:
    """Return how many bytes a shuffled read decodes for each byte that it uses.

    A run of ``n`` elements at a random place touches ``(n + c - 1) / c`` chunks of
    ``c`` elements in the mean, and each is decoded whole. That two blocks of a fetch
    may share a chunk is left out, so many blocks a fetch do a little better.

    Parameters
    ----------
    arrays
        The arrays of X.
    n_cells
        The cells in them.
    block_cells
        Cells in a block.

    Returns
    -------
    ratio
        1.0 where nothing is compressed.
    """
    used = decoded = 0.0
    for array in arrays:
        n = prod(array.shape) / max(n_cells, 1) * block_cells
        used += n * array.dtype.itemsize
        decoded += _count_decoded(array, n) * array.dtype.itemsize
    return decoded / used if used else 1.0


def decoded_per_used_aligned(x: SparseX | DenseX, chunks: int = 1) -> float:
    """Return the same for blocks of whole storage chunks of one file's X."""
    if isinstance(x, DenseX):  # its rows lie whole in their chunks
        return 1.0
    rows = chunks * mean_chunk_rows(x)
    return decoded_per_used((x.data, x.indices), x.n_obs, rows)


def _count_decoded(array: StoredArray, n: float) -> float:
    """Return the elements that are decoded in the mean for a run of `n` elements."""
    if not _is_decoded(array):
        return n
    row = prod(array.shape[1:])
    rows, chunk = n / max(row, 1), array.needed_grid.chunk_shape[0]
    n_chunks = min((rows + chunk - 1) / chunk, max(len(array) / chunk, 1.0))
    return n_chunks * chunk * row


def _is_decoded(array: StoredArray) -> bool:
    return array.grid is not None and bool(array.grid.pipeline)
