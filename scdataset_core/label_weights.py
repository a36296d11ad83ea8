"""Weights of cells from their labels: they balance classes, or temper them."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .labels import (
    check_labels,
    code_labels,
    count_classes,
    find_missing,
    join_classes,
)
from .row_sets import RowSet, as_index
from .weights_by_class import WeightsByClass

__all__ = ["balance_weights", "class_weights"]


def class_weights(
    *labels: npt.ArrayLike, power: float = 1.0, smoothing: float | None = None
) -> npt.NDArray[np.float64]:
    """Return a weight for each cell from the size of its class.

    Give the weights to :class:`BlockWeightedSampling` or :class:`GroupSampling`. With
    several labels, each combination that some cell has is a class.

    Parameters
    ----------
    labels
        Labels of the cells, each of shape ``(n,)``: codes (``source.obs["drug"]``),
        numbers, booleans or strings.
    power
        A cell of a class of `n` cells weighs ``n ** -power``: with 1 every class is
        drawn as often as another, with 0 every cell is, and with 0.5 a class is drawn
        in proportion to the square root of its size.
    smoothing
        In place of `power`: a class of `n` cells weighs ``s * n / (n + s)`` in all,
        which its cells share alike. So classes that are much smaller than `s` are drawn
        in proportion to their size, and those that are much larger as often as each
        other. It is the weight of a label in scDataLoader (Kalfon et al. 2025), where
        `s` is called `weight_scaler`.

    Returns
    -------
    weights
        Shape ``(n,)``. A cell that lacks a label weighs 0: -1 in signed integers, NaN
        and None.

    Raises
    ------
    ValueError
        If there are no labels, the arrays differ in length, no cell has all labels, or
        `power` or `smoothing` is out of range.

    Examples
    --------
    >>> class_weights([0, 0, 0, 1, -1]).tolist() == [1 / 3, 1 / 3, 1 / 3, 1.0, 0.0]
    True
    >>> class_weights(["a", "a", "b"], smoothing=2).tolist()
    [0.5, 0.5, 0.6666666666666666]
    """
    _check_shape(power, smoothing)
    power = float(power)  # a narrow integer of NumPy cannot be negated
    smoothing = None if smoothing is None else float(smoothing)
    codes, sizes = _count_classes(labels)
    by_class = sizes**-power if smoothing is None else smoothing / (sizes + smoothing)
    # The code -1 of a missing label takes the last weight, which is 0.
    return np.append(by_class, 0.0)[codes]


def _check_shape(power: float, smoothing: float | None) -> None:
    """Raise unless a power or a smoothing says how the weights fall."""
    if not (math.isfinite(power) and power >= 0):
        raise ValueError(
            f"power must be a finite number of at least 0, got {power}: a cell of a"
            " class of n cells weighs n ** -power"
        )
    if smoothing is None:
        return
    if power != 1.0:
        raise ValueError(
            f"power={power} does not go with smoothing={smoothing}: each says how the"
            " weight of a class follows from its size; give one of them"
        )
    if not (math.isfinite(smoothing) and smoothing > 0):
        raise ValueError(
            f"smoothing must be a finite number of cells above 0, got {smoothing}"
        )


def _count_classes(
    labels: tuple[npt.ArrayLike, ...],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Return the class of each cell, and the number of cells of each class."""
    if not labels:
        raise ValueError(
            "class_weights needs labels, such as class_weights(source.obs['drug'])"
        )
    coded = [code_labels(part, f"labels {i}") for i, part in enumerate(labels)]
    n = len(coded[0].codes)
    for i, part in enumerate(coded):
        if len(part.codes) != n:
            raise ValueError(
                f"labels must be of the same cells: labels 0 are {n} and labels {i}"
                f" {len(part.codes)}"
            )
    codes, parts = join_classes(
        [part.codes for part in coded], [len(part.labels) for part in coded]
    )
    if not len(parts):
        raise ValueError(
            f"none of the {n} cells has all of its labels, so that all would weigh 0"
        )
    counts = np.bincount(codes[codes >= 0], minlength=len(parts))
    return codes, counts.astype(np.float64)


def balance_weights(
    labels: npt.ArrayLike, indices: RowSet | npt.NDArray[np.int64] | None = None
) -> WeightsByClass:
    """Return one over the size of each label's class, shape ``(n,)``.

    Parameters
    ----------
    labels
        The label of each row, or of each of `indices`.
    indices
        The rows that will be drawn, all by default. Labels that are given for more
        rows than these may be missing elsewhere: their weight is 0.

    Raises
    ------
    ValueError
        If there are no labels, or a row to be drawn lacks one.
    """
    array = check_labels(labels, "labels")
    if indices is not None and len(indices) < len(array) <= indices[-1]:
        raise ValueError(
            "labels must be given for every row or for each of the"
            f" {len(indices)} indices, got {len(array)} with an index {indices[-1]}"
        )
    codes, counts = count_classes(array, "labels")
    n_missing = len(array) - int(counts.sum())
    if n_missing:
        _check_none_missing(array, indices)
    # A cell without a label has the last weight, which is 0.
    by_class = np.append(counts.astype(np.float64) ** -1.0, 0.0)
    return WeightsByClass(codes, by_class, np.append(counts, n_missing))


def _check_none_missing(
    array: npt.NDArray[Any], indices: RowSet | npt.NDArray[np.int64] | None
) -> None:
    """Raise if a row to be drawn lacks a label."""
    missing = find_missing(array)
    wanted = missing
    if indices is not None and len(indices) < len(array):
        drawn = as_index(indices, len(array))
        wanted = np.zeros(len(array), bool)
        wanted[drawn] = missing[drawn]
    if wanted.any():
        raise ValueError(
            f"labels must not be missing, got {array[wanted][0]} for"
            f" {int(wanted.sum())} cells, the first at {int(np.argmax(wanted))}; list"
            " the others in indices"
        )
