"""Finds the files and chunks of a zarr array that are missing.

Zarr reads a missing chunk as the fill value, and does not write chunks that hold only
that. So a file that was lost looks like one that was never written.
"""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..chunks import ABSENT
from .zarr import list_chunks, read_file_grid
from .zarr_chunks import grid_shape
from .zarr_files import count_levels, list_names, parse_numbers

if TYPE_CHECKING:
    import zarr

__all__ = ["Missing", "find_missing"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Missing:
    """Says which parts of an array are missing.

    Parameters
    ----------
    n_files
        How many files the array may have.
    n_lost
        How many of them are missing.
    first
        The name of the first of these; empty if there is none.
    lost
        Rows that lie in missing files: where runs of them start and stop, shape
        ``(n, 2)``. In a matrix in columns of chunks, all rows that lack any chunk.
    absent
        The same, with the chunks that shards leave out; found in vectors only.
    """

    n_files: int
    n_lost: int
    first: str
    lost: Integers
    absent: Integers


def find_missing(array: "zarr.Array") -> Missing | None:
    """Return which parts of an array are missing; None if none is, or none is known.

    They are found in local folders, zip files and stores that list their objects.
    """
    grid, shape = read_file_grid(array), tuple(int(size) for size in array.shape)
    if grid is None or not prod(shape):
        return None
    names = list_names(array, count_levels(grid.prefix, grid.separator, len(shape)))
    if names is None:
        return None
    files = grid_shape(shape, grid.file_shape)
    there = parse_numbers(names, grid.prefix, grid.separator, files)
    runs = _find_gaps(there, prod(files))
    per_row = prod(files[1:])
    bands = np.stack([runs[:, 0] // per_row, -(-runs[:, 1] // per_row)], axis=1)
    lost = np.minimum(bands * grid.file_shape[0], shape[0])
    absent = lost
    if grid.shards is not None and len(shape) == 1:
        table = list_chunks(array, grid)
        if table is not None:
            written = np.flatnonzero(table.offsets != ABSENT)
            rows = _find_gaps(written, len(table)) * grid.chunk_shape[0]
            absent = np.minimum(rows, shape[0])
    if not len(absent):
        return None
    first = ""
    if len(runs):
        corner = np.unravel_index(int(runs[0, 0]), files)
        first = grid.prefix + grid.separator.join(map(str, map(int, corner)))
    n_lost = int((runs[:, 1] - runs[:, 0]).sum())
    return Missing(prod(files), n_lost, first, lost, absent)


def _find_gaps(there: Integers, n: int) -> Integers:
    """Return the runs of ``range(n)`` that increasing numbers lack, ``(k, 2)``."""
    starts = np.concatenate([[0], there + 1])
    stops = np.append(there, n)
    return np.stack([starts, stops], axis=1)[starts < stops]
