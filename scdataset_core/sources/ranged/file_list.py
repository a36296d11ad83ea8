"""The files of a source: a list that is whole, or one whose members are made late."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from ..obs.columns import Column
from ..rows import Rows
from .cell_file import CellFile, SparseX
from .row_arrays import KEPT_BYTES
from .storage_blocks import mean_chunk_rows

__all__ = ["FileFacts", "LateFiles", "View", "facts_of", "largest_kept"]

T = TypeVar("T")


@dataclass(frozen=True)
class FileFacts:
    """What a source asks of X of all files when it is made.

    Parameters
    ----------
    files
        Their paths.
    n_obs, n_stored
        Rows and stored values of each, int64.
    sparse
        Whether X of each is sparse.
    dtypes
        The types of values that there are.
    plain
        Whether none is compressed or read by a library.
    chunk_rows
        Mean rows in a storage chunk of each, float64.
    """

    files: tuple[str, ...]
    n_obs: Rows
    n_stored: Rows
    sparse: npt.NDArray[np.bool_]
    dtypes: tuple[np.dtype[Any], ...]
    plain: bool
    chunk_rows: npt.NDArray[np.float64]


class View(Sequence[T], Generic[T]):
    """A part of each file of a list, taken when it is asked for."""

    def __init__(
        self, files: Sequence[CellFile], part: Callable[[CellFile], T]
    ) -> None:
        self._files, self._part = files, part

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> "list[T]": ...
    def __getitem__(self, index: int | slice) -> "T | list[T]":
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._part(self._files[index])


class LateFiles(Sequence[CellFile]):
    """Files whose parts are located when they are first read.

    What a source must know of all of them before, the methods tell.
    """

    @property
    @abstractmethod
    def facts(self) -> FileFacts:
        """What is known of X."""

    @property
    @abstractmethod
    def var_names(self) -> Sequence[npt.NDArray[np.object_]]:
        """The names of the columns of X, one array for all files where they agree."""

    @property
    @abstractmethod
    def columns(self) -> Sequence[Mapping[str, Column]]:
        """The obs columns of each file: what they are, without a way to read them."""

    @property
    @abstractmethod
    def obs_bytes(self) -> npt.NDArray[np.int64]:
        """Bytes of every array of an obs column."""


def facts_of(cell_files: Sequence[CellFile]) -> FileFacts:
    """Return what is known of X of files."""
    if isinstance(cell_files, LateFiles):
        return cell_files.facts
    xs = [cell_file.x for cell_file in cell_files]
    return FileFacts(
        tuple(cell_file.file for cell_file in cell_files),
        np.array([x.n_obs for x in xs], np.int64),
        np.array([x.n_stored for x in xs], np.int64),
        np.array([isinstance(x, SparseX) for x in xs], bool),
        tuple(dict.fromkeys(x.dtype for x in xs)),
        all(x.values.is_plain for x in xs),
        np.array([mean_chunk_rows(x) for x in xs], np.float64),
    )


def largest_kept(n_bytes: npt.NDArray[np.int64], budget: int = KEPT_BYTES) -> int:
    """Return the largest size of array that all fit into a budget up to it."""
    sizes = np.sort(n_bytes)
    fit = int(np.searchsorted(np.cumsum(sizes), budget, side="right"))
    if fit == len(sizes):
        return int(sizes[-1]) if len(sizes) else 0
    return int(sizes[fit]) - 1
