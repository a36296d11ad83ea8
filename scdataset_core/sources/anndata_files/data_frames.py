"""The data frames of AnnData's schema, as every version of AnnData writes them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError, MissingNameError, nearest
from ...storage import StoredArray
from ..genes.shared_names import SharedNames
from ..obs.columns import (
    Column,
    Label,
    LabelColumn,
    NumberColumn,
    Unreadable,
    check_length,
    text_column,
)
from ..obs.text import (
    LabelText,
    StoredText,
    TextArray,
    decode_attribute,
    decode_list,
    decode_text,
)
from .cell_names import CellNames
from .file_tree import FileTree
from .record_arrays import record_column, record_columns, record_index, record_text

__all__ = ["StoredFrame"]


class StoredFrame:
    """A data frame in a file of AnnData's schema: ``obs``, ``var``, ``raw/var``.

    AnnData 0.7 and later write it as a group, with a data set or a group for each
    column; earlier versions write one data set of records.

    Parameters
    ----------
    tree
        The file.
    path
        Path of the data frame.
    """

    def __init__(self, tree: FileTree, path: str) -> None:
        found = tree.find(path)
        if found is None:
            raise FileFormatError(
                f'{tree.file}: there is no "{path}": not a file of AnnData'
            )
        self._tree, self._path = tree, path
        self._records = found if tree.is_array(found) else None
        self._group = None if tree.is_array(found) else found

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in order."""
        if self._records is not None:
            return record_columns(self._tree, self._records)
        assert self._group is not None
        order = self._group.attrs.get("column-order")
        if order is None:
            index = self.index_path.removeprefix(f"{self._path}/")
            return [n for n in self._group if n not in (index, "__categories")]
        return decode_list(order, f"{self._path}: column-order")

    @property
    def index_path(self) -> str:
        """Path of the index, of a data frame that is a group."""
        assert self._group is not None
        name = decode_attribute(self._group.attrs.get("_index", "_index"))
        for candidate in (name, "index"):
            if self._tree.find(f"{self._path}/{candidate}") is not None:
                return f"{self._path}/{candidate}"
        raise FileFormatError(f'{self._tree.file}: {self._path} has no index "{name}"')

    def index_text(self) -> TextArray:
        """Return the index as text that is read by ranges."""
        if self._records is not None:
            return record_text(
                self._tree, self._records, record_index(self._tree, self._records)
            )
        path = self.index_path
        text = self._text(path)
        if text is not None:
            return text
        column = self._column_at(path)
        if isinstance(column, LabelColumn):
            return LabelText(column.codes, tuple(map(str, column.labels)))
        if isinstance(column, NumberColumn):
            return StoredText(column.values, column.mask)
        raise FileFormatError(
            f"{self._tree.file}: {path} cannot be names: {column.reason}"
        )

    def index(self, shared: SharedNames | None = None) -> npt.NDArray[np.object_]:
        """Return the whole index, as strings; one of `shared`, where that is given."""

        def read() -> npt.NDArray[np.object_]:
            text = self._checked_index()
            # pandas gives a missing name as "nan" too.
            names = ["nan" if x is None else x for x in text.read(0, len(text))]
            return np.array(names, object)

        return read() if shared is None else shared.get(self._index_key(), read)

    def names(self) -> CellNames:
        """Return the index as names that are compared in pieces."""
        return CellNames(self._checked_index())

    def _checked_index(self) -> TextArray:
        text = self.index_text()
        if self._group is not None:
            self._check_written(self.index_path)
        return text

    def _index_key(self) -> bytes | None:
        """Return bytes that only an equal index has, None where there are none."""
        if self._group is None:
            return None
        found: Any = self._tree.find(self.index_path)  # Any: an array where is_array
        is_text = self._tree.is_array(found) and found.ndim == 1
        return self._tree.text_key(found) if is_text else None

    def column(self, name: str) -> Column:
        """Return the column called `name`."""
        if self._records is not None:
            return record_column(self._tree, self._records, name)
        return self._column_at(f"{self._path}/{name}")

    def columns(self, wanted: tuple[str, ...] | bool, n_rows: int) -> dict[str, Column]:
        """Return the columns called `wanted`, or all for True, checked for length."""
        known = self.column_names
        if wanted is True:
            return {name: self._column_or_why(name, n_rows) for name in known}
        columns = {}
        for name in wanted or ():
            if name not in known:
                raise MissingNameError(
                    f'{self._tree.file}: there is no obs column "{name}";'
                    f" {nearest(name, known)}"
                )
            columns[name] = self._column_of_length(name, n_rows)
        return columns

    def _column_of_length(self, name: str, n_rows: int) -> Column:
        column = self.column(name)
        if not isinstance(column, Unreadable):
            for array in column.arrays:
                check_length(array, n_rows)
        return column

    def _column_or_why(self, name: str, n_rows: int) -> Column:
        """Return a column, or the reason why it is unreadable: others can be read."""
        try:
            return self._column_of_length(name, n_rows)
        except FileFormatError as error:
            return Unreadable(str(error).removeprefix(f"{self._tree.file}: "))

    def _column_at(self, path: str) -> Column:
        found = self._tree.find(path)
        if found is None:
            raise FileFormatError(f"{self._tree.file}: {path} is missing")
        text = self._text(path)
        if text is not None:
            return text_column(text, self._tree.distinct_text(path))
        if self._tree.is_array(found):
            if "categories" in found.attrs:
                return self._referenced_categorical(found)
            if found.ndim != 1 or found.dtype.kind not in "biufc":
                return Unreadable(f"it is {found.dtype} of shape {found.shape}")
            return NumberColumn(self._tree.describe_array(found))
        return self._encoded_column(found, path)

    def _encoded_column(self, group: Any, path: str) -> Column:
        encoding = _encoding_of(group)
        if encoding == "categorical":
            codes = self._tree.describe_array(self._tree.dataset(f"{path}/codes"))
            labels = self._labels(f"{path}/categories")
            return _label_column(codes, labels, _is_ordered(group))
        if encoding in ("nullable-integer", "nullable-boolean"):
            values = self._tree.dataset(f"{path}/values")
            mask = self._tree.dataset(f"{path}/mask")
            return NumberColumn(
                self._tree.describe_array(values),
                self._tree.describe_array(mask),
                self._tree.any_true(mask),
            )
        return Unreadable(f"it is encoded as {encoding!r}")

    def _text(self, path: str) -> StoredText | None:
        """Return the text at `path` (a data set, or values with a mask), or None."""
        found, mask = self._tree.find(path), None
        if found is not None and not self._tree.is_array(found):
            if _encoding_of(found) != "nullable-string-array":
                return None
            mask = self._tree.describe_array(self._tree.dataset(f"{path}/mask"))
            found = self._tree.dataset(f"{path}/values")
        if found is None or found.ndim != 1 or not self._tree.is_text(found.dtype):
            return None
        return StoredText(self._tree.describe_array(found), mask)

    def _check_written(self, path: str) -> None:
        """Raise if the different values at `path` cannot all lie in the file."""
        found = self._tree.find(path)
        if not self._tree.is_array(found):
            found = self._tree.find(f"{path}/values")
        if self._tree.is_array(found):
            self._tree.check_written(found)

    def _labels(self, path: str) -> list[Label]:
        known = self._tree.known_values(path)
        if known is not None:
            return known
        text = self._text(path)
        self._check_written(path)
        # The open handle is used, so that the file is not opened once more for this.
        handle = text is not None and text.mask is None and self._tree.format == "h5ad"
        if text is not None and not handle:
            return list(text.read(0, len(text)))
        return self.values(self._tree.dataset(path))

    def values(self, array: Any) -> list[Label]:
        """Return all values of a small array; text comes as strings."""
        if array.shape is None:  # HDF5's null, which some write for an empty list
            return []
        if array.ndim > 1:
            raise FileFormatError(
                f"{self._tree.file}: the categories of a column of {self._path} have"
                f" the shape {array.shape}, expected a list"
            )
        self._tree.check_written(array)
        if array.ndim and array.size:
            described = self._tree.describe_array(array)  # which checks its size
            if self._tree.format == "zarr":  # whose text is checked where it is read
                return self._as_labels(described.read(0, described.shape[0]), array)
            if isinstance(described, StoredArray):  # what an index holds is known
                described.check_lengths()
        return self._as_labels(array[()], array)

    def _as_labels(self, read: Any, array: Any) -> list[Label]:
        values = np.atleast_1d(np.asarray(read))
        if self._tree.is_text(array.dtype):
            return list(decode_text(values.astype(object), self._path))
        return list(values.tolist())

    def _referenced_categorical(self, codes: Any) -> Column:
        """Return a categorical of AnnData 0.7, which refers to its categories."""
        found = self._tree.categories_of(codes)
        return _label_column(
            self._tree.describe_array(codes), self.values(found), _is_ordered(found)
        )


def _encoding_of(group: Any) -> str | None:
    """Return the encoding that a group is marked with, or None if it has no mark."""
    encoding = group.attrs.get("encoding-type")
    return None if encoding is None else decode_attribute(encoding)


def _is_ordered(node: Any) -> bool:
    """Return whether labels have an order; programs in R mark it by an array of one."""
    marks = np.asarray(node.attrs.get("ordered", False), object).reshape(-1)
    return len(marks) == 1 and bool(marks[0])


def _label_column(codes: StoredArray, labels: list[Label], ordered: bool) -> Column:
    if codes.dtype.kind not in "iu":
        return Unreadable(f"its codes are {codes.dtype}")
    if len(set(labels)) != len(labels):
        return Unreadable("its categories are not different from each other")
    return LabelColumn(codes, labels, ordered)
