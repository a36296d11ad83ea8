"""Where X, obs and names lie in one file of cells, whatever the format."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...storage import StoredArray
from ..contents import Container
from ..obs.columns import Column
from ..obs.text import TextArray

__all__ = ["CellFile", "DenseX", "SparseX"]


@dataclass(frozen=True)
class SparseX:
    """X as compressed sparse rows.

    Parameters
    ----------
    data, indices
        Value and column of every stored element, row after row.
    indptr
        Where each row starts among them, and their number at the end.
    n_vars
        Number of columns.
    """

    data: StoredArray
    indices: StoredArray
    indptr: StoredArray
    n_vars: int

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return self.indptr.shape[0] - 1

    @property
    def first(self) -> int:
        """Where the elements of row 0 start."""
        return 0

    @property
    def n_stored(self) -> int:
        """Number of stored elements."""
        return self.data.shape[0]

    @property
    def values(self) -> StoredArray:
        """The array that holds the values."""
        return self.data

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.data.dtype


@dataclass(frozen=True)
class DenseX:
    """X as dense rows.

    Parameters
    ----------
    values
        Shape ``(n_obs, n_vars)``; or ``(n_obs,)`` of records, one field of which is X.
    field
        That field.
    """

    values: StoredArray
    field: str | None = None

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return self.values.shape[0]

    @property
    def n_vars(self) -> int:
        """Number of columns."""
        if self.field is None:
            return self.values.shape[1]
        return int(self.values.dtype[self.field].shape[0])

    @property
    def n_stored(self) -> int:
        """Number of values."""
        return self.n_obs * self.n_vars

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        if self.field is None:
            return self.values.dtype
        return self.values.dtype[self.field].base


@dataclass(frozen=True)
class CellFile:
    """One file of cells.

    Parameters
    ----------
    file
        Its path.
    x
        Where X lies.
    var_names
        Names of the columns of X.
    obs
        The obs columns that were asked for and are there.
    names
        Names of the cells, where they were asked for.
    container
        Tells what else the file holds, where it can.
    """

    file: str
    x: SparseX | DenseX
    var_names: npt.NDArray[np.object_]
    obs: Mapping[str, Column]
    names: TextArray | None = None
    container: Container | None = None
