"""The cells of a source by group, and the controls that go with each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .controls import Match, find_pools
from .labels import Classes, join_classes

__all__ = ["GroupedCells", "group_cells"]

Rows = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]

_MOST_NAMED = 5  # groups that an error names


@dataclass(frozen=True)
class GroupedCells:
    """Rows by stratum: the cells of a group that agree in what controls must match.

    Parameters
    ----------
    rows
        The rows of all strata, one stratum after the other, each sorted; shape
        ``(n,)``, unsigned integers that hold them.
    starts
        Where each stratum starts in `rows`, and `n` at the end; int64.
    groups
        The group of each stratum, int32.
    controls
        The rows of the controls; unsigned integers.
    pools
        From where to where in `controls` the controls of each stratum lie, int64, shape
        ``(n_strata, 2)``. Strata with the same controls are neighbours.
    """

    rows: npt.NDArray[Any]
    starts: Rows
    groups: Codes
    controls: npt.NDArray[Any]
    pools: Rows

    @property
    def sizes(self) -> Rows:
        """Cells of each stratum."""
        return np.diff(self.starts)

    def keep(self, strata: npt.NDArray[np.bool_]) -> "GroupedCells":
        """Return some of the strata."""
        rows = self.rows[np.repeat(strata, self.sizes)]
        starts = np.concatenate([[0], np.cumsum(self.sizes[strata])]).astype(np.int64)
        groups, pools = self.groups[strata], self.pools[strata]
        return GroupedCells(rows, starts, groups, self.controls, pools)


def group_cells(
    rows: Rows,
    groups: Codes,
    n_groups: int,
    match: Match | None,
    *,
    name_group: Callable[[int], str],
) -> GroupedCells:
    """Sort cells by group, and find the controls of each group.

    Parameters
    ----------
    rows
        The row of each cell, increasing, shape ``(n,)``.
    groups
        The group of each cell; -1 for a cell of none, such as a control.
    n_groups
        The number of groups.
    match
        Which cells are controls, and what sets and controls agree in; None: there are
        no controls.
    name_group
        Says what a group is called in errors.

    Raises
    ------
    ValueError
        If no control goes with some group.
    """
    dtype = np.uint32 if not len(rows) or rows[-1] < 1 << 32 else np.uint64
    if match is None:
        strata = join_classes([groups], [n_groups])
        controls = np.empty(0, dtype)
        pools = np.zeros((len(strata.parts), 2), np.int64)
        codes = strata.codes
    else:
        classes = match.classes()
        found = np.flatnonzero(match.is_control)
        order = np.argsort(classes.codes[found], kind="stable")
        controls = rows[found[order]].astype(dtype)
        by_class = find_pools(classes, match)
        strata = join_classes([groups, classes.codes], [n_groups, len(classes.parts)])
        pools = by_class[strata.parts[:, 1]]
        _check_pools(strata.parts[:, 0], pools, name_group)
        codes, order = _put_in_order(strata.codes, np.lexsort(pools.T[::-1]))
        strata, pools = Classes(codes, strata.parts[order]), pools[order]
    n_strata = len(strata.parts)
    counts = np.bincount(codes[codes >= 0], minlength=n_strata)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    order = np.argsort(codes, kind="stable")[len(codes) - int(starts[-1]) :]
    return GroupedCells(
        rows[order].astype(dtype),
        starts,
        strata.parts[:, 0].astype(np.int32),
        controls,
        pools,
    )


def _check_pools(groups: Codes, pools: Rows, name_group: Callable[[int], str]) -> None:
    """Raise if no control goes with a stratum, naming the groups."""
    without = np.unique(groups[pools[:, 0] < 0]).tolist()
    if not without:
        return
    named = "; ".join(name_group(group) for group in without[:_MOST_NAMED])
    more = len(without) - _MOST_NAMED
    raise ValueError(
        f"no control goes with {len(without)} of the groups: {named}"
        + (f" and {more} more" if more > 0 else "")
        + "; leave their cells out with indices=, or match fewer columns"
    )


def _put_in_order(codes: Codes, order: Rows) -> tuple[Codes, Rows]:
    """Return codes of strata that are put in another order, and that order."""
    place = np.empty(len(order) + 1, np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    place[-1] = -1  # of the code -1
    return place[codes], order
