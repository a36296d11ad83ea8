"""Entropy of a label in minibatches, as the paper measures their diversity."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .label_counts import count_labels

__all__ = ["batch_entropies"]


def batch_entropies(
    batches: Iterable[npt.NDArray[Any]],
) -> npt.NDArray[np.float64]:
    """Return the entropy of the labels in each minibatch, in bits.

    It is 0 if all cells of a minibatch share the label, and `log2(k)` if `k` values are
    equally common (section 4.2 of the paper of scDataset).

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
    groups = [np.empty(0)]
    for _, counts, sizes in count_labels(batches):
        # Entropy is log2(m) less the mean of log2 of the count of each cell's own
        # label. Few counts differ, so their logarithms are looked up.
        known = np.arange(sizes.max() + 1)
        terms = known * np.log2(np.maximum(known, 1))
        groups.append(np.log2(sizes) - terms[counts].sum(axis=1) / sizes)
    return np.concatenate(groups)
