"""Minibatches that have been read and not made yet."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from .plan import Fetch
from .sets import BatchSets

__all__ = ["PendingBatch", "find_stops", "pend"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PendingBatch:
    """A minibatch that has been read and not made yet.

    Parameters
    ----------
    data
        What the fetch read, or the minibatch itself where `positions` is None.
    positions
        Where the minibatch stands in `data`.
    n_cells
        Its rows.
    sets
        The sets that it is made of, if it is.
    control
        The controls of the sets.
    """

    data: Any
    positions: Rows | None
    n_cells: int
    sets: BatchSets | None = None
    control: "PendingBatch | None" = None

    @property
    def n_read(self) -> int:
        """Rows of the minibatch and of its controls."""
        return self.n_cells + (0 if self.control is None else self.control.n_cells)

    def detach(self) -> "PendingBatch":
        """Return a copy whose minibatch shares no memory with that of this one."""
        if self.positions is not None:  # taking the minibatch copies it
            return self
        control = None if self.control is None else self.control.detach()
        return replace(self, data=self.data.copy(), control=control)


def pend(
    fetch: Fetch, part: Callable[[int, int], tuple[Any, Rows | None]]
) -> deque[PendingBatch]:
    """Return the minibatches of a fetch.

    Parameters
    ----------
    fetch
        The fetch.
    part
        Returns what has the places from one to another: the data, and where in the data
        they stand; None: they are the data.
    """
    pending: deque[PendingBatch] = deque()
    for batch, sets in zip(fetch.batches, fetch.sets or repeat(None), strict=False):
        start, stop, control = batch.start, batch.stop, None
        if sets is not None and sets.n_controls:
            n_controls = sets.n_controls
            control = PendingBatch(*part(stop, stop + n_controls), n_controls)
        pending.append(PendingBatch(*part(start, stop), stop - start, sets, control))
    return pending


def find_stops(fetch: Fetch) -> list[int]:
    """Return the places where the cells of each minibatch stop, and its controls."""
    stops = []
    for batch, sets in zip(fetch.batches, fetch.sets or repeat(None), strict=False):
        stops.append(batch.stop)
        if sets is not None and sets.n_controls:
            stops.append(batch.stop + sets.n_controls)
    return stops
