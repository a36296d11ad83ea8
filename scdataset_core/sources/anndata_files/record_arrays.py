"""Data frames as AnnData before 0.7 wrote them: one data set of records.

The first field is the index. A categorical column is a field of codes; its categories
lie in ``uns/NAME_categories``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ...storage import StoredArray
from ..obs.columns import (
    Column,
    Label,
    LabelColumn,
    NumberColumn,
    Unreadable,
    text_column,
)
from ..obs.text import StoredText, decode_text
from ..ranged.row_arrays import RowArray
from .file_tree import FileTree

if TYPE_CHECKING:
    import h5py

__all__ = ["record_column", "record_columns", "record_index", "record_text"]


@dataclass(frozen=True)
class _Field:
    """One field of a data set of records."""

    records: StoredArray
    field: str

    @property
    def file(self) -> str:
        """The file it lies in."""
        return self.records.file

    @property
    def name(self) -> str:
        """Path of the records, and the field."""
        return f"{self.records.name}/{self.field}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of records."""
        return self.records.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the field, in native byte order."""
        return self.records.dtype[self.field].newbyteorder("=")

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the entries in ``[start, stop)``."""
        return self.records.read(start, stop)[self.field].astype(self.dtype, copy=False)


def record_text(tree: FileTree, dataset: "h5py.Dataset", field: str) -> StoredText:
    """Return a field of text, to be read by ranges."""
    return StoredText(_Field(tree.describe_array(dataset), field))


def record_index(tree: FileTree, dataset: "h5py.Dataset") -> str:
    """Return the field that holds the index."""
    names = dataset.dtype.names
    if not names:
        raise FileFormatError(
            f"{tree.file}: {dataset.name} is {dataset.dtype}, not a table"
        )
    return str(names[0])


def record_columns(tree: FileTree, dataset: "h5py.Dataset") -> list[str]:
    """Return the names of the columns."""
    first = record_index(tree, dataset)
    return [str(name) for name in dataset.dtype.names or () if name != first]


def record_column(tree: FileTree, dataset: "h5py.Dataset", name: str) -> Column:
    """Return one column of a table of records."""
    dtype = dataset.dtype[name]
    if tree.is_text(dtype):
        return text_column(record_text(tree, dataset, name))
    if dtype.kind not in "biufc" or dtype.shape:
        return Unreadable(f"it is {dtype}")
    values = _Field(tree.describe_array(dataset), name)
    labels = _categories(tree, name) if dtype.kind in "iu" else None
    if labels is not None and _are_codes(values, len(labels)):
        return LabelColumn(values, labels)
    return NumberColumn(values)


def _categories(tree: FileTree, name: str) -> list[Label] | None:
    found = tree.find(f"uns/{name}_categories")
    if found is None or not tree.is_array(found) or found.ndim > 1:
        return None
    tree.check_written(found)
    if found.ndim and found.size:
        tree.describe_array(found)  # which checks its size
    values = np.atleast_1d(np.asarray(found[()]))
    if tree.is_text(found.dtype):
        return list(decode_text(values, f"uns/{name}_categories"))
    return list(values.tolist()) if values.dtype.kind in "biuf" else None


def _are_codes(values: RowArray, n_labels: int) -> bool:
    """Return whether a field of integers holds codes of its supposed categories.

    The categories found may belong to a column of `var` that has the same name.
    """
    codes = values.read(0, values.shape[0])
    return bool(np.all(codes < n_labels) and np.all(codes >= -1))
