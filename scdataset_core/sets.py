"""Sets: minibatches that are made of sets of cells, each of one group."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["BatchSets", "SetSizes", "Sets", "find_order", "pick_cells"]

Rows = npt.NDArray[np.int64]


class SetSizes(NamedTuple):
    """How many cells a set and its controls have.

    Parameters
    ----------
    set_size
        Cells of a set.
    control_size
        Control cells of a set; 0 where there are none.
    may_be_short
        Whether a set may have fewer cells than `set_size`.
    """

    set_size: int
    control_size: int = 0
    may_be_short: bool = False

    def count_rows(self, n_slots: int) -> int:
        """Return how many rows are read for minibatches of `n_slots` cells."""
        return n_slots + n_slots // self.set_size * self.control_size

    def check_batch_size(self, batch_size: int) -> None:
        """Raise unless a minibatch is made of whole sets."""
        if batch_size % self.set_size:
            below = batch_size // self.set_size * self.set_size
            near = f"{below} or " if below else ""
            raise ValueError(
                f"batch_size must be a multiple of set_size={self.set_size}, so that a"
                f" minibatch holds whole sets, got {batch_size}; give"
                f" {near}{below + self.set_size}"
            )


class Sets(NamedTuple):
    """Some consecutive sets of an epoch, besides the rows of their cells.

    Parameters
    ----------
    groups
        The group of each set, int32, shape ``(k,)``.
    n_cells
        Cells of each set, int64, shape ``(k,)``; they come first among its rows, and
        what follows stands in for cells that are not there.
    control
        Rows of the control cells of each set, shape ``(k, control_size)``.
    """

    groups: npt.NDArray[np.int32]
    n_cells: Rows
    control: Rows

    def part(self, first: int, stop: int) -> "Sets":
        """Return the sets from `first` up to `stop`."""
        groups, n_cells, control = self
        return Sets(groups[first:stop], n_cells[first:stop], control[first:stop])


class BatchSets(NamedTuple):
    """The sets that a minibatch is made of.

    Parameters
    ----------
    sizes
        How many cells a set and its controls have.
    groups
        The group of each set, int32, shape ``(k,)``.
    n_controls
        Control cells, which have the places after those of the minibatch.
    slots
        Where each cell stands among the ``k * set_size`` rows of the minibatch; None if
        every row has a cell.
    """

    sizes: SetSizes
    groups: npt.NDArray[np.int32]
    n_controls: int
    slots: Rows | None


def pick_cells(rows: Rows, sets: Sets, sizes: SetSizes) -> tuple[Rows, BatchSets]:
    """Return the rows that a minibatch reads: its cells, and then their controls.

    Parameters
    ----------
    rows
        The rows of the sets, shape ``(k * set_size,)``; a short set has others too.
    sets
        The sets.
    sizes
        How many cells a set and its controls have.
    """
    control = sets.control.reshape(-1)
    slots = None
    if (sets.n_cells < sizes.set_size).any():
        is_cell = np.arange(sizes.set_size) < sets.n_cells[:, None]
        slots = np.flatnonzero(is_cell).astype(np.int64, copy=False)
        rows = rows[slots]
    read = np.concatenate([rows, control]) if len(control) else rows
    return read, BatchSets(sizes, sets.groups, len(control), slots)


def find_order(slots: Rows | None, n_cells: int, n_rows: int) -> Rows:
    """Return which of some cells stands in each row, those that fill up after them.

    Parameters
    ----------
    slots
        The row of each of `n_cells` cells, increasing; None: they come first.
    n_cells, n_rows
        Cells, and rows, of which the last ``n_rows - n_cells`` cells fill up the rest.

    Examples
    --------
    >>> find_order(np.array([0, 1, 3]), 3, 5).tolist()
    [0, 1, 3, 2, 4]
    """
    order = np.arange(n_rows, dtype=np.int64)
    if slots is not None:
        order[slots] = np.arange(n_cells)
        order[np.setdiff1d(np.arange(n_rows), slots)] = np.arange(n_cells, n_rows)
    return order
