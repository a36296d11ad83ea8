"""Tells whether the files of an array are what they were when they were opened."""

import numpy as np
import numpy.typing as npt

from ...errors import FileChangedError
from ..chunks import ChunkTable
from ..io.byte_sources import SourceIdentity
from ..io.identities import Identity
from ..layout import ArrayLayout

__all__ = [
    "Looks",
    "check_table",
    "find_touched",
    "has_version",
    "is_touched",
]

Integers = npt.NDArray[np.int64]


def has_version(known: SourceIdentity | None) -> bool:
    """Return whether a source can be told from another one of its name and size."""
    return known is not None and getattr(known, "version", "") is not None


def find_touched(table: ChunkTable, chunks: Integers) -> npt.NDArray[np.bool_] | None:
    """Return of each chunk whether its file is not what it was; None: all are.

    A store tells itself when a source has changed; files are looked at.
    """
    if table.store is not None:
        return None
    if table.file_of is None:
        return None if _is_same(table, 0) else np.ones(len(chunks), bool)
    files, which = np.unique(table.file_of[chunks], return_inverse=True)
    touched = np.array([not _is_same(table, file) for file in files.tolist()], bool)
    return touched[which] if touched.any() else None


class Looks:
    """Looks at files once each, for chunks that were all decoded before."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], bool] = {}

    def is_unchanged(self, table: ChunkTable, chunk: int) -> bool:
        """Return whether the file of a chunk is what it was when it was opened."""
        if table.store is not None:
            return True
        file = 0 if table.file_of is None else int(table.file_of[chunk])
        key = id(table), file
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _is_same(table, file)
        return known


def _is_same(table: ChunkTable, file: int) -> bool:
    known = table.identities[file]
    return isinstance(known, Identity) and known.is_that_of(table.files[file])


def is_touched(array: ArrayLayout) -> bool:
    """Return whether an array's one file changed, but for its size and time."""
    table = array.table
    if len(table.files) != 1:
        return False
    try:
        return bool(Identity.of(table.files[0]) == table.identities[0])
    except OSError:  # it is gone, which those find out who read it
        return False


def check_table(array: ArrayLayout) -> None:
    """Raise if the chunks of a file that was touched lie elsewhere than they did.

    A new link or another mode changes the status of a file, and so does a program that
    writes it anew and sets back its time. What such a file holds must not be read by
    the old table.
    """
    old, new = array.table, array.needed_grid.make_table()
    if not (
        np.array_equal(old.offsets, new.offsets)
        and np.array_equal(old.sizes, new.sizes)
    ):
        raise FileChangedError(
            f"{array.file} was written anew since it was opened, under the size and"
            " time it had; open the source again once nothing writes to it"
        )
