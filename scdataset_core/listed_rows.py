"""The base of the strategies: an optional set of rows, its state and its repr."""

import copy
import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .cell_labels import CellLabels
from .checks import count_rows, digest
from .orders import Rows, Subset
from .row_sets import RowSet
from .weights_by_class import WeightsByClass

__all__ = ["ListedRows", "copy_frozen"]


# From so many rows on, an array is packed into bits: 8 MB of it.
_MANY_ROWS = 1 << 20


def copy_frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy that cannot be written to.

    A user who changes an array after giving it must not change the rows that some of
    the processes draw.
    """
    copied = array.copy()
    copied.flags.writeable = False
    return copied


class PackedRows(RowSet):
    """Rows that a user gave as an array, held in a bit each.

    It ends with the last of them, since the source is not known yet.
    """

    def check_n_rows(self, n_rows: int) -> None:
        """Raise unless a source of `n_rows` rows has all of them."""
        if n_rows < self.n_rows:
            raise ValueError(
                f"indices must be below the number of rows, {n_rows},"
                f" got {self.n_rows - 1}"
            )


class ListedRows:
    """Base of the strategies, which take an optional set of the rows to use.

    Parameters
    ----------
    indices
        Rows to use, all by default: a RowSet, which is kept as it is, or an array,
        which is kept as a copy; many rows in a bit each, if that takes less memory.
    """

    def __init__(self, indices: RowSet | npt.ArrayLike | None) -> None:
        self._sorting: Rows | None = None
        self.indices = None if indices is None else self._check_indices(indices)

    def _check_indices(self, indices: RowSet | npt.ArrayLike) -> RowSet | Rows:
        if isinstance(indices, RowSet):
            if not len(indices):
                raise ValueError(
                    f"indices must not be empty, got {indices!r}: no row is left to"
                    " draw"
                )
            return indices
        if np.ma.is_masked(indices):  # NumPy would forget what is masked
            raise ValueError(
                "indices must not be masked; give indices.compressed() for the rows"
                " that are not"
            )
        array = np.asarray(indices)
        if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
            hint = "; give np.flatnonzero(mask)" if array.dtype == bool else ""
            if isinstance(indices, Mapping):
                hint = f"; give one of the parts: {', '.join(map(str, indices))}"
            raise ValueError(
                "indices must be a non-empty 1-D array of integers,"
                f" got {array.dtype} of shape {array.shape}{hint}"
            )
        rows = array.astype(np.int64, copy=False)
        if np.any(rows[1:] < rows[:-1]):
            warnings.warn(
                "indices were not sorted; they have been sorted, since rows are read"
                " in the order of the file",
                UserWarning,
                stacklevel=4,
            )
            self._sorting = np.argsort(rows, kind="stable")
            rows = rows[self._sorting]
        if rows[0] < 0:
            raise ValueError(f"indices must not be negative, got {rows[0]}")
        repeated = rows[1:][rows[1:] == rows[:-1]]
        if len(repeated):
            raise ValueError(
                f"indices must not repeat a row, got {repeated[0]} more than once; to"
                " draw cells more often use BlockWeightedSampling"
            )
        if len(rows) >= _MANY_ROWS and rows[-1] // 8 < rows.nbytes // 4:
            return PackedRows.of(int(rows[-1]) + 1, rows)
        return copy_frozen(rows)

    def _subset(self, source: Any) -> Subset:
        n = count_rows(source)
        if isinstance(self.indices, RowSet):
            self.indices.check_n_rows(n)
        elif self.indices is not None and self.indices[-1] >= n:
            raise ValueError(
                f"indices must be below the number of rows, {n}, got {self.indices[-1]}"
            )
        return Subset(n, self.indices)

    def _take_labels(self, given: Any, name: str) -> CellLabels | None:
        """Return the labels that a user gave, for each row or each of `indices`."""
        if given is None:
            return None
        labels = CellLabels(given, name)
        if labels.length is None or self.indices is None:
            return labels
        if labels.length < len(self.indices):
            raise ValueError(
                f"{name} must have a label for every row or for each of the"
                f" {len(self.indices)} indices, got {labels.length}"
            )
        if self._sorting is not None and labels.length == len(self._sorting):
            labels.sort(self._sorting)
        return labels

    def _is_for_listed(self, parts: npt.NDArray[Any], source: Any, name: str) -> bool:
        """Return whether there is a part for each of `indices`, not for every row.

        Raises
        ------
        ValueError
            If there is neither.
        """
        n = count_rows(source)
        if len(parts) == n:
            return False
        if self.indices is not None and len(parts) == len(self.indices):
            return True
        listed = "" if self.indices is None else f" or the {len(self.indices)} indices"
        raise ValueError(
            f"{name} must have a label for each of the {n} rows{listed}, got"
            f" {len(parts)}"
        )

    def restrict(self, rows: RowSet) -> Self:
        """Return the same strategy for these rows of the source only.

        Parameters
        ----------
        rows
            The rows, such as a part of a split.

        Raises
        ------
        ValueError
            If `rows` are none, or the strategy has `indices` of its own.

        Examples
        --------
        >>> from scdataset_core import RowSet, Streaming
        >>> rows = RowSet.of(9, [2, 5])
        >>> Streaming().restrict(rows).order(range(9), seed=0, epoch=0).rows(0, 2)
        array([2, 5])
        """
        if self.indices is not None:
            raise ValueError(
                f"{self!r} has indices already; leave them out, or give it"
                " those of the part, indices=parts[...]"
            )
        other = copy.copy(self)
        other.indices = other._check_indices(rows)
        return other

    def describe(self, source: Any) -> dict[str, Any]:
        """Return what a state keeps of the strategy: JSON values, rows as digests.

        A RowSet has the digest of the array of its rows, so that one stands for the
        other when a run is resumed.
        """
        parts = {name: _plain(value) for name, value in vars(self).items()}
        public = {name: part for name, part in parts.items() if name[0] != "_"}
        return {"name": type(self).__name__, **public}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_sorting": None}  # of no use after the construction

    def __repr__(self) -> str:
        shown = (
            f"{name}={_short(value)}"
            for name, value in vars(self).items()
            if name[0] != "_" and value is not None
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def __setstate__(self, state: dict[str, Any]) -> None:
        for part in state.values():
            if isinstance(part, np.ndarray):  # pickle loses that it is not written to
                part.flags.writeable = False
        vars(self).update(state)


def _plain(value: object) -> object:
    if isinstance(value, RowSet | WeightsByClass):
        return value.digest()
    if isinstance(value, np.ndarray):
        return digest(value)
    return value.item() if isinstance(value, np.generic) else value


def _short(value: object) -> str:
    if isinstance(value, RowSet) and not isinstance(value, PackedRows):
        return f"<{len(value):,} of {value.n_rows:,} rows>"
    if isinstance(value, np.ndarray | WeightsByClass | PackedRows):
        return f"<{len(value):,} values>"
    return repr(value)
