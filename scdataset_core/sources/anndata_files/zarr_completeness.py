"""Checks that a zarr store is complete: many files are easily copied in part.

zarr reads a missing file as the fill value, so no other check would find it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FileFormatError
from ...storage import StoredArray
from ...storage.formats.zarr_missing import Missing, find_missing
from ..obs.columns import Column, LabelColumn, NumberColumn
from ..obs.text import LabelText, StoredText, TextCodes
from ..ranged.cell_file import CellFile, DenseX, SparseX
from .zarr_tree import ZarrTree

if TYPE_CHECKING:
    import zarr

__all__ = ["check_whole", "describe_lacking"]

_TEXT_KINDS = "OSUT"


@dataclass(frozen=True)
class _Lacking:
    """An array some of whose chunks are missing."""

    file: str
    name: str
    fill: Any
    missing: Missing

    def __str__(self) -> str:
        missing = self.missing
        start, stop = missing.lost[0].tolist()
        return (
            f"{missing.n_lost} of {missing.n_files} of {self.file}: {self.name} (the"
            f" first is {missing.first}, elements {start} to {stop})"
        )

    def error_for(self, at: int, why: str) -> FileFormatError:
        """Return the error for missing elements that no writer would have left out."""
        missing = self.missing
        start, stop = missing.absent[at].tolist()
        what = "chunks are left out of its shards"
        if missing.n_lost:
            what = f"{missing.n_lost} of {missing.n_files} files are missing"
        return FileFormatError(
            f"{self.file}: of {self.name}, {what}, the first with elements"
            f" {start} to {stop}; {why}; the store was not copied whole, copy it again"
        )


def check_whole(part: CellFile, tree: ZarrTree) -> list[str]:
    """Check that no chunk is surely lost; return the arrays that may lack some.

    A writer leaves out chunks that hold nothing but the fill value (0, or no text).
    Whether a missing chunk is one of these can only be told from what its values would
    mean: see `docs/formats.md`.

    Parameters
    ----------
    part
        Where the parts of a store lie.
    tree
        The store; the arrays that were looked up in it are checked.

    Raises
    ------
    FileFormatError
        If a file is surely missing.
    """
    checks = dict(_checks(part))
    notices = []
    for name, array in tree.arrays.items():
        inside = name.removeprefix(tree.root.path).strip("/")
        check = checks.get(name) or _check_of(inside, array)
        missing = None if check is None else find_missing(array)
        if check is not None and missing is not None:
            fill = 0 if array.fill_value is None else array.fill_value
            lacking = _Lacking(part.file, name, fill, missing)
            if check(lacking) and missing.n_lost:
                notices.append(str(lacking))
    return notices


def describe_lacking(lacking: list[str]) -> tuple[str, ...]:
    """Return one notice of all arrays that may lack chunks, if there are any."""
    if not lacking:
        return ()
    more = f"; and {len(lacking) - 4} more arrays" if len(lacking) > 4 else ""
    return (
        f"files of chunks are not there: {'; '.join(lacking[:4])}{more}; their values"
        ' are taken to be 0 (text to be ""), which zarr leaves out; if a store was not'
        " copied whole, copy it again",
    )


# Raises if a writer cannot have left a chunk out; returns whether it may be lost.
_Check = Callable[[_Lacking], bool]


def _checks(part: CellFile) -> Iterator[tuple[str, _Check]]:
    """Yield the name of each array of X and of obs, and how it is checked."""
    x = part.x
    if isinstance(x, SparseX):
        yield x.indptr.name, lambda lacking: _check_pointers(x, lacking)
        yield x.indices.name, lambda lacking: _check_ids(x, lacking)
        yield x.data.name, _may_lack
    elif isinstance(x, DenseX):
        yield x.values.name, _may_lack
    for column in part.obs.values():
        yield from _column_checks(column)
    names = part.names
    if isinstance(names, StoredText | LabelText):
        yield names.name, _check_distinct("names of cells")


def _column_checks(column: Column) -> Iterator[tuple[str, _Check]]:
    if isinstance(column, NumberColumn):
        for array in column.arrays:
            yield array.name, _may_lack
    elif isinstance(column, LabelColumn) and isinstance(column.codes, TextCodes):
        text = column.codes.text
        if isinstance(text, StoredText):
            yield text.values.name, _may_lack
            if text.mask is not None:
                yield text.mask.name, _may_lack
    elif isinstance(column, LabelColumn):
        one = len(column.labels) == 1
        yield column.codes.name, _codes_of_one if one else _may_lack


def _check_of(path: str, array: "zarr.Array") -> _Check | None:
    """Return the check of an array outside X and obs; None if it needs none."""
    parts = path.split("/")
    if parts[-1] == "categories" or "__categories" in parts:
        return _check_distinct("categories")
    if parts[0] == "obsm":  # only the length of a data frame's index is read
        return None if array.dtype.kind in _TEXT_KINDS else _may_lack
    # Where names of cells are not wanted, only their number is read; and a mask of
    # names marks none as missing.
    if parts[0] == "obs" or parts[-1] == "mask":
        return None
    return _check_distinct("names of genes")


def _may_lack(lacking: _Lacking) -> bool:
    return True


def _codes_of_one(lacking: _Lacking) -> bool:
    """Return whether any file is there; codes of an only label, all 0, need none."""
    return lacking.missing.n_lost < lacking.missing.n_files


def _check_distinct(what: str) -> _Check:
    """Return a check of values that all differ from each other."""

    def check(lacking: _Lacking) -> bool:
        sizes = np.diff(lacking.missing.absent, axis=1)
        if int(sizes.sum()) > 1:
            raise lacking.error_for(0, f"{what} are not all the same")
        return True

    return check


def _check_pointers(x: SparseX, lacking: _Lacking) -> bool:
    """Raise if pointers would decrease, or a row would hold a column twice."""
    fill, n = int(lacking.fill), x.n_obs + 1
    doubtful = False
    for at, (start, stop) in enumerate(lacking.missing.absent.tolist()):
        before = _pointer(x.indptr, start - 1) if start else 0
        after = _pointer(x.indptr, stop) if stop < n else len(x.data)
        if not before <= fill <= after or (stop == n and fill != after):
            why = f"they would be {fill} between {before} and {after}"
            raise lacking.error_for(at, f"{why}, with {len(x.data)} stored elements")
        if after == fill or (start, stop) == (0, 1):
            continue
        # The last row of these would hold all elements up to the next pointer.
        if after - fill > x.n_vars or _repeats(x.indices, fill, after):
            raise lacking.error_for(at, f"row {stop - 1} would hold columns twice")
        doubtful = True
    return doubtful


def _pointer(indptr: StoredArray, at: int) -> int:
    return int(indptr.read(at, at + 1)[0])


def _repeats(indices: StoredArray, start: int, stop: int) -> bool:
    return len(np.unique(indices.read(start, stop))) < stop - start


def _check_ids(x: SparseX, lacking: _Lacking) -> bool:
    """Raise if missing column ids would give a row one column twice."""
    begun = np.unique(x.indptr.read(0, x.n_obs + 1).astype(np.int64))
    starts, stops = lacking.missing.absent.T
    # Rows that begin between the first element and the last: one less than elements.
    inside = np.searchsorted(begun, stops) - np.searchsorted(begun, starts, "right")
    wrong = np.flatnonzero(inside < stops - starts - 1)
    if len(wrong):
        raise lacking.error_for(
            int(wrong[0]), f"rows would hold column {lacking.fill} twice"
        )
    return x.n_vars > 1  # of one column, all ids are 0
