"""What a plan says of its minibatches before any cell is read: labels and blocks."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..plan import Fetch, Plan

__all__ = ["distinct_blocks", "plan_blocks", "plan_labels"]

Rows = npt.NDArray[np.int64]

_GROUP = 4096  # minibatches counted at a time


class _Fetch(Protocol):
    @property
    def rows(self) -> Rows: ...
    @property
    def places(self) -> Rows: ...
    @property
    def batches(self) -> Iterable[tuple[int, int, int]]: ...


class _Plan(Protocol):
    def fetches(self) -> Iterable[_Fetch]: ...


def plan_labels(
    plan: _Plan,
    labels: npt.NDArray[Any] | Callable[[Rows], npt.NDArray[Any]],
) -> Iterator[npt.NDArray[Any]]:
    """Yield the labels of each minibatch of a plan, without reading any cell.

    Parameters
    ----------
    plan
        A :class:`scdataset_core.Plan`, or anything with its ``fetches()``.
    labels
        The label of every row of the source, shape ``(n,)``; or a function that takes
        an array of row numbers and gives their labels.

    Examples
    --------
    >>> from scdataset_core.plan import Plan
    >>> from scdataset_core.strategies import Streaming
    >>> order = Streaming().order(range(6), seed=0, epoch=0)
    >>> plan = Plan(order, batch_size=3, fetch_factor=1)
    >>> [batch.tolist() for batch in plan_labels(plan, lambda rows: rows // 2)]
    [[0, 0, 1], [1, 2, 2]]
    """
    look_up = labels if callable(labels) else labels.__getitem__
    for fetch in plan.fetches():
        yield from _cut(fetch, look_up(_arrange(fetch, fetch.rows)))


def plan_blocks(plan: Plan) -> Iterator[Rows]:
    """Yield the block of each cell of each minibatch of a plan, without reading any.

    Two cells of a minibatch are of the same block if and only if they have the same
    number. Where the order of the epoch does not say which blocks it is made of, a
    block is a run of neighbouring rows in the fetch; the numbers then count within the
    fetch.

    Parameters
    ----------
    plan
        A :class:`scdataset_core.Plan`.

    Examples
    --------
    >>> from scdataset_core.strategies import BlockShuffling
    >>> order = BlockShuffling(block_size=4).order(range(16), seed=0, epoch=0)
    >>> plan = Plan(order, batch_size=8, fetch_factor=1)
    >>> [np.unique(blocks).tolist() for blocks in plan_blocks(plan)]
    [[0, 1], [2, 3]]
    """
    for fetch in plan.fetches():
        yield from _cut(fetch, _arrange(fetch, _number_blocks(plan, fetch)))


def distinct_blocks(batches: Iterable[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Return from how many distinct blocks the cells of each minibatch come.

    It is the number of independent places of the data set that a minibatch was drawn
    from. For `m` cells drawn one by one from many it is about `m`.

    Parameters
    ----------
    batches
        The block of each cell of each minibatch, arrays of shape ``(m,)``: from
        :func:`plan_blocks`, or ``rows // block_size`` on a grid that is fixed.

    Returns
    -------
    counts
        Shape ``(n_batches,)``.

    Examples
    --------
    >>> distinct_blocks([np.array([3, 3, 5]), np.array([7, 7])]).tolist()
    [2, 1]
    """
    remaining = iter(batches)
    groups = [np.empty(0, np.int64)]
    while group := list(islice(remaining, _GROUP)):
        number = np.repeat(np.arange(len(group)), [len(blocks) for blocks in group])
        blocks = np.concatenate(group)
        blocks = blocks[np.lexsort((blocks, number))]
        is_new = np.concatenate([[True], blocks[1:] != blocks[:-1]])
        is_new[1:] |= number[1:] != number[:-1]
        groups.append(np.bincount(number[is_new[: len(number)]], minlength=len(group)))
    return np.concatenate(groups)


def _arrange(fetch: _Fetch, of_rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what belongs to the sorted rows in the order of the minibatches."""
    arranged = np.empty_like(of_rows)
    arranged[fetch.places] = of_rows
    return arranged


def _cut(fetch: _Fetch, arranged: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for _, start, stop in fetch.batches:
        yield arranged[start:stop]


def _number_blocks(plan: Plan, fetch: Fetch) -> Rows:
    """Return the block of each of the sorted rows of a fetch."""
    blocks_at = getattr(plan.order, "blocks", None)
    if blocks_at is None:
        runs: Rows = np.cumsum(np.diff(fetch.rows, prepend=fetch.rows[:1]) > 1)
        return runs
    start = fetch.number * plan.dealing.sizes.fetch_rows
    stop = min(start + plan.dealing.sizes.fetch_rows, plan.dealing.n_rows)
    rows = plan.order.rows(start, stop)
    sorting = np.argsort(rows, kind="stable")
    # A row that was drawn twice counts as one of the block that drew it first.
    at = np.searchsorted(rows[sorting], fetch.rows)
    blocks: Rows = blocks_at(start, stop)[sorting[at]]
    return blocks
