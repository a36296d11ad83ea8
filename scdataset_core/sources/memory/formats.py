"""The objects in memory that need no library of their own: arrays, and indexed ones."""

from typing import Any

import numpy as np

from ...checks import why_not_indexed
from ..base import Source
from ..format_declaration import Format, comes_from
from ..options import OpenOptions

__all__ = ["ARRAYS", "INDEXED_OBJECTS"]


def _is_array(obj: object) -> bool:
    """Return whether an object is an array or a sparse matrix."""
    if isinstance(obj, np.ndarray):
        return True
    if not comes_from(obj, "scipy"):
        return False
    from scipy.sparse import issparse

    return bool(issparse(obj))


def _is_indexed(obj: object) -> bool:
    """Return whether an object may have rows that an array of numbers picks."""
    return why_not_indexed(obj) is None


# Any: arrays of two packages; any object.
def _open_array(array: Any, options: OpenOptions) -> Source:
    from .array_source import open_array

    return open_array(array, options)


def _open_indexed(obj: Any, options: OpenOptions) -> Source:
    from .indexed_source import IndexedSource

    return IndexedSource(obj, options)


ARRAYS = Format("an array", _is_array, _open_array)
INDEXED_OBJECTS = Format("an object indexed by row", _is_indexed, _open_indexed)
