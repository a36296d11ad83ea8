"""Controls: which cells are controls, and which of them go with a set of cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import count_rows
from .labels import Classes, join_classes
from .listed_rows import copy_frozen
from .row_sets import RowSet

__all__ = [
    "Control",
    "Match",
    "check_control",
    "check_match",
    "find_controls",
    "find_pools",
]

Rows = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Control = Mapping[str, Any] | RowSet | npt.NDArray[Any]


def check_control(
    control: Mapping[str, Any] | RowSet | npt.ArrayLike | None,
) -> Control | None:
    """Return what says which cells are controls, in memory of its own."""
    if control is None or isinstance(control, RowSet):
        return control
    if isinstance(control, Mapping):
        if not control:
            raise ValueError('control must name a column, such as {"drug": "DMSO"}')
        return dict(control)
    if isinstance(control, str):
        raise TypeError(
            f"control must give labels by obs column, got {control!r}; such as"
            f' control={{"drug": {control!r}}}'
        )
    return copy_frozen(np.asarray(control))


def check_match(match: str | Sequence[str]) -> tuple[str, ...]:
    """Return the columns in which sets and controls agree."""
    columns = (match,) if isinstance(match, str) else tuple(match)
    for column in columns:
        if not isinstance(column, str):
            raise TypeError(f"match must be names of obs columns, got {column!r}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"match must not name a column twice, got {list(columns)}")
    return columns


def find_controls(source: Any, control: Control | None) -> npt.NDArray[np.bool_] | None:
    """Return which rows of the source are controls, or None if none are asked for."""
    if control is None:
        return None
    n = count_rows(source)
    if not isinstance(control, Mapping):
        return RowSet.of(n, control).mask(0, n)
    if not hasattr(source, "where"):
        raise TypeError(
            f"control={control!r} names obs columns, and a {type(source).__name__} has"
            " none; give a mask of all rows"
        )
    found: RowSet = source.where(**control)
    return found.mask(0, n)


@dataclass(frozen=True)
class Match:
    """What a set and its controls must agree in.

    Parameters
    ----------
    is_control
        Whether each cell is a control, shape ``(n,)``.
    columns
        The codes of each column, int32, shape ``(n,)``; -1 is missing, and agrees with
        nothing.
    sizes
        How many codes each column has.
    n_kept
        Columns that are not given up where no control agrees in all of them: 0 or 1.
    """

    is_control: npt.NDArray[np.bool_]
    columns: Sequence[Codes]
    sizes: Sequence[int]
    n_kept: int

    def classes(self) -> Classes:
        """Return the combinations of labels that come; 0 stands for a missing one."""
        if not self.columns:
            n = len(self.is_control)
            return Classes(np.zeros(n, np.int32), np.zeros((1, 0), np.int32))
        shifted = [column + np.int32(1) for column in self.columns]
        return join_classes(shifted, [size + 1 for size in self.sizes])


def find_pools(classes: Classes, match: Match) -> Rows:
    """Return which of the sorted controls go with each combination of labels.

    The controls are sorted by their combination, so that those that agree in the first
    columns are neighbours. Where none agree in all columns, the last ones are given up
    one by one.

    Returns
    -------
    pools
        From where to where they lie, shape ``(n_classes, 2)``; -1 where there are none.
    """
    parts = classes.parts
    n_classes, n_columns = parts.shape
    counts = np.bincount(classes.codes[match.is_control], minlength=n_classes)
    reached = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    pools = np.full((n_classes, 2), -1, np.int64)
    for n_matched in range(n_columns, match.n_kept - 1, -1):
        prefix = parts[:, :n_matched]
        changes = (prefix[1:] != prefix[:-1]).any(axis=1)
        first = np.flatnonzero(np.concatenate([[True], changes]))
        last = np.append(first[1:], n_classes)
        run = np.cumsum(np.concatenate([[0], changes]))
        ranges = np.column_stack([reached[first], reached[last]])[run]
        agree = (ranges[:, 1] > ranges[:, 0]) & (prefix > 0).all(axis=1)
        found = (pools[:, 0] < 0) & agree
        pools[found] = ranges[found]
    return pools
