"""The groups and arrays of a file of AnnData's schema, found in its record."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ...storage import StoredArray
from ..ranged.row_arrays import MemoryArray
from .file_tree import FileTree
from .hdf5_tree import Hdf5Tree, open_checked, reopen_unchanged
from .recorded_arrays import RecordedFile, make_array, plain_dtype
from .recorded_zarr import check_store

__all__ = ["RecordedTree"]


class _Node:
    """A group or an array of a record; what h5py's objects have, and no more."""

    def __init__(self, of: RecordedFile, node: Mapping[str, Any]) -> None:
        self.of, self.node = of, node

    @cached_property
    def attrs(self) -> dict[str, Any]:
        """The attributes that say how it is encoded."""
        found = {
            name: list(self.of.sizes(value["slot"], value["n"]))
            if isinstance(value, dict)
            else value
            for name, value in self.node["attrs"].items()
        }
        if "categories" in self.node:
            found["categories"] = self.node["categories"]
        return found


class RecordedGroup(_Node):
    """A group of a record."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.node["members"])

    def __len__(self) -> int:
        return len(self.node["members"])


class RecordedArray(_Node):
    """An array of a record."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Its shape; None if it holds nothing."""
        if self.node.get("null"):
            return None
        return self.of.sizes(self.node["shape"], self.node["ndim"])

    @property
    def size(self) -> int:
        """Its number of elements."""
        return prod(self.shape or (0,))

    @property
    def ndim(self) -> int:
        """Its number of axes."""
        return int(self.node.get("ndim", 0))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its elements."""
        return plain_dtype(self.node.get("dtype", "<f8"))

    @property
    def is_text(self) -> bool:
        """Whether it holds text."""
        return bool(self.node["text"])

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        kind = object if self.is_text else self.dtype
        if "values" in self.node:
            values = np.array(self.of.listed(self.node["values"]), kind)
        else:
            values = self.describe().read()
        chosen: npt.NDArray[Any] = values[key]
        return chosen

    def describe(self) -> StoredArray:
        """Return the array by which its ranges are read."""
        return make_array(self.of, self.node)


class RecordedTree:
    """The groups and arrays of a file, found in its record: a `FileTree`.

    Nothing of the file is read until an array is.

    Parameters
    ----------
    record
        The record.
    allow_external
        Whether arrays may lie in other files.
    """

    def __init__(self, record: RecordedFile, *, allow_external: bool) -> None:
        self.file = record.file
        self.format = str(record.skeleton["format"])
        self.root = RecordedGroup(record, record.skeleton)
        self._record = record
        self._allow_external = allow_external
        self._known: dict[str, RecordedGroup | RecordedArray | None] = {}

    def forget(self) -> None:
        """Let go of what was found."""
        self._known = {}

    def find(self, path: str) -> RecordedGroup | RecordedArray | None:
        """Return the group or array at `path`, or None."""
        if path not in self._known:
            self._known[path] = self._look_up(path)
        return self._known[path]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_known": {}}

    def _look_up(self, path: str) -> RecordedGroup | RecordedArray | None:
        node: Mapping[str, Any] | None = self._record.skeleton
        for name in path.split("/"):
            if name:
                node = None if node is None else node.get("members", {}).get(name)
        if node is None:
            return None
        if "members" in node:
            return RecordedGroup(self._record, node)
        array = RecordedArray(self._record, node)
        self._check_inside(path, node.get("described", {}))
        return array

    def _check_inside(self, path: str, described: Mapping[str, Any]) -> None:
        others = [described["outside"]] if "outside" in described else []
        others += described.get("others", [])
        if others and not self._allow_external:
            raise FileFormatError(
                f"{self.file}: {path} lies in {others[0][0]};"
                " open(..., allow_external=True) reads it"
            )

    def group(self, path: str) -> RecordedGroup | None:
        """Return the group at `path`, or None."""
        found = self.find(path)
        return found if isinstance(found, RecordedGroup) else None

    def dataset(self, path: str) -> RecordedArray:
        """Return the array at `path`; an error if there is none."""
        found = self.find(path)
        if not isinstance(found, RecordedArray):
            what = "is missing" if found is None else "is a group, not a data set"
            raise FileFormatError(f"{self.file}: {path} {what}")
        return found

    def is_array(self, node: Any) -> bool:
        """Return whether what was found is an array."""
        return isinstance(node, RecordedArray)

    def is_text(self, dtype: np.dtype[Any]) -> bool:
        """Return whether arrays of a type hold text."""
        return dtype.kind in "OS"

    def describe_array(self, array: RecordedArray) -> Any:
        """Return an array that is read by ranges: in memory where its values are."""
        if "values" in array.node:
            return MemoryArray(array[()], array.node["name"], self.file)
        return array.describe()

    def text_key(self, array: RecordedArray) -> bytes | None:
        """Return bytes that only an equal text has, None where there are none."""
        slot = array.node.get("values")
        return None if slot is None else self._record.integers[slot].tobytes()

    def check_written(self, array: RecordedArray) -> None:
        """Do nothing: this was done when the file was recorded."""

    def distinct_text(self, path: str) -> list[str] | None:
        """Return the different strings of a text, where they are known."""
        found = self.find(path)
        slot = None if found is None else found.node.get("distinct")
        return None if slot is None else self._record.listed(slot)

    def known_values(self, path: str) -> list[Any] | None:
        """Return all values of a list, where they are known."""
        found = self.find(path)
        slot = None if found is None else found.node.get("values")
        return None if slot is None else self._record.listed(slot)

    def any_true(self, mask: RecordedArray) -> bool | None:
        """Return whether a mask is true anywhere, where that is known."""
        slot = mask.node.get("any")
        return None if slot is None else bool(self._record.integers[slot])

    def last_value(self, array: RecordedArray) -> int:
        """Return the last value of a vector of integers."""
        slot = array.node.get("last")
        if slot is not None:
            return int(self._record.integers[slot])
        return int(array[-1])

    @contextmanager
    def reopen(self) -> Iterator[FileTree]:
        """Return the file itself, open."""
        external, store = self._allow_external, self._record.store
        if self.format == "zarr":
            from .zarr_sources import open_store
            from .zarr_tree import ZarrTree

            record = self._record
            check_store(self.file, record.identity, record.skeleton)
            yield ZarrTree(open_store(self.file), self.file)
            return
        if store is not None:
            with open_checked(self.file, store) as root:
                yield Hdf5Tree(root, self.file, allow_external=False, store=store)
            return
        identity = self._record.identity
        with reopen_unchanged(self.file, identity, external=external) as root:
            yield Hdf5Tree(root, self.file, allow_external=external)

    def categories_of(self, codes: RecordedArray) -> RecordedArray:
        """Return the array of categories that codes of AnnData 0.7 refer to."""
        return self.dataset(codes.node["categories"])
