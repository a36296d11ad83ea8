"""Class labels: finding missing ones, and the weights that balance classes."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["balanced_weights"]


def balanced_weights(labels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return one over the size of each label's class, shape ``(n,)``.

    Raises
    ------
    ValueError
        If there are no labels, or some are missing.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"labels must be 1-D and not empty, got shape {array.shape}")
    missing = _missing(array)
    if missing.any():
        raise ValueError(
            f"labels must not be missing, got {array[missing][0]} for"
            f" {int(missing.sum())} cells, the first at {int(np.argmax(missing))}; list"
            " the others in indices"
        )
    _, codes, counts = np.unique(array, return_inverse=True, return_counts=True)
    return 1.0 / counts[codes.reshape(-1)]


def _missing(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
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
