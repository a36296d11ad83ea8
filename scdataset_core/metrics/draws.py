"""Chances of draws without replacement: cells of a fetch into a minibatch."""

import numpy as np
import numpy.typing as npt

__all__ = ["chance_of_none", "draw_chances", "mean_entropy_terms"]

Floats = npt.NDArray[np.float64]


def draw_chances(
    marked: npt.NDArray[np.int64], *, n_cells: int, n_drawn: int
) -> Floats:
    """Return the chance of each number of marked cells among those drawn.

    It is the hypergeometric distribution: `n_drawn` of `n_cells` are drawn without
    replacement.

    Parameters
    ----------
    marked
        How many of the cells are marked, shape ``(k,)``, each up to `n_cells`.
    n_cells, n_drawn
        Cells, and how many of them are drawn.

    Returns
    -------
    chances
        Shape ``(k, n_drawn + 1)``; each row sums to 1.

    Examples
    --------
    >>> draw_chances(np.array([2]), n_cells=4, n_drawn=2).round(3).tolist()
    [[0.167, 0.667, 0.167]]
    """
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n_cells + 1)))])
    marked = marked[:, None]
    drawn = np.arange(n_drawn + 1)[None, :]
    others = n_cells - marked
    possible = (drawn <= marked) & (n_drawn - drawn <= others)

    def choose(n: npt.NDArray[np.int64], k: npt.NDArray[np.int64]) -> Floats:
        k = np.clip(k, 0, n)
        ways: Floats = logs[n] - logs[k] - logs[n - k]
        return ways

    all_ways = logs[n_cells] - logs[n_drawn] - logs[n_cells - n_drawn]
    ways = choose(marked, drawn) + choose(others, n_drawn - drawn)
    return np.exp(np.where(possible, ways - all_ways, -np.inf))


def mean_entropy_terms(chances: Floats) -> Floats:
    """Return the mean of ``-p log2(p)``, p the share of marked cells among those drawn.

    Parameters
    ----------
    chances
        From :func:`draw_chances`.

    Returns
    -------
    means
        In bits, shape ``(k,)``.
    """
    n_drawn = chances.shape[1] - 1
    share = np.arange(1, n_drawn + 1) / n_drawn
    means: Floats = chances[:, 1:] @ (-share * np.log2(share))
    return means


def chance_of_none(marked: int, *, n_cells: int, n_drawn: int) -> float:
    """Return the chance that none of the cells drawn is marked.

    Examples
    --------
    >>> chance_of_none(2, n_cells=4, n_drawn=1)
    0.5
    """
    if n_drawn > n_cells - marked:
        return 0.0
    steps = np.arange(min(marked, n_drawn))
    most = max(marked, n_drawn)
    return float(np.prod(1 - most / (n_cells - steps)))
