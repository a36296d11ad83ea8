"""The groups and arrays of a local file, parsed from its bytes: a `FileTree`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from ...errors import ScdatasetError
from ...storage import StoredArray
from ...storage.formats.declared_sizes import FREE_VALUES, ImpossibleTextError
from ...storage.formats.hdf5_files import is_written_here
from ...storage.parsed_objects import (
    NOT_PARSED,
    TEXT,
    AskLibraryError,
    ParsedArray,
    ParsedGroup,
)
from .hdf5_tree import Hdf5Tree, reopen_unchanged

__all__ = ["ParsedTree", "ask_parsed"]

T = TypeVar("T")


def ask_parsed(path: str, question: "Callable[[ParsedTree], T]") -> T | None:
    """Return the answer of a file's own bytes; None if HDF5 must be asked.

    That is so wherever something is unusual or wrong, so that there is one way in which
    a user is told. But of a text of impossible length, HDF5 must not be asked.

    Parameters
    ----------
    path
        The file.
    question
        Gets the file, which is closed afterwards.
    """
    if is_written_here():  # a program that writes is told so
        return None
    try:
        tree = ParsedTree(path)
        found = question(tree)
        tree.forget()
    except ImpossibleTextError:
        raise
    except (*NOT_PARSED, ScdatasetError, OSError):
        return None
    return found


class ParsedTree:
    """The groups and arrays of a local HDF5 file, parsed without the library.

    Whatever is not parsed raises `AskLibraryError`, and other errors of
    :data:`NOT_PARSED`.

    Parameters
    ----------
    file
        The file.
    """

    def __init__(self, file: str) -> None:
        self.format = "h5ad"
        self.file = file
        self.root: Any = ParsedGroup.root_of(file)  # None once it is let go of
        self.path, self._identity = self.root.file.path, self.root.file.identity
        self._known: dict[str, ParsedGroup | ParsedArray | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "root": None, "_known": {}}

    def forget(self) -> None:
        """Close the file and let go of what was found."""
        self.root, self._known = None, {}

    @contextmanager
    def reopen(self) -> Iterator[Hdf5Tree]:
        """Return the file, open, at any later time and in any process."""
        with reopen_unchanged(self.path, self._identity, external=False) as root:
            yield Hdf5Tree(root, self.file, allow_external=False)

    def find(self, path: str) -> ParsedGroup | ParsedArray | None:
        """Return the group or array at `path`, or None."""
        if path not in self._known:
            folder, _, name = path.rpartition("/")
            start = self.find(folder) if folder else self.root
            if name in ("", "."):  # as HDF5 reads paths
                found = start
            else:
                found = start.get(name) if isinstance(start, ParsedGroup) else None
            self._known[path] = found
        return self._known[path]

    def group(self, path: str) -> ParsedGroup | None:
        """Return the group at `path`, or None."""
        found = self.find(path)
        return found if isinstance(found, ParsedGroup) else None

    def dataset(self, path: str) -> ParsedArray:
        """Return the array at `path`."""
        found = self.find(path)
        if not isinstance(found, ParsedArray):
            raise AskLibraryError
        return found

    def is_array(self, node: Any) -> bool:
        """Return whether what was found is an array."""
        return isinstance(node, ParsedArray)

    def is_text(self, dtype: np.dtype[Any]) -> bool:
        """Return whether arrays of a type hold text."""
        return dtype == TEXT

    def text_key(self, array: ParsedArray) -> bytes | None:
        """Return bytes that only an equal text has, None where there are none."""
        return array.text_key()

    def describe_array(self, array: ParsedArray) -> StoredArray:
        """Return the description of an array by which its ranges are read."""
        return array.describe()

    def check_written(self, array: ParsedArray) -> None:
        """Leave what is so long that it may be a false claim to HDF5's tree."""
        if array.size > FREE_VALUES:
            raise AskLibraryError

    def distinct_text(self, path: str) -> None:
        """Return None: the text must be read."""

    def known_values(self, path: str) -> None:
        """Return None: the list must be read."""

    def any_true(self, mask: ParsedArray) -> None:
        """Return None: the mask must be read."""

    def last_value(self, array: ParsedArray) -> int:
        """Return the last value of a vector of integers."""
        return array.last_value()

    def categories_of(self, codes: ParsedArray) -> ParsedArray:
        """Raise: such categories are found by HDF5."""
        raise AskLibraryError
