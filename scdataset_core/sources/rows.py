"""Arithmetic on row numbers: checks, the file of a row, runs of neighbours, moves."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ..checks import first_outside

__all__ = [
    "Cuts",
    "Moves",
    "RowMap",
    "Rows",
    "check_rows",
    "cut_by_file",
    "cut_runs",
    "files_of_rows",
    "files_of_sorted",
    "first_of_files",
    "scatter_values",
]

Rows = npt.NDArray[np.int64]
Cuts = list[tuple[int, int, int]]

V = TypeVar("V", bound=np.generic)


class RowMap(Protocol):
    """Some rows of a source, in any order: an int64 array is one.

    A set of rows that takes less memory than an array can stand in its place.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Rows, /) -> Rows:
        """Return the rows at non-decreasing positions."""


def check_rows(rows: npt.ArrayLike, n: int) -> Rows:
    """Return `rows` as int64 after checking their order and that `n` rows hold them."""
    array = np.asarray(rows)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            "rows must be a 1-D array of integers,"
            f" got {array.dtype} of shape {array.shape}"
        )
    outside = first_outside(array, n)
    if outside is not None:
        raise IndexError(f"row {array[outside]} is outside the source's {n} rows")
    checked = array.astype(np.int64, copy=False)
    if np.any(checked[1:] < checked[:-1]):
        at = int(np.argmax(checked[1:] < checked[:-1]))
        raise ValueError(
            f"rows must not decrease, got {checked[at]} before {checked[at + 1]};"
            " sort them, and give their order as `places`"
        )
    return checked


def cut_by_file(rows: Rows, file_starts: Rows) -> Cuts:
    """Return ``(file, start, stop)`` for each file with rows ``rows[start:stop]``."""
    if len(file_starts) == 2:
        return [(0, 0, len(rows))] if len(rows) else []
    of = files_of_sorted(rows, file_starts)
    first = first_of_files(of)  # few of many files
    columns = of[first], first, np.append(first, len(rows))[1:]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def files_of_rows(rows: Any, file_starts: Rows) -> Any:  # Any: an integer, or an array
    """Return the number of the file that each row lies in."""
    return np.searchsorted(file_starts, rows, side="right") - 1


def files_of_sorted(rows: Rows, file_starts: Rows) -> Rows:
    """Return the number of the file that each of non-decreasing rows lies in."""
    if len(file_starts) == 2:
        return np.zeros(len(rows), np.int64)
    if len(rows) < len(file_starts):  # few rows of many files
        files: Rows = files_of_rows(rows, file_starts)
        return files
    counts = np.diff(np.searchsorted(rows, file_starts))
    return np.repeat(np.arange(len(counts)), counts)


def first_of_files(files: Rows) -> Rows:
    """Return where each file stands first among numbers that do not decrease."""
    return np.flatnonzero(np.diff(files, prepend=-1))


def cut_runs(rows: Rows, gap: int) -> Rows:
    """Return where runs of close rows start among `rows`, and the number of rows.

    Parameters
    ----------
    rows
        Non-decreasing row numbers, shape ``(k,)``.
    gap
        Rows at most this far apart belong to one run, which is read at once.

    Examples
    --------
    >>> cut_runs(np.array([3, 4, 9, 30]), 5).tolist()
    [0, 3, 4]
    """
    first = [0] if len(rows) else []
    breaks = np.flatnonzero(rows[1:] - rows[:-1] > gap) + 1
    return np.concatenate([first, breaks, [len(rows)]]).astype(np.int64)


def scatter_values(values: npt.NDArray[V], places: npt.NDArray[Any]) -> npt.NDArray[V]:
    """Return an array with ``values[i]`` at ``places[i]``, a permutation."""
    out = np.empty_like(values)
    out[places] = values
    return out


class Moves(NamedTuple):
    """Runs of elements that are brought from one array into the buffers of batches.

    Parameters
    ----------
    starts, lengths
        Where each run lies, and how many elements it has; shape ``(k,)``.
    batches
        The minibatch that each run goes to.
    offsets
        Where the run goes in the buffer of that minibatch.
    """

    starts: Rows
    lengths: Rows
    batches: Rows
    offsets: Rows

    @property
    def stops(self) -> Rows:
        """Where each run ends."""
        return self.starts + self.lengths

    def join(self) -> "Moves":
        """Return the same moves, runs that stay neighbours as one.

        In a read that does not shuffle, nearly all of them do.
        """
        return self.join_in(np.zeros(len(self.starts), np.int64))[0]

    def join_in(self, files: Rows) -> "tuple[Moves, Rows]":
        """Return the same moves, runs that stay neighbours as one, and their files.

        Parameters
        ----------
        files
            The number of the file of each run, shape ``(k,)``.
        """
        starts, lengths, batches, offsets = self
        joined = (
            (starts[1:] == starts[:-1] + lengths[:-1])
            & (batches[1:] == batches[:-1])
            & (offsets[1:] == offsets[:-1] + lengths[:-1])
            & (files[1:] == files[:-1])
        )
        if not joined.any():
            return self, files
        first = np.flatnonzero(np.concatenate([[True], ~joined]))
        sizes = np.add.reduceat(lengths, first)
        moves = Moves(starts[first], sizes, batches[first], offsets[first])
        return moves, files[first]

    def copy(
        self, elements: npt.NDArray[Any], buffers: Sequence[npt.NDArray[Any]]
    ) -> None:
        """Copy the runs of `elements` into the buffers, converted to their type."""
        columns = (column.tolist() for column in self.join())
        for start, length, batch, offset in zip(*columns, strict=True):
            buffers[batch][offset : offset + length] = elements[start : start + length]
