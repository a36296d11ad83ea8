"""Records what a file of AnnData's schema says of its arrays, in plain values.

A record is a *skeleton*, which many files of a collection share, and the integers that
fill it: sizes, chunk shapes, addresses, and numbers of lists in a pool. What
:class:`.recorded_tree.RecordedTree` finds in it, :class:`.hdf5_tree.Hdf5Tree` would
find in the file.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError, ScdatasetError
from ...storage import StoredArray
from ..genes.shared_names import SharedNames
from ..obs.text import StoredText, decode_attribute, decode_list, find_distinct
from .data_frames import StoredFrame
from .file_tree import FileTree
from .recorded_arrays import record_array

__all__ = ["MOST_LABELS", "Pool", "Record", "record_file"]

# Attributes that say how something is encoded; others are not recorded.
_ATTRIBUTES = (
    "encoding-type",
    "h5sparse_format",
    "h5sparse_shape",
    "shape",
    "_index",
    "column-order",
    "ordered",
)
# Lists that are longer are read from their file when they are needed.
MOST_LABELS = 1 << 12
_MATRICES = ("X", "raw/X", "raw.X")
_GENES = ("var", "raw/var", "raw.var")


class Record(NamedTuple):
    """What is known of one file.

    Parameters
    ----------
    skeleton
        Groups and arrays by name, of what JSON can hold.
    integers
        What its slots stand for.
    """

    skeleton: dict[str, Any]
    integers: list[int]


class Pool:
    """Lists of labels and names, each different one kept once."""

    def __init__(self, lists: list[list[Any]] | None = None) -> None:
        self.lists = [] if lists is None else lists
        self.shared = SharedNames()
        self.of_records = SharedNames()
        self._numbers = {_key_of(one): i for i, one in enumerate(self.lists)}
        self._by_id: dict[int, int] = {}

    def add(self, values: list[Any]) -> int:
        """Return the number of a list, after adding it where it is new."""
        key = _key_of(values)
        if key not in self._numbers:
            self.lists.append(values)
            self._numbers[key] = len(self.lists) - 1
        return self._numbers[key]

    def add_names(self, frame: StoredFrame) -> int:
        """Return the number of the index of a data frame."""
        return self.number_of(frame.index(self.shared))

    def number_of(self, names: npt.NDArray[np.object_]) -> int:
        """Return the number of names that `shared` or `of_records` keeps."""
        if id(names) not in self._by_id:  # they keep it alive, and one of a kind
            self._by_id[id(names)] = self.add(names.tolist())
        return self._by_id[id(names)]


def _key_of(values: list[Any]) -> str:
    return json.dumps(values)


def record_file(tree: FileTree, pool: Pool) -> Record:
    """Return the record of an open file.

    Parameters
    ----------
    tree
        The file.
    pool
        Keeps the lists of all files.

    Raises
    ------
    FileFormatError
        If the file has a layout that is not recorded.
    """
    if "mod" in tree.root and "X" not in tree.root:
        raise FileFormatError(
            f"{tree.file}: an index holds .h5ad files, and this is an .h5mu file; open"
            " such files without an index, by their paths"
        )
    return _Recorder(tree, pool).record()


class _Recorder:
    def __init__(self, tree: FileTree, pool: Pool) -> None:
        self._tree, self._pool = tree, pool
        self._integers: list[int] = []

    def record(self) -> Record:
        members: dict[str, Any] = {}
        for path in (*_MATRICES, *self._paths("layers")):
            _put(members, path, self._node(path, depth=1))
        for path in ("obs", *self._paths("obsm")):
            _put(members, path, self._node(path, depth=2))
        for path in _GENES:
            _put(members, path, self._genes(path))
        tree = {"format": self._tree.format, "attrs": {}, "members": members}
        return Record(tree, self._integers)

    def _paths(self, folder: str) -> list[str]:
        group = self._tree.group(folder)
        return [] if group is None else [f"{folder}/{name}" for name in group]

    def _slot(self, *values: int) -> int:
        """Return the slot of the first of some integers."""
        self._integers += map(int, values)
        return len(self._integers) - len(values)

    def _node(self, path: str, *, depth: int = 0) -> dict[str, Any] | None:
        """Return the node of a group or an array, with `depth` levels below it."""
        found: Any = self._tree.find(path)
        if found is None:
            return None
        if self._tree.is_array(found):
            return self._array(path, found)
        node = {"attrs": self._attributes(found.attrs), "members": {}}
        for name in found if depth else ():
            member = self._node(f"{path}/{name}", depth=depth - 1)
            if member is not None:
                node["members"][name] = member
        return node

    def _genes(self, path: str) -> dict[str, Any] | None:
        """Return the node of a data frame of genes, of which the index is kept."""
        found = self._tree.find(path)
        if found is None:
            return None
        self._refuse_records(path, found)
        frame = StoredFrame(self._tree, path)
        name = frame.index_path.removeprefix(f"{path}/")
        node = self._node(path) or {}
        number = self._pool.add_names(frame)
        # However the names are encoded, they are kept as plain text.
        node["members"] = {
            name: {
                "name": f"/{frame.index_path}",
                "attrs": {},
                "text": True,
                "ndim": 1,
                "dtype": "|O",
                "shape": self._slot(len(self._pool.lists[number])),
                "values": self._slot(number),
            }
        }
        return node

    def _refuse_records(self, path: str, found: Any) -> None:
        if self._tree.is_array(found) and found.dtype.names:
            raise FileFormatError(
                f"{self._tree.file}: {path} is a table of records, as AnnData wrote it"
                " before version 0.7, and an index does not hold such files: write the"
                " file again with AnnData, or open the files without an index"
            )

    def _attributes(self, attrs: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in _ATTRIBUTES:
            value = attrs.get(name) if name in attrs else None
            if value is None:
                continue
            if name in ("shape", "h5sparse_shape"):
                sizes = np.asarray(value).reshape(-1).tolist()
                if all(float(size).is_integer() for size in sizes):
                    found[name] = {"slot": self._slot(*sizes), "n": len(sizes)}
                continue
            if name == "ordered":
                marks = np.asarray(value, object).reshape(-1)
                found[name] = len(marks) == 1 and bool(marks[0])
            elif name == "column-order":
                found[name] = decode_list(value, f"{self._tree.file}: column-order")
            else:
                found[name] = decode_attribute(value)
        return found

    def _array(self, path: str, array: Any) -> dict[str, Any]:
        self._refuse_records(path, array)
        node: dict[str, Any] = {"name": str(array.name)}
        node["attrs"] = self._attributes(array.attrs)
        node["text"] = self._tree.is_text(array.dtype)
        if array.shape is None:
            return {**node, "null": True}
        node["ndim"], node["dtype"] = array.ndim, _dtype_text(array, node["text"])
        node["shape"] = self._slot(*array.shape)
        if "categories" in array.attrs:
            # The categories have the place that AnnData gives them.
            node["categories"] = str(self._tree.categories_of(array).name)
        if array.ndim == 0:
            return node
        try:
            described = self._tree.describe_array(array)
            node["described"] = record_array(described, self._tree.file, self._slot)
        except ScdatasetError as error:
            return {**node, "error": str(error).removeprefix(f"{self._tree.file}: ")}
        if path.startswith("obs/") and "/" not in path.removeprefix("obs/"):
            self._add_distinct(path, node, described)
        folder, _, name = path.rpartition("/")
        if name == "categories" or folder.endswith("__categories"):
            self._add_values(node, array)
        elif name == "mask":
            node["any"] = self._slot(bool(array[()].any()))
        elif name == "indptr" and array.size:
            node["last"] = self._slot(self._tree.last_value(array))
        return node

    def _add_values(self, node: dict[str, Any], array: Any) -> None:
        """Keep the categories of a column."""
        if array.ndim != 1 or array.size > MOST_LABELS or array.dtype.kind == "V":
            return
        values = StoredFrame(self._tree, "obs").values(array)
        node["values"] = self._slot(self._pool.add(values))

    def _add_distinct(
        self, path: str, node: dict[str, Any], described: StoredArray
    ) -> None:
        """Keep the different strings of a column of text."""
        index = StoredFrame(self._tree, "obs").index_path
        if not node["text"] or node["ndim"] != 1 or path == index:
            return
        labels = find_distinct(StoredText(described), MOST_LABELS)
        if labels is not None:
            node["distinct"] = self._slot(self._pool.add(labels))


def _dtype_text(array: Any, text: bool) -> str:
    if array.dtype.kind == "O" and not text:  # references, and what else is no number
        return "|V8"
    return "|O" if text and array.dtype.kind != "S" else str(array.dtype.str)


def _put(members: dict[str, Any], path: str, node: dict[str, Any] | None) -> None:
    """Put a node into its group."""
    folder, _, name = path.rpartition("/")
    if node is None:
        return
    if folder:
        group = members.setdefault(folder, {"attrs": {}, "members": {}})
        if isinstance(group, dict):
            group["members"][name] = node
    else:
        members[name] = node
