"""`Groups`: a table in groups of rows, as Parquet's row groups or Arrow's batches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Groups",
    "Rows",
    "cut_by_group",
    "name_row",
]

Rows = npt.NDArray[np.int64]


class Groups(Protocol):
    """A table in groups of rows; small, and pickles.

    Attributes
    ----------
    files
        The files, in the order of their rows.
    file_starts
        First row of each file, and the number of rows.
    decoded
        Whether reading a group decodes it; if not, reading gives views of mapped files.
    keeps_labels
        Whether dictionaries keep the order of their categories.
    """

    files: tuple[str, ...]
    file_starts: Rows
    decoded: bool
    keeps_labels: bool

    @property
    def starts(self) -> Rows:
        """First row of each group, and the number of rows."""

    @property
    def schema(self) -> "pa.Schema":
        """The columns of the table and their types."""

    def check(self, rows: Rows) -> None:
        """Raise if a file that holds some of non-decreasing rows has changed."""

    def read(self, group: int, columns: Sequence[str]) -> "list[pa.Array]":
        """Return columns of one group, each as one array."""

    def n_elements(self, column: str) -> int:
        """Return how many elements the lists of a column have, or nearly."""

    def n_missing(self, column: str, first: int, last: int) -> int | None:
        """Return how many values of groups first to last are null, if that is known."""


def cut_by_group(rows: Rows, starts: Rows) -> list[tuple[int, int, int]]:
    """Return ``(group, start, stop)`` for each group with rows ``rows[start:stop]``."""
    if not len(rows):
        return []
    group = np.searchsorted(starts, rows, side="right") - 1
    first = np.flatnonzero(np.diff(group, prepend=-1))
    stops = np.append(first[1:], len(rows))
    return list(zip(group[first].tolist(), first.tolist(), stops.tolist(), strict=True))


def name_row(groups: Groups, row: int) -> str:
    """Return the file of a row and its number there, for messages."""
    file = int(np.searchsorted(groups.file_starts, row, side="right")) - 1
    return f"{groups.files[file]}: row {row - int(groups.file_starts[file])}"
