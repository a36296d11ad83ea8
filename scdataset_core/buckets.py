"""Buckets: rows of like length make minibatches together, so that padding is short."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .order_checks import CheckedOrder, check_order
from .orders import Order, Rows
from .permutation import Purpose, derive_key, shuffled

__all__ = ["BucketedOrder", "Buckets", "gather_alike"]


@dataclass(frozen=True)
class Buckets:
    """How the rows of a fetch are put together by length.

    Parameters
    ----------
    widths
        The most that rows of each bucket hold, increasing.
    lengths
        ``lengths(rows)`` gives how much each of non-decreasing rows holds; it raises
        ValueError if that is not known.

    Raises
    ------
    ValueError
        If it is not known.
    """

    widths: tuple[int, ...]
    lengths: Callable[[Rows], Rows]

    def __post_init__(self) -> None:
        try:
            self.lengths(np.empty(0, np.int64))
        except ValueError as error:
            raise ValueError(
                f"width names several, {list(self.widths)}, and rows cannot be put"
                f" together by length: {error}; give one width"
            ) from error

    def arrange_fetches(self, order: CheckedOrder) -> CheckedOrder:
        """Return an order whose fetches are arranged by length.

        It is the same one where the strategy arranges fetches itself, or keeps the
        order of their rows.
        """
        if order.is_arranged or not order.shuffle:
            return order
        return check_order(BucketedOrder(order, self), name="the buckets")

    def describe(self) -> dict[str, Any]:
        """Return what a state says of them."""
        return {"widths": list(self.widths)}


class BucketedOrder:
    """The rows of another order, those of like length in each fetch together.

    Parameters
    ----------
    order
        Says which rows make each fetch.
    buckets
        How rows are put together.
    """

    shuffle = True

    def __init__(self, order: CheckedOrder, buckets: Buckets) -> None:
        self._order: Order = order
        self._buckets = buckets
        for name in ("key", "blocks"):  # what an order may have besides
            if hasattr(order, name):
                setattr(self, name, getattr(order, name))

    def __len__(self) -> int:
        return len(self._order)

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        return self._order.rows(start, stop)

    def arrange(self, rows: Rows, *, batch_size: int, key: int) -> Rows:
        """Return in what order the rows of a fetch make its minibatches."""
        order = np.argsort(rows, kind="stable")
        lengths = np.empty_like(rows)
        lengths[order] = self._buckets.lengths(rows[order])
        codes = np.searchsorted(self._buckets.widths, lengths)
        return gather_alike(codes, batch_size=batch_size, key=key)


def gather_alike(codes: Rows, *, batch_size: int, key: int) -> Rows:
    """Put cells into minibatches so that those of one code come together.

    The cells are shuffled, then sorted by code, then cut into minibatches, and the
    minibatches are shuffled. So cells of a code share minibatches at random, and at
    most as many minibatches hold several codes as there are codes less one. A short
    minibatch, which comes last, takes its cells at random before that.

    Parameters
    ----------
    codes
        The bucket of each cell, shape ``(n,)``.
    batch_size
        Cells of a minibatch; the last one has what is left.
    key
        Key of all randomness.

    Returns
    -------
    order
        Which cell stands at each place, shape ``(n,)``: minibatch `b` has the places
        ``[b * batch_size, (b + 1) * batch_size)``.

    Examples
    --------
    >>> codes = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    >>> codes[gather_alike(codes, batch_size=2, key=1)].reshape(4, 2).tolist()
    [[0, 0], [1, 1], [0, 0], [1, 1]]
    """
    order = shuffled(len(codes), key=key)
    n_whole = len(codes) // batch_size
    whole, short = np.split(order, [n_whole * batch_size])
    alike = whole[np.argsort(codes[whole], kind="stable")]
    turn = shuffled(n_whole, key=derive_key(key, 0, Purpose.BUCKETS))
    return np.concatenate([alike.reshape(n_whole, batch_size)[turn].reshape(-1), short])
