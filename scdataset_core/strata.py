"""Strata: the minibatches of a fetch get an even share of the cells of each label."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .orders import BlockOrder, Rows, StorageOrder, Subset
from .permutation import hash_numbers

__all__ = ["StratifiedOrder", "deal_evenly"]


class StratifiedOrder:
    """The rows of an order of blocks, each fetch dealt evenly by label.

    Parameters
    ----------
    order
        Says which rows make each fetch.
    codes
        The code of each row of the source, or of each row of `subset`; any integer is a
        stratum, also -1.
    subset
        The rows that the codes are of; None where they are of the whole source.
    """

    shuffle = True

    def __init__(
        self,
        order: BlockOrder | StorageOrder,
        codes: npt.NDArray[Any],
        subset: Subset | None,
    ) -> None:
        self._order = order
        self._codes = codes
        self._subset = subset
        self.key = order.key

    def __len__(self) -> int:
        return len(self._order)

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        return self._order.rows(start, stop)

    def blocks(self, start: int, stop: int) -> Rows:
        """Return the number of the block at each of the positions."""
        return self._order.blocks(start, stop)

    def arrange(self, rows: Rows, *, batch_size: int, key: int) -> Rows:
        """Return in what order the rows of a fetch make its minibatches."""
        at = rows if self._subset is None else self._subset.positions_of(rows)
        return deal_evenly(self._codes[at], batch_size=batch_size, key=key)


def deal_evenly(codes: npt.NDArray[Any], *, batch_size: int, key: int) -> Rows:
    """Deal cells into minibatches so that each gets an even share of every label.

    Of a label with `c` of the `n` cells, a minibatch of `m` cells gets the floor or the
    ceiling of ``c * m / n``. Each cell is as likely to come into one minibatch as any
    other, and the cells of a minibatch are in random order.

    The cells are put in line label by label, the labels in random order. A short
    minibatch takes its cells from evenly spaced points of the line (systematic
    sampling: Madow 1949); what is left is dealt to the whole ones in turn.

    Parameters
    ----------
    codes
        The label of each cell, integers, shape ``(n,)``.
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
    >>> codes = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    >>> codes[deal_evenly(codes, batch_size=3, key=1)].reshape(3, 3).sum(axis=1)
    array([1, 1, 1])
    """
    n = len(codes)
    keys = [int(part) for part in hash_numbers(np.arange(5), key=key)]
    places = hash_numbers(np.arange(n), key=keys[0])
    line = np.lexsort((places, hash_numbers(codes, key=keys[1])))
    n_whole = n // batch_size
    batch = np.full(n, n_whole, np.int64)
    left = line
    n_short = n - n_whole * batch_size
    if n_short:
        reached = (np.arange(n + 1) * n_short + keys[2] % n) // n
        left = line[reached[1:] == reached[:-1]]
    if n_whole:
        # Which minibatch is first in turn, and which follow, is random too.
        turn = np.argsort(hash_numbers(np.arange(n_whole), key=keys[3]), kind="stable")
        batch[left] = turn[np.arange(len(left)) % n_whole]
    shuffle = hash_numbers(np.arange(n), key=keys[4])
    return np.lexsort((shuffle, batch)).astype(np.int64, copy=False)
