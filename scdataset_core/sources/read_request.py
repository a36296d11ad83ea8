"""What one read is asked for: which rows, and where each of them goes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from ..checks import first_outside
from ..form import Form
from ..kept_property import kept_property
from .rows import Rows, scatter_values

if TYPE_CHECKING:
    from ..storage import ReadContext

__all__ = ["ReadRequest"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ReadRequest:
    """The rows that one read brings into memory, and where each of them goes.

    One read fills one or more minibatches, each with buffers of its own. A place is a
    position in the concatenation of these minibatches.

    Parameters
    ----------
    rows
        Row numbers of the source, int64, shape ``(k,)``, non-decreasing; the source
        has checked that it has these rows.
    places
        The place of each row, shape ``(k,)``: a permutation of ``range(k)``.
    bounds
        The first place of each minibatch, and `k` at the end.
    form
        How X is laid out.
    context
        Threads, buffers and counters for the read.

    Raises
    ------
    ValueError
        If `places` is no permutation, or `bounds` do not cut it into minibatches.
    """

    rows: Rows
    places: Rows
    bounds: Rows
    form: Form
    context: "ReadContext"

    def __post_init__(self) -> None:
        # Readers compute addresses from these: a place that no row goes to would leave
        # memory in a minibatch that was never written.
        object.__setattr__(self, "places", _check_places(self.places, len(self.rows)))
        _check_bounds(self.bounds, len(self.rows))

    @property
    def n_batches(self) -> int:
        """Number of minibatches that the read fills."""
        return len(self.bounds) - 1

    @kept_property
    def batch_sizes(self) -> list[int]:
        """Number of rows of each minibatch."""
        sizes: list[int] = np.diff(self.bounds).tolist()
        return sizes

    @kept_property
    def batch_of_row(self) -> Rows:
        """For each of `rows`, the number of the minibatch that it goes to."""
        found = np.searchsorted(self.bounds, self.places, side="right") - 1
        return found.astype(np.int64, copy=False)

    @kept_property
    def position_of_row(self) -> Rows:
        """For each of `rows`, its position in the minibatch that it goes to."""
        return self.places - self.bounds[self.batch_of_row]

    @kept_property
    def rows_by_place(self) -> Rows:
        """The row at each place."""
        return scatter_values(self.rows, self.places)

    def batch_rows(self, batch: int) -> Rows:
        """Return the rows of one minibatch, in its order."""
        return self.rows_by_place[self.bounds[batch] : self.bounds[batch + 1]]

    def for_rows(self, rows: Rows) -> "ReadRequest":
        """Return this request for other rows: `rows[i]` in place of ``self.rows[i]``.

        Parameters
        ----------
        rows
            Row numbers of another source, in any order; they are sorted, and each
            keeps its place.
        """
        if np.all(rows[1:] >= rows[:-1]):
            return replace(self, rows=rows)
        order = np.argsort(rows, kind="stable")
        return replace(self, rows=rows[order], places=self.places[order])

    def make_batches(self, make: Callable[[int], T]) -> list[T]:
        """Return ``make(i)`` for each minibatch i, made on the threads of the read."""
        out: list[T | None] = [None] * self.n_batches

        def run(batch: int) -> None:
            out[batch] = make(batch)

        self.context.run([partial(run, batch) for batch in range(self.n_batches)])
        return out  # type: ignore[return-value] # every entry was set


def _check_places(places: npt.NDArray[np.int64], n: int) -> Rows:
    """Return places as int64 after checking that they permute ``range(n)``."""
    if places.size == 0:
        places = places.astype(np.int64)
    fits = places.shape == (n,) and places.dtype.kind in "iu"
    if fits and first_outside(places, n) is None:
        checked = places.astype(np.int64, copy=False)
        if np.bincount(checked, minlength=n).all():
            return checked
    raise ValueError(f"places must be a permutation of range({n})")


def _check_bounds(bounds: Rows, n: int) -> None:
    """Raise unless `bounds` cut ``range(n)`` into minibatches."""
    if (
        not len(bounds)
        or bounds[0] != 0
        or bounds[-1] != n
        or np.diff(bounds).min(initial=0) < 0
    ):
        raise ValueError(f"bounds must go from 0 to {n} without falling")
