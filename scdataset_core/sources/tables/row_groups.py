"""Tables cut into groups of rows: Parquet's row groups, Arrow's record batches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ...checks import install_command
from ...errors import CorruptFileError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Groups",
    "Rows",
    "check_sound",
    "cut_by_group",
    "import_pyarrow",
    "place_of",
]

Rows = npt.NDArray[np.int64]

_LEAST = {"datasets": [2, 19], "pyarrow": [15, 0]}  # as the extras have it


class Groups(Protocol):
    """A table in groups of rows; small, and pickles.

    Attributes
    ----------
    files
        The files, in the order of their rows.
    file_starts
        First row of each file, and the number of rows.
    decoded
        Whether reading a group decodes it; else it gives views of what is mapped.
    keeps_labels
        Whether the order of a dictionary is that of its categories.
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


def place_of(groups: Groups, row: int) -> str:
    """Return the file of a row and its number there, for messages."""
    file = int(np.searchsorted(groups.file_starts, row, side="right")) - 1
    return f"{groups.files[file]}: row {row - int(groups.file_starts[file])}"


def check_sound(array: "pa.Array | pa.ChunkedArray | pa.Table", where: str) -> None:
    """Check what a file says of its own values before Arrow uses it.

    Arrow reads offsets of text and lists, and codes of dictionaries, as they stand:
    a flipped bit in one of them ends the process.

    Parameters
    ----------
    array
        Values as a file has them.
    where
        The file and the part of it, for errors.

    Raises
    ------
    CorruptFileError
        If offsets fall or lie outside, text is not UTF-8, or a code has no label.
    """
    import pyarrow as pa

    try:
        array.validate(full=True)
    except pa.ArrowException as error:
        raise CorruptFileError(
            f"{where}: {error}; the file is damaged, restore it from its origin"
        ) from error


def import_pyarrow(extra: str, what: str, *modules: str) -> Any:  # Any: a module
    """Import modules that an extra installs, and return the first.

    Raises
    ------
    ModuleNotFoundError
        If they are not installed; it names the extra.
    ImportError
        If they are older than what is used of them.
    """
    from importlib import import_module

    try:
        found = [import_module(module) for module in modules]
    except ModuleNotFoundError as error:
        packages = [module.partition(".")[0] for module in modules]
        missing = str(error.name).partition(".")[0]
        if missing not in packages:
            raise
        raise ModuleNotFoundError(
            f"{what} need {missing}: {install_command(extra)}",
            name=missing,
        ) from error
    for module in modules:
        _check_version(module.partition(".")[0], extra, what)
    return found[0]


def _check_version(package: str, extra: str, what: str) -> None:
    from importlib import import_module

    version, least = import_module(package).__version__, _LEAST[package]
    numbers = [int(number) for number in version.split(".")[:2] if number.isdigit()]
    if numbers < least:
        raise ImportError(
            f"{what} need {package} {'.'.join(map(str, least))} or later, and {version}"
            f" is installed: {install_command(extra)}"
        )
