"""The description of an array that every format gives, so that it can be read."""

from typing import Any, NamedTuple

import numpy as np

from ..layout import ChunkGrid, Library

__all__ = ["Description"]


class Description(NamedTuple):
    """Describes one array of a file or store.

    Parameters
    ----------
    file, name, shape, dtype, grid, library, contiguous
        As for :class:`~..layout.ArrayLayout`.
    """

    file: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    grid: ChunkGrid | None
    library: Library | None
    contiguous: bool
