"""Class weights: they balance classes, and find cells that lack a label."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["balance_weights"]


def balance_weights(
    labels: npt.ArrayLike, indices: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float64]:
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
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"labels must be 1-D and not empty, got shape {array.shape}")
    missing = _find_missing(array)
    wanted = missing
    if indices is not None and len(indices) < len(array):
        if indices[-1] >= len(array):
            raise ValueError(
                "labels must be given for every row or for each of the"
                f" {len(indices)} indices, got {len(array)} with an index"
                f" {indices[-1]}"
            )
        wanted = np.zeros(len(array), bool)
        wanted[indices] = missing[indices]
    if wanted.any():
        raise ValueError(
            f"labels must not be missing, got {array[wanted][0]} for"
            f" {int(wanted.sum())} cells, the first at {int(np.argmax(wanted))}; list"
            " the others in indices"
        )
    weights = np.zeros(len(array))
    _, codes, counts = np.unique(
        array[~missing], return_inverse=True, return_counts=True
    )
    weights[~missing] = 1.0 / counts[codes.reshape(-1)]
    return weights


def _find_missing(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if labels.dtype.kind == "f":
        return np.asarray(np.isnan(labels))
    if labels.dtype.kind == "i":
        return np.asarray(labels == -1)
    if labels.dtype.kind == "O":
        return np.array([_is_missing(label) for label in labels], bool)
    return np.zeros(len(labels), bool)


def _is_missing(label: object) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas.NA has no truth value
        return True
