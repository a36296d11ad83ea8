"""Whether a zarr store is all there: a folder of many files is easily copied in part.

What is not there counts as zeros in zarr, so nothing else would tell.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileFormatError
from ..storage import StoredArray
from ..storage.zarr_tables import ZarrTable
from .layout import CellFile, DenseX, SparseX

__all__ = ["check_whole"]


def check_whole(parts: Sequence[CellFile]) -> tuple[str, ...]:
    """Check that files of X that must be there are; return a notice of what may lack.

    A writer leaves out chunks that hold nothing but zeros, so of dense rows any may
    lack, and of sparse ones a file of values, if rarely. Column ids cannot be all 0
    where a row has two of them, nor can row pointers where there are elements.

    Raises
    ------
    FileFormatError
        If a file is missing for certain.
    """
    missing = []
    for part in parts:
        if isinstance(part.x, DenseX):
            continue
        _check_pointers(part.x)
        lacks = _missing(part.x.indices)
        if len(lacks):
            _check_ids(part.x, lacks)
        missing += _described(part.x.data, _missing(part.x.data))
    if not missing:
        return ()
    return (
        f"files of X are not there: {'; '.join(missing[:4])}"
        f"{f' and {len(missing) - 4} more arrays' if len(missing) > 4 else ''}; their"
        " values are taken to be 0, which zarr leaves out; if the store was not copied"
        " whole, copy it again",
    )


def _table(array: StoredArray) -> ZarrTable | None:
    """Return where an array's files are; None for one that zarr-python reads."""
    make_table = None if array.grid is None else array.grid.make_table
    return make_table if isinstance(make_table, ZarrTable) else None


def _missing(array: StoredArray) -> npt.NDArray[np.int64]:
    table = _table(array)
    return np.empty(0, np.int64) if table is None else table.missing_files()


def _described(array: StoredArray, lacks: npt.NDArray[np.int64]) -> list[str]:
    if not len(lacks):
        return []
    table: Any = _table(array)  # Any: not None where files are missing
    return [f"{len(lacks)} of {table.n_files} of {array.file}: {array.name}"]


def _check_pointers(x: SparseX) -> None:
    n = x.n_obs
    if len(x.data) and int(x.indptr.read(n, n + 1)[0]) == 0:
        raise FileFormatError(
            f"{x.indptr.file}: {x.indptr.name} says that all rows are empty, and there"
            f" are {len(x.data)} stored elements; the store was not copied whole, copy"
            " it again"
        )


def _check_ids(x: SparseX, lacks: npt.NDArray[np.int64]) -> None:
    """Raise if a row would have the column 0 twice in a file that is missing."""
    table: Any = _table(x.indices)  # Any: not None where files are missing
    size = table.file_shape[0]
    begun = np.unique(x.indptr.read(0, x.n_obs + 1).astype(np.int64))
    starts = lacks * size
    stops = np.minimum(starts + size, len(x.indices))
    inside = np.searchsorted(begun, stops) - np.searchsorted(begun, starts, "right")
    wrong = np.flatnonzero(inside < stops - starts - 1)
    if len(wrong):
        at = wrong[0]
        raise FileFormatError(
            f"{x.indices.file}: of {x.indices.name}, {len(wrong)} of {table.n_files}"
            f" files are missing, the first with elements {starts[at]} to {stops[at]};"
            " the store was not copied whole, copy it again"
        )
