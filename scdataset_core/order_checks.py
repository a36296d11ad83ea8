"""Checks of the orders that strategies give: a user's own strategy may be wrong."""

import numpy as np
import numpy.typing as npt

from .checks import first_outside
from .orders import Order, Rows
from .permutation import shuffled
from .sets import Sets, SetSizes

__all__ = ["CheckedOrder", "check_order", "check_rows"]

_MASK = 2**64 - 1


class CheckedOrder:
    """An order that checks the rows it gives: their type, number and range.

    Parameters
    ----------
    order
        The order.
    name
        Name of the strategy that made the order, for errors.
    n_source
        Rows of the source; None where their number is not known.
    """

    def __init__(self, order: Order, *, name: str, n_source: int | None) -> None:
        self._order = order
        self._name = name
        self._n_source = n_source
        self.shuffle = bool(order.shuffle)
        # Orders of sets have these; no others do.
        self.set_sizes: SetSizes | None = getattr(order, "set_sizes", None)
        if hasattr(order, "key"):
            if isinstance(order.key, bool) or not isinstance(
                order.key, int | np.integer
            ):
                raise TypeError(
                    f"the key of the order of {name} must be an integer,"
                    f" got {order.key!r}"
                )
            self.key = int(order.key) & _MASK
        if hasattr(order, "blocks"):
            self.blocks = order.blocks

    def __len__(self) -> int:
        return len(self._order)

    def __repr__(self) -> str:
        return f"CheckedOrder({self._order!r})"

    def sets(self, first: int, stop: int) -> Sets:
        """Return sets `first` up to `stop` of an order of sets."""
        given: Sets = self._order.sets(first, stop)  # type: ignore[attr-defined] # see above
        return given

    @property
    def is_arranged(self) -> bool:
        """Whether the order says itself how a fetch makes minibatches."""
        return hasattr(self._order, "arrange") or self.set_sizes is not None

    def arrange(self, rows: Rows, *, batch_size: int, key: int) -> Rows:
        """Return the rows of a fetch in the order in which they make minibatches.

        Parameters
        ----------
        rows
            The rows of a whole fetch.
        batch_size
            Rows of a minibatch.
        key
            Key of the shuffle.

        Raises
        ------
        ValueError
            If what the order's own `arrange` gives is no permutation.
        """
        own = getattr(self._order, "arrange", None)
        if own is None:
            return rows[shuffled(len(rows), key=key)] if self.shuffle else rows
        given = np.asarray(own(rows, batch_size=batch_size, key=key))
        if (
            given.shape != rows.shape
            or given.dtype.kind not in "iu"
            or first_outside(given, len(rows)) is not None
            or not np.bincount(given, minlength=len(rows)).all()
        ):
            raise ValueError(
                f"arrange of the order of {self._name} must give a permutation of"
                f" range({len(rows)}), the number of rows it was given"
            )
        arranged: Rows = rows[given]
        return arranged

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``, a copy.

        Raises
        ------
        ValueError
            If the order gives no 1-D array of integers, more or fewer rows than were
            asked for, or a row that is not there.
        """
        given = self._order.rows(start, stop)
        origin = f"rows({start}, {stop}) of the order of {self._name}"
        array = check_rows(given, origin=origin, first=start, n_source=self._n_source)
        if len(array) != stop - start:
            raise ValueError(
                f"{origin} gave {len(array)} rows, and {stop - start} were asked for:"
                f" an order of length {len(self)} gives as many for every range within"
            )
        return array


def check_rows(
    given: npt.ArrayLike, *, origin: str, first: int, n_source: int | None
) -> Rows:
    """Return a copy of the rows that a strategy gave, as int64, after checking each.

    Parameters
    ----------
    given
        The rows.
    origin
        Says what gave the rows, for errors.
    first
        Position in the epoch of the first of them.
    n_source
        Rows of the source; None where their number is not known.
    """
    array = np.asarray(given)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"{origin} must give a 1-D array of integers (int64),"
            f" got {array.dtype} of shape {array.shape}"
        )
    if array.size:
        # They are compared in their own type: as int64, large unsigned numbers would
        # be negative.
        bad = array < 0
        if n_source is not None:
            bad |= array >= n_source
        if bad.any():
            at = int(np.argmax(bad))
            there = "" if n_source is None else f"; there are {n_source} rows, from 0"
            raise ValueError(
                f"{origin} gave row {array[at]} at position {first + at} of the epoch"
                + (there or "; rows are counted from 0")
            )
    return array.astype(np.int64)


def check_order(
    order: object, *, name: str, n_source: int | None = None
) -> CheckedOrder:
    """Return the order that a strategy gave, as one that checks its rows.

    Raises
    ------
    TypeError
        If what the strategy gave is no order.
    """
    if isinstance(order, CheckedOrder):
        return order
    if not isinstance(order, Order):
        raise TypeError(
            f"{name}.order must return an order, with len(), rows(start, stop) and"
            f" shuffle (see scdataset_core.orders.Order), got {type(order).__name__}"
        )
    return CheckedOrder(order, name=name, n_source=n_source)
