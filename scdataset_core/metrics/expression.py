"""How much the mean of X varies between minibatches."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["mean_variance_ratio"]

Floats = npt.NDArray[np.float64]


def mean_variance_ratio(batches: Iterable[Any]) -> float:
    """Return the variance of the mean of X in minibatches, over that of random ones.

    The mean of `m` independent cells has the variance of one cell divided by `m`. Cells
    that come in blocks are alike, and their mean varies more, by the design effect
    (L. Kish, Survey Sampling, 1965, section 5.4). The noise of gradients that are
    linear in X grows by the same factor. It is computed as a one-way analysis of
    variance: the mean square between minibatches is divided by the variance of all
    cells together, both summed over the genes.

    Parameters
    ----------
    batches
        X of each minibatch, shape ``(m, n_genes)``, SciPy's sparse arrays or dense
        ones; `m` may differ. Transform it as for the model: the ratio of raw counts
        depends mostly on a few genes and on the depth of cells.

    Returns
    -------
    ratio
        About 1 for independent cells, and up to `m` where all cells of a minibatch are
        alike. NaN if there are fewer than two minibatches, or all cells are equal.

    Raises
    ------
    TypeError
        If X is neither sparse nor a dense array.
    ValueError
        If X has not two axes, or minibatches differ in the number of genes.

    Examples
    --------
    >>> alike = [np.array([[1.0], [1.0]]), np.array([[3.0], [3.0]])] * 50
    >>> round(mean_variance_ratio(alike), 2)
    2.01
    """
    shift, sums = np.zeros(0), np.zeros(0)
    squares, between = 0.0, 0.0
    n_cells = n_batches = 0
    for x in map(_check_matrix, batches):
        if not n_batches:
            # That of the first minibatch is taken off every mean, which changes no
            # variance, and loses fewer digits.
            shift = _find_shift(x)
            sums = np.zeros(x.shape[1])
        if x.shape[1] != len(sums):
            raise ValueError(
                f"minibatch {n_batches} has {x.shape[1]} genes, and those before it"
                f" {len(sums)}"
            )
        if x.shape[0]:
            total, square = _sum_cells(x, shift)
            sums += total
            squares += square
            between += float(total @ total) / x.shape[0]
            n_cells += x.shape[0]
            n_batches += 1
    if n_batches < 2:
        return float("nan")
    common = float(sums @ sums) / n_cells
    spread = (squares - common) / (n_cells - 1)
    if spread <= 1e-12 * squares / n_cells:
        return float("nan")
    return max(0.0, between - common) / (n_batches - 1) / spread


def _check_matrix(x: Any) -> Any:
    """Return X of a minibatch, dense or in a sparse form of one value a place."""
    if not isinstance(x, np.ndarray) and not hasattr(x, "tocsr"):
        raise TypeError(
            "X of a minibatch must be a NumPy array or a sparse one of SciPy, got"
            f" {type(x).__name__}"
        )
    if x.ndim != 2:
        raise ValueError(f"X must be of shape (m, n_genes), got {x.shape}")
    if not isinstance(x, np.ndarray):
        x = x.tocsr()
        if not x.has_canonical_format:
            x = x.copy()
            x.sum_duplicates()
    return x


def _find_shift(x: Any) -> Floats:
    """Return the mean of dense cells, and 0 for sparse ones, which must stay sparse."""
    if isinstance(x, np.ndarray) and len(x):
        return np.asarray(x.mean(axis=0, dtype=np.float64), np.float64)
    return np.zeros(x.shape[1])


def _sum_cells(x: Any, shift: Floats) -> tuple[Floats, float]:
    """Return the sum of the cells less the shift of each, and that of all squares."""
    if not isinstance(x, np.ndarray) and shift.any():
        x = x.toarray()
    if isinstance(x, np.ndarray):
        x = x.astype(np.float64) - shift
        return x.sum(axis=0), float((x * x).sum())
    values = x.data.astype(np.float64)
    total = np.asarray(x.sum(axis=0, dtype=np.float64), np.float64).ravel()
    return total, float(values @ values)
