"""Chooses the narrowest type that holds the values of a chunk exactly."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["N_KINDS", "can_keep", "common_kind", "kept_dtype", "narrow"]

# Kinds are numbers in the records of a cache: never change what one means.
_NARROW = ("u1", "u2", "u4", "f4")
_WHOLE_BYTES = (1, 2, 4)
_AS_STORED = len(_NARROW) + 1
N_KINDS = _AS_STORED + 1  # 0 says that a chunk is not kept


def can_keep(dtype: np.dtype[Any]) -> bool:
    """Return whether arrays of a type can be kept: numbers can, records cannot."""
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def kept_dtype(kind: int, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that a chunk is kept in.

    Parameters
    ----------
    kind
        A number from :func:`narrow`.
    dtype
        Type of the array.
    """
    return dtype if kind == _AS_STORED else np.dtype(_NARROW[kind - 1])


def common_kind(a: int, b: int) -> int:
    """Return the narrowest kind that holds what two kinds hold."""
    wholes = len(_NARROW) - 1
    return max(a, b) if a == b or max(a, b) <= wholes else _AS_STORED


def narrow(values: npt.NDArray[Any]) -> tuple[int, npt.NDArray[Any]]:
    """Return values in the narrowest type that gives them back bit for bit.

    Parameters
    ----------
    values
        Numbers in native byte order, at least one.

    Returns
    -------
    kind
        Number of the type, see :func:`kept_dtype`: uint8, uint16 or uint32 for whole
        numbers from 0 on, float32 for float64 values that are float32's, else the
        type as it is.
    kept
        A copy of the values in that type.

    Examples
    --------
    >>> narrow(np.array([0.0, 3.0, 255.0]))
    (1, array([  0,   3, 255], dtype=uint8))
    >>> narrow(np.array([-1, 3]))
    (5, array([-1,  3]))
    """
    kind = _kind_of_whole(values)
    if kind:
        kept = values.astype(_NARROW[kind - 1])  # they are in its range
        # Whole numbers of an integer type fit by their range alone.
        if values.dtype.kind in "iu" or _gives_back(kept, values):
            return kind, kept
    if values.dtype == np.float64:
        kind = _NARROW.index("f4") + 1
        with np.errstate(invalid="ignore", over="ignore"):
            kept = values.astype(_NARROW[kind - 1])
            if _gives_back(kept, values):
                return kind, kept
    return _AS_STORED, values.copy()


def _kind_of_whole(values: npt.NDArray[Any]) -> int:
    """Return the kind that has the range of the values, 0 where none is narrower."""
    if values.dtype.kind == "b" or not values.min() >= 0:  # NaN is not either
        return 0
    high = values.max()
    for kind, n_bytes in enumerate(_WHOLE_BYTES, 1):
        if n_bytes < values.dtype.itemsize and high < 256**n_bytes:
            return kind
    return 0


def _gives_back(kept: npt.NDArray[Any], values: npt.NDArray[Any]) -> bool:
    """Return whether a cast back gives the very bits, of -0.0 and NaN too."""
    bits = f"u{values.dtype.itemsize}"
    back = kept.astype(values.dtype)
    return bool((back.view(bits) == values.view(bits)).all())
