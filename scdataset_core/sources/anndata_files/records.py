"""The records of a collection: in columns, so that many files take little memory."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import FileChangedError
from ...storage.io.byte_sources import SourceIdentity
from ...storage.io.identities import Identity
from ...storage.remote.identity import ObjectIdentity
from ...storage.remote.urls import is_url
from .index_files import IndexContents, read_index
from .recorded_arrays import RecordedFile
from .recorded_zarr import StoreIdentity

__all__ = ["RecordGroup", "Records"]


class RecordGroup(NamedTuple):
    """The files that share a skeleton.

    Parameters
    ----------
    files
        Their numbers, int64.
    integers
        The integers of each, shape ``(n_files, n_slots)``.
    skeleton
        The skeleton.
    """

    files: npt.NDArray[np.int64]
    integers: npt.NDArray[np.int64]
    skeleton: Mapping[str, Any]

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known of matrices and columns, see :mod:`.facts`."""
        facts: Mapping[str, Any] = self.skeleton["facts"]
        return facts

    @property
    def columns(self) -> list[str]:
        """The names of all obs columns."""
        columns: list[str] = self.skeleton["facts"]["columns"]
        return columns

    @property
    def leads_outside(self) -> bool:
        """Whether an array lies in another file."""
        return bool(self.skeleton["facts"]["outside"])


class Records:
    """The records of a collection; never changed once made.

    Parameters
    ----------
    contents
        What is known of all files.
    origin
        The file that this was read from, and its checksum. Where there is one, a
        process that gets a copy reads that file.
    """

    def __init__(
        self, contents: IndexContents, origin: tuple[str, str] | None = None
    ) -> None:
        self.contents = contents
        self._origin = origin
        self._starts = np.cumsum(contents.n_integers) - contents.n_integers
        self.files = tuple(contents.files)
        self.lists = contents.lists
        self.skeletons = contents.skeletons

    @classmethod
    def load(cls, path: str) -> "Records":
        """Return the records that a file holds."""
        contents, checksum = read_index(path)
        return cls(contents, (path, checksum))

    def __getstate__(self) -> dict[str, Any]:
        return {
            "origin": self._origin,
            "contents": None if self._origin else self.contents,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        contents, origin = state["contents"], state["origin"]
        if contents is None:
            contents, checksum = read_index(origin[0])
            if checksum != origin[1]:
                raise FileChangedError(
                    f"{origin[0]} changed since it was opened; open the index again"
                )
        self.__init__(contents, origin)  # type: ignore[misc]  # as when it was made

    def __len__(self) -> int:
        return len(self.files)

    def identity(self, number: int) -> SourceIdentity:
        """Return what a file was when it was recorded."""
        n_bytes, mtime_ns, ctime_ns = self.contents.identities[number].tolist()
        versions = self.contents.versions
        version = versions[number] if versions else None
        if version is not None and is_url(self.files[number]):
            return ObjectIdentity(n_bytes, *version)
        if version is not None:
            return StoreIdentity(n_bytes, str(version[0]))
        return Identity(n_bytes, mtime_ns, ctime_ns)

    def integers(self, number: int) -> npt.NDArray[np.int64]:
        """Return the integers of a file."""
        start = int(self._starts[number])
        stop = start + int(self.contents.n_integers[number])
        return self.contents.integers[start:stop]

    def record(self, number: int) -> RecordedFile:
        """Return the record of a file."""
        return RecordedFile(
            self.files[number],
            self.identity(number),
            self.skeletons[int(self.contents.skeleton_of[number])],
            self.integers(number),
            self.lists,
        )

    @cached_property
    def groups(self) -> list[RecordGroup]:
        """The files of each skeleton."""
        of, counts = self.contents.skeleton_of, self.contents.n_integers
        groups = []
        for number in np.unique(of).tolist():
            files = np.flatnonzero(of == number)
            n = int(counts[files[0]])
            if (counts[files] != n).any():
                raise IndexError("files of one skeleton have other numbers of integers")
            at = self._starts[files][:, None] + np.arange(n)
            groups.append(
                RecordGroup(files, self.contents.integers[at], self.skeletons[number])
            )
        return groups
