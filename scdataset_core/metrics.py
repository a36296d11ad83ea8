"""Metrics: how random minibatches are, by the entropy of a label in them.

A minibatch of cells drawn at random holds the values of a label in about the shares of
the whole data set; one that is read from neighbouring rows holds few of them. Entropy
tells the two apart, in bits: it is 0 if all cells of a minibatch share the label, and
`log2(k)` if `k` values are equally common.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["batch_entropies", "expected_entropy", "plan_labels"]

# Minibatches counted at a time: Python's share of the time is small, and so is memory.
_GROUP = 4096


class _Fetch(Protocol):
    @property
    def rows(self) -> npt.NDArray[np.int64]: ...
    @property
    def places(self) -> npt.NDArray[np.int64]: ...
    @property
    def batches(self) -> Iterable[tuple[int, int, int]]: ...


class _Plan(Protocol):
    def fetches(self) -> Iterable[_Fetch]: ...


def batch_entropies(
    batches: Iterable[npt.NDArray[Any]],
) -> npt.NDArray[np.float64]:
    """Return the entropy of the labels in each minibatch, in bits.

    Parameters
    ----------
    batches
        The labels of each minibatch, arrays of shape ``(m,)`` of codes, numbers or
        strings; `m` may differ, and must be at least 1. A missing label, such as the
        code -1, counts as a label of its own.

    Returns
    -------
    entropies
        Shape ``(n_batches,)``.

    Raises
    ------
    ValueError
        If a minibatch is empty.

    Examples
    --------
    >>> batch_entropies([np.array([0, 0, 1, 1]), np.array([2, 2])]).tolist()
    [1.0, 0.0]
    """
    remaining = iter(batches)
    groups: list[npt.NDArray[np.float64]] = []
    while group := list(islice(remaining, _GROUP)):
        groups.append(_measure_entropies(group, first=len(groups) * _GROUP))
    return np.concatenate(groups) if groups else np.empty(0)


def plan_labels(
    plan: _Plan,
    labels: npt.NDArray[Any] | Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]],
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
        arranged = np.empty_like(fetch.rows)
        arranged[fetch.places] = fetch.rows
        of_fetch = look_up(arranged)
        for _, start, stop in fetch.batches:
            yield of_fetch[start:stop]


def expected_entropy(
    shares: npt.ArrayLike,
    *,
    batch_size: int,
    block_size: int = 1,
    fetch_factor: int = 1,
) -> float:
    """Return the mean entropy of a label that block sampling gives, in bits.

    The data set is taken to be large, and the label to lie in runs much longer than a
    block, as a plate does: all cells of a block share it. A fetch is then
    ``batch_size * fetch_factor / block_size`` blocks drawn at random by `shares`, and
    a minibatch is cells of a fetch drawn at random, without replacement. Under these
    assumptions the result is exact.

    Parameters
    ----------
    shares
        How common each value of the label is; scaled to sum to 1.
    batch_size
        Cells of a minibatch.
    block_size
        Cells of a block. With 1 cells are drawn at random one by one, and
        `fetch_factor` does not matter.
    fetch_factor
        Minibatches of a fetch.

    Raises
    ------
    ValueError
        If a size is below 1, or `shares` are negative or sum to 0.

    Examples
    --------
    Four minibatches a fetch bring back most of what blocks of 16 cells take away:

    >>> shares = np.ones(14)
    >>> round(expected_entropy(shares, batch_size=64), 2)
    3.65
    >>> round(expected_entropy(shares, batch_size=64, block_size=16), 2)
    1.79
    >>> sizes = {"batch_size": 64, "block_size": 16}
    >>> round(expected_entropy(shares, fetch_factor=4, **sizes), 2)
    3.04
    """
    for name, size in (
        ("batch_size", batch_size),
        ("block_size", block_size),
        ("fetch_factor", fetch_factor),
    ):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    parts = np.asarray(shares, dtype=np.float64)
    if parts.ndim != 1 or (parts < 0).any() or not 0 < parts.sum() < np.inf:
        raise ValueError(
            f"shares must be 1-D, not negative and not all 0, got {shares!r}"
        )
    n_blocks, rest = divmod(batch_size * fetch_factor, block_size)
    sizes = np.arange(n_blocks + 1) * block_size
    terms = _mean_terms(sizes, batch_size * fetch_factor, batch_size)
    # A last block that is cut adds its `rest` cells to one value.
    cut = _mean_terms(sizes + rest, batch_size * fetch_factor, batch_size)
    values, times = np.unique(parts / parts.sum(), return_counts=True)
    total = 0.0
    for share, n_labels in zip(values, times, strict=True):
        chance = _binomial(n_blocks, share)
        mean = chance @ terms
        if rest:
            mean = (1 - share) * mean + share * (chance @ cut)
        total += n_labels * mean
    return float(total)


def _measure_entropies(
    group: list[npt.NDArray[Any]], *, first: int
) -> npt.NDArray[np.float64]:
    lengths = np.array([len(batch) for batch in group])
    if not lengths.all():
        raise ValueError(f"minibatch {first + int(np.argmin(lengths))} is empty")
    values, codes = np.unique(np.concatenate(group), return_inverse=True)
    batch = np.repeat(np.arange(len(group)), lengths)
    cells = np.bincount(
        batch * len(values) + codes.reshape(-1), minlength=len(group) * len(values)
    ).reshape(len(group), len(values))
    # Entropy is log2(m) less the mean of log2 of the count of each cell's own label.
    # Few counts differ, so their logarithms are looked up.
    known = np.arange(lengths.max() + 1)
    terms = known * np.log2(np.maximum(known, 1))
    lost = terms[cells].sum(axis=1) / lengths
    return np.asarray(np.log2(lengths) - lost, np.float64)


def _mean_terms(
    marked: npt.NDArray[np.int64], n_cells: int, n_drawn: int
) -> npt.NDArray[np.float64]:
    """Return the mean of ``-p log2(p)``, p the share of marked cells among those drawn.

    There is one value for each number of `marked` cells among `n_cells`, of which
    `n_drawn` are drawn without replacement: a sum over the hypergeometric distribution.
    """
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n_cells + 1)))])

    def choose(n: npt.NDArray[np.int64] | int, k: npt.NDArray[np.int64] | int) -> Any:
        """Return the logarithm of n over k, -inf where that is 0."""
        ways = logs[n] - logs[np.clip(k, 0, n)] - logs[np.clip(n - k, 0, n)]
        return np.where((k >= 0) & (k <= n), ways, -np.inf)

    marked = np.minimum(marked, n_cells)[:, None]
    drawn = np.arange(1, n_drawn + 1)[None, :]
    log_chance = choose(marked, drawn) + choose(n_cells - marked, n_drawn - drawn)
    share = drawn[0] / n_drawn
    chance = np.exp(log_chance - choose(n_cells, n_drawn))
    mean: npt.NDArray[np.float64] = chance @ (-share * np.log2(share))
    return mean


def _binomial(n: int, share: float) -> npt.NDArray[np.float64]:
    """Return the chance of each number of successes from 0 to `n`."""
    if share in (0, 1):
        return np.asarray(np.arange(n + 1) == n * share, np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    ways = logs[n] - logs[k] - logs[n - k]
    log_chance = ways + k * np.log(share) + (n - k) * np.log1p(-share)
    return np.asarray(np.exp(log_chance), np.float64)
