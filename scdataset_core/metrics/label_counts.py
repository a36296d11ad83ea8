"""Counts of the labels in minibatches, many minibatches at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..labels import code_labels

__all__ = ["LabelCounts", "count_from_least", "count_labels", "number_labels"]

# Minibatches counted at a time: Python's share of the time is small, and so is memory.
_GROUP = 4096
_CELLS = 1 << 22  # most counts that are held at a time
_RANGE_MOST = 1 << 20  # of integers that are numbered without being sorted


class LabelCounts(NamedTuple):
    """How often each label comes in each of some minibatches.

    Attributes
    ----------
    values
        The labels that occur; None stands for those that are missing.
    counts
        Cells of each minibatch with each label, shape ``(n_batches, k)``.
    sizes
        Cells of each minibatch, shape ``(n_batches,)``.
    """

    values: list[Any]
    counts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def count_labels(batches: Iterable[npt.NDArray[Any]]) -> Iterator[LabelCounts]:
    """Yield the counts of some minibatches after the other, in their order.

    Raises
    ------
    ValueError
        If a minibatch is empty or no 1-D array.
    """
    remaining = iter(batches)
    n_counted = 0
    while group := list(islice(remaining, _GROUP)):
        arrays = [np.asarray(batch) for batch in group]
        for number, array in enumerate(arrays, n_counted):
            if array.ndim != 1:
                raise ValueError(
                    f"minibatch {number} must be a 1-D array of labels,"
                    f" got shape {array.shape}"
                )
            if not len(array):
                raise ValueError(f"minibatch {number} is empty")
        n_counted += len(group)
        values, codes = number_labels(np.concatenate(arrays))
        sizes = np.array([len(array) for array in arrays])
        step = max(1, _CELLS // len(values))
        ends = np.concatenate([[0], np.cumsum(sizes)])
        for first in range(0, len(arrays), step):
            some = sizes[first : first + step]
            of_some = codes[ends[first] : ends[first + len(some)]]
            batch = np.repeat(np.arange(len(some)), some)
            counts = np.bincount(
                batch * len(values) + of_some, minlength=len(some) * len(values)
            )
            yield LabelCounts(values, counts.reshape(len(some), -1), some)


def number_labels(
    labels: npt.NDArray[Any],
) -> tuple[list[Any], npt.NDArray[np.integer[Any]]]:
    """Return the labels that occur, and which of them each cell has.

    NaN, None and NaT are one label, None; the code -1 is a label as any other.

    Examples
    --------
    >>> values, numbers = number_labels(np.array(["b", None, "b"], object))
    >>> values, numbers.tolist()
    (['b', None], [0, 1, 0])
    """
    if labels.dtype.kind in "biuUS":
        shifted = count_from_least(labels)
        if shifted is None:
            found, numbers = np.unique(labels, return_inverse=True)
            return found.tolist(), numbers.reshape(-1)
        # A table of the numbers that occur is quicker than sorting them.
        occurs = np.zeros(int(shifted.max()) + 1, bool)
        occurs[shifted] = True
        place = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
        least = int(labels.min())
        found = np.array([least + n for n in np.flatnonzero(occurs).tolist()])
        return found.astype(labels.dtype).tolist(), place[shifted]
    codes, present = code_labels(labels, "labels")
    values = present.tolist()
    is_missing = codes < 0
    if is_missing.any():
        codes = np.where(is_missing, np.int32(len(values)), codes)
        values.append(None)
    return values, codes


def count_from_least(labels: npt.NDArray[Any]) -> npt.NDArray[np.int32] | None:
    """Return integers or booleans less the least of them.

    Returns
    -------
    numbers
        None if they are of another type, or range too widely.
    """
    if labels.dtype.kind not in "biu":
        return None
    least, most = int(labels.min()), int(labels.max())
    if most - least >= _RANGE_MOST:
        return None
    if least >= -(2**31) and most < 2**31:
        labels = labels.astype(np.int32)
    return np.asarray(labels - labels.dtype.type(least), np.int32)
