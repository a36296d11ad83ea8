"""`FileTree`: how AnnData's schema is looked up in a file, whatever its format."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from ...storage import StoredArray

__all__ = ["FileTree"]

# An h5py.Dataset or a zarr.Array: shape, ndim, dtype, attrs and [()] mean the same.
ArrayNode = Any
# An h5py.Group or a zarr.Group, which iterate over their names and have attrs.
GroupNode = Any


class FileTree(Protocol):
    """The groups and arrays of one file or store, found by path.

    Attributes
    ----------
    file : str
        Its name, for errors.
    format : str
        What AnnData calls the format: "h5ad" or "zarr".
    root : group
        The group that all paths start from.
    """

    file: str
    format: str
    root: GroupNode

    def find(self, path: str) -> ArrayNode | GroupNode | None:
        """Return what lies at `path`, or None."""
        ...

    def group(self, path: str) -> GroupNode | None:
        """Return the group at `path`, or None."""
        ...

    def dataset(self, path: str) -> ArrayNode:
        """Return the array at `path`; an error if there is none."""
        ...

    def is_array(self, node: ArrayNode | GroupNode | None) -> bool:
        """Return whether what was found is an array."""
        ...

    def is_text(self, dtype: np.dtype[Any]) -> bool:
        """Return whether arrays of a type hold text."""
        ...

    def text_key(self, array: ArrayNode) -> bytes | None:
        """Return bytes that another text has only if all its entries are the same.

        None where there are none that cost less than reading the text.
        """
        ...

    def describe_array(self, array: ArrayNode) -> StoredArray:
        """Return the description of an array by which its ranges are read."""
        ...

    def check_written(self, array: ArrayNode) -> None:
        """Raise if values that were all written cannot lie in so small a file."""
        ...

    def distinct_text(self, path: str) -> list[str] | None:
        """Return the different strings of a text, sorted, if that needs no reading."""
        ...

    def known_values(self, path: str) -> list[Any] | None:
        """Return all values of a list, as labels, if that needs no reading."""
        ...

    def any_true(self, mask: ArrayNode) -> bool | None:
        """Return whether a mask is true anywhere, if that needs no reading."""
        ...

    def last_value(self, array: ArrayNode) -> int:
        """Return the last value of a vector of integers."""
        ...

    def reopen(self) -> "AbstractContextManager[FileTree]":
        """Return the file, open, at any later time and in any process."""
        ...

    def categories_of(self, codes: ArrayNode) -> ArrayNode:
        """Return the array that the attribute ``categories`` of codes refers to."""
        ...
