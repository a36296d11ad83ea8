"""How far the shares of a label in minibatches are from those of the data set."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .label_counts import LabelCounts, count_labels, number_labels

__all__ = [
    "chi_squares",
    "label_shares",
    "successive_correlation",
    "total_variations",
]

Floats = npt.NDArray[np.float64]


def label_shares(labels: npt.ArrayLike) -> dict[Any, float]:
    """Return how common each label is, as a share of all rows.

    Parameters
    ----------
    labels
        The label of every row, shape ``(n,)``: codes, numbers or strings. The code -1
        of a missing label counts as a label of its own; so do NaN and None together,
        as None.

    Raises
    ------
    ValueError
        If `labels` are empty or no 1-D array.

    Examples
    --------
    >>> label_shares(["A549", "K562", "A549", "A549"])
    {'A549': 0.75, 'K562': 0.25}
    """
    array = np.asarray(labels)
    if array.ndim != 1 or not len(array):
        raise ValueError(
            f"labels must be a non-empty 1-D array, got shape {array.shape}"
        )
    values, numbers = number_labels(array)
    return dict(zip(values, (np.bincount(numbers) / len(array)).tolist(), strict=True))


def total_variations(
    batches: Iterable[npt.NDArray[Any]], shares: Mapping[Any, float]
) -> Floats:
    """Return the total variation distance of each minibatch from the data set.

    It is half the sum over the labels of ``|share in the minibatch - share|``: the part
    of the cells that would have to be others. Independent cells are not at 0 either,
    see :func:`expect_independent`.

    Parameters
    ----------
    batches
        The labels of each minibatch, arrays of shape ``(m,)``.
    shares
        The share of each label in the data set, see :func:`label_shares`; scaled to sum
        to 1.

    Returns
    -------
    distances
        Shape ``(n_batches,)``, each from 0 to 1.

    Raises
    ------
    ValueError
        If a minibatch is empty, holds a label without a share, or `shares` are
        negative or sum to 0.

    Examples
    --------
    >>> shares = {"a": 0.5, "b": 0.5}
    >>> total_variations([np.array(["a", "b"]), np.array(["a", "a"])], shares).tolist()
    [0.0, 0.5]
    """
    known = _scale(shares)
    groups = [np.empty(0)]
    for counted in count_labels(batches):
        found, unseen = _find_shares(counted, known)
        parts = counted.counts / counted.sizes[:, None]
        groups.append((np.abs(parts - found).sum(axis=1) + unseen) / 2)
    return np.concatenate(groups)


def chi_squares(
    batches: Iterable[npt.NDArray[Any]], shares: Mapping[Any, float]
) -> Floats:
    """Return Pearson's chi-square of each minibatch against the data set.

    It is the sum over the labels of ``(n - m * share)**2 / (m * share)``, with `n` of
    the `m` cells of the minibatch (K. Pearson, Philosophical Magazine 50:157-175,
    1900). For independent cells its mean is the number of labels less 1, whatever the
    shares are; for cells that come in blocks it is more, by the factor that statistics
    of surveys calls the design effect (J. N. K. Rao and A. J. Scott, Journal of the
    American Statistical Association 76:221-230, 1981).

    Parameters
    ----------
    batches
        The labels of each minibatch, arrays of shape ``(m,)``.
    shares
        The share of each label in the data set, see :func:`label_shares`; scaled to sum
        to 1.

    Returns
    -------
    statistics
        Shape ``(n_batches,)``, each at least 0.

    Raises
    ------
    ValueError
        If a minibatch is empty, holds a label without a share, or `shares` are
        negative or sum to 0.

    Examples
    --------
    >>> shares = {"a": 0.5, "b": 0.5}
    >>> chi_squares([np.array(["a", "b"]), np.array(["a", "a"])], shares).tolist()
    [0.0, 2.0]
    """
    known = _scale(shares)
    groups = [np.empty(0)]
    for counted in count_labels(batches):
        found, _ = _find_shares(counted, known)
        # The sum of n**2 / (m * share), less m, is the same.
        sums = (counted.counts**2 / found).sum(axis=1) / counted.sizes
        groups.append(np.maximum(sums - counted.sizes, 0))
    return np.concatenate(groups)


def successive_correlation(
    batches: Iterable[npt.NDArray[Any]], shares: Mapping[Any, float]
) -> float:
    """Return how alike the composition of a minibatch and of the next one are.

    It is the autocorrelation at lag 1 of the deviations from the shares of the data
    set, summed over the labels in the metric of chi-square: the mean over successive
    minibatches of ``sum((n - m * share) * (n' - m * share) / (m * share))``, divided by
    the mean of their chi-square (G. E. P. Box and G. M. Jenkins, Time Series Analysis,
    1970, section 2.1, with the mean known). It is about 0 for independent cells, and
    about 1 for cells in file order.

    Parameters
    ----------
    batches
        The labels of each minibatch, arrays of shape ``(m,)``, in the order in which a
        model sees them.
    shares
        The share of each label in the data set, see :func:`label_shares`; scaled to sum
        to 1.

    Returns
    -------
    correlation
        NaN if there are fewer than two minibatches, or all hold exactly the shares.

    Raises
    ------
    ValueError
        If a minibatch is empty, holds a label without a share, or `shares` are
        negative or sum to 0.

    Examples
    --------
    >>> a, b = np.array(["a", "a"]), np.array(["b", "b"])
    >>> shares = {"a": 0.5, "b": 0.5}
    >>> successive_correlation([a, a, a, a], shares)
    1.0
    >>> successive_correlation([a, b, a, b], shares)
    -1.0
    """
    known = _scale(shares)
    squares, products, n_batches = 0.0, 0.0, 0
    last: LabelCounts | None = None
    for counted in count_labels(batches):
        values, counts, sizes = counted
        found, _ = _find_shares(counted, known)
        squares += float(((counts**2 / found).sum(axis=1) / sizes - sizes).sum())
        together = (counts[:-1] * counts[1:] / found).sum(axis=1)
        products += _sum_products(together, sizes[:-1], sizes[1:])
        if last is not None:
            before = dict(zip(last.values, last.counts[-1].tolist(), strict=True))
            shared = np.array([before.get(value, 0) for value in values]) * counts[0]
            together = np.array([(shared / found).sum()])
            products += _sum_products(together, last.sizes[-1:], sizes[:1])
        last = counted
        n_batches += len(sizes)
    if n_batches < 2 or squares <= 1e-9 * n_batches:
        return float("nan")
    return (products / (n_batches - 1)) / (squares / n_batches)


def _sum_products(
    together: Floats, sizes: npt.NDArray[np.int64], next_sizes: npt.NDArray[np.int64]
) -> float:
    """Return the sum of the products of the deviations of neighbouring minibatches.

    `together` is the sum over the labels of ``n * n' / share`` of each pair.
    """
    both = sizes * next_sizes
    return float(((together - both) / np.sqrt(both)).sum())


def _scale(shares: Mapping[Any, float]) -> dict[Any, float]:
    if not isinstance(shares, Mapping):
        raise TypeError(
            "shares must be a dict from label to share, as label_shares(labels) gives,"
            f" got {type(shares).__name__}"
        )
    parts = np.array(list(shares.values()), np.float64)
    if not len(parts) or not (parts >= 0).all() or not 0 < parts.sum() < np.inf:
        raise ValueError(f"shares must not be negative and not all 0, got {shares!r}")
    return dict(zip(shares, (parts / parts.sum()).tolist(), strict=True))


def _find_shares(
    counted: LabelCounts, shares: dict[Any, float]
) -> tuple[Floats, float]:
    """Return the share of each label that occurs, and that of all others together."""
    found = np.array([shares.get(label, 0.0) for label in counted.values])
    if not found.all():
        label = counted.values[int(np.argmin(found))]
        raise ValueError(
            f"a minibatch holds the label {label!r}, which has no share; give the"
            " shares of all labels of the data set, as label_shares(labels) does"
        )
    return found, max(0.0, 1 - float(found.sum()))
