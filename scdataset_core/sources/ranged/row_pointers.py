"""Row pointers of sparse files: checked as they are read, never trusted."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError
from ...storage import ReadContext, StoredArray
from ..rows import Rows
from .cell_file import SparseX
from .row_arrays import Check, read_runs, windows

__all__ = ["find_chunk_firsts", "find_longest_row", "find_row_ranges", "pointers_of"]


def pointers_of(x: SparseX) -> tuple[StoredArray, Check]:
    """Return the row pointers of a file, and what checks them."""
    return x.indptr, partial(_check_pointers, x=x)


def find_row_ranges(x: SparseX, rows: Rows, context: ReadContext) -> tuple[Rows, Rows]:
    """Return where non-decreasing rows of a file start and stop among its elements."""
    array, check = pointers_of(x)
    pointers, positions = read_runs(array, rows, context, check, span=2)
    starts = pointers[positions].astype(np.int64, copy=False)
    return starts, pointers[positions + 1].astype(np.int64, copy=False)


def find_longest_row(x: SparseX) -> int:
    """Return the largest number of stored elements in a row, reading by pieces."""
    most = 0
    for start, stop in windows(x.n_obs):
        pointers = _read_piece(x, start, stop + 1)
        most = max(most, int(np.diff(pointers).max()))
    return most


def find_chunk_firsts(x: SparseX, chunk_elements: int) -> Rows:
    """Return the first of the rows that start inside each chunk of elements."""
    found, last_chunk = [], -1
    for start, stop in windows(x.n_obs):
        chunks = _read_piece(x, start, stop + 1)[:-1] // chunk_elements
        new = np.flatnonzero(np.diff(chunks, prepend=last_chunk))
        found.append(new + start)
        last_chunk = int(chunks[-1])
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _read_piece(x: SparseX, start: int, stop: int) -> npt.NDArray[np.int64]:
    return _check_pointers(x.indptr.read(start, stop), start, x=x).astype(np.int64)


def _check_pointers(
    pointers: npt.NDArray[Any], row: int, *, x: SparseX
) -> npt.NDArray[Any]:
    """Return pointers, the first that of `row`, after checking that they can be."""
    falls = pointers[1:] < pointers[:-1]
    if falls.any():
        at = int(np.argmax(falls))
        wrong = (
            f"row {row + at} starts at {pointers[at]} and ends at {pointers[at + 1]}"
        )
    elif len(pointers) and (pointers[0] < 0 or (row == 0 and pointers[0] != x.first)):
        wrong = f"row {row} starts at {pointers[0]}"
    elif len(pointers) and pointers[-1] > len(x.data):
        at = int(np.argmax(pointers > len(x.data)))
        wrong = f"row {row + at} starts or ends at {pointers[at]}"
    else:
        return pointers
    raise CorruptFileError(
        f"{x.indptr.file}: {x.indptr.name} is wrong: {wrong}, and there are"
        f" {len(x.data)} stored elements"
    )
