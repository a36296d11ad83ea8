"""Tables as AnnData before 0.7 wrote them: one data set of records.

The first field is the index. A categorical is a field of codes, and its categories lie
in ``uns`` under the field's name and ``_categories``.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import FileFormatError
from .columns import Column, Label, LabelColumn, NumberColumn, Unreadable, text_column
from .hdf5 import Hdf5Text, Tree, is_text, text_of
from .ranges import RowArray

if TYPE_CHECKING:
    import h5py

__all__ = ["record_column", "record_columns", "record_index"]


class _Field:
    """One field of a data set of records, read by ranges through h5py."""

    def __init__(self, dataset: "h5py.Dataset", file: str, field: str) -> None:
        self.file = file
        self.name = f"{dataset.name}/{field}"
        self.shape = (int(dataset.shape[0]),)
        self.dtype: np.dtype[Any] = dataset.dtype[field].newbyteorder("=")
        self._path = dataset.name
        self._field = field

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the entries in ``[start, stop)``."""
        from .hdf5 import opened

        with opened(self.file) as root:
            values = root[self._path].fields(self._field)[start:stop]
        return np.asarray(values).astype(self.dtype, copy=False)


def record_index(dataset: "h5py.Dataset") -> str:
    """Return the field that holds the index."""
    names = dataset.dtype.names
    if not names:
        raise FileFormatError(
            f"{dataset.file.filename}: {dataset.name} is {dataset.dtype}, not a table"
        )
    return str(names[0])


def record_columns(dataset: "h5py.Dataset") -> list[str]:
    """Return the names of the columns."""
    first = record_index(dataset)
    return [str(name) for name in dataset.dtype.names or () if name != first]


def record_column(tree: Tree, dataset: "h5py.Dataset", name: str) -> Column:
    """Return one column of a table of records."""
    dtype = dataset.dtype[name]
    if is_text(dtype):
        length = int(dataset.shape[0])
        return text_column(Hdf5Text(tree.file, str(dataset.name), length, field=name))
    if dtype.kind not in "biufc" or dtype.shape:
        return Unreadable(f"it is {dtype}")
    values = _Field(dataset, tree.file, name)
    labels = _categories(tree, name) if dtype.kind in "iu" else None
    if labels is not None and _are_codes(values, len(labels)):
        return LabelColumn(values, labels)
    return NumberColumn(values)


def _categories(tree: Tree, name: str) -> list[Label] | None:
    import h5py

    found = tree.find(f"uns/{name}_categories")
    if not isinstance(found, h5py.Dataset):
        return None
    if is_text(found.dtype):
        return text_of(found) if found.ndim else [text_of_scalar(found)]
    values = np.atleast_1d(found[()])
    return list(values.tolist()) if values.dtype.kind in "biuf" else None


def text_of_scalar(dataset: "h5py.Dataset") -> str:
    """Return the text of a data set that holds one string."""
    value = dataset[()]
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _are_codes(values: RowArray, n_labels: int) -> bool:
    """Return whether a field holds codes.

    The categories may be those of a column of `var` that has the same name.
    """
    codes = values.read(0, values.shape[0])
    return bool(np.all(codes < n_labels) and np.all(codes >= -1))
