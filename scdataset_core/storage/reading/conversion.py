"""Brings numbers of one type into memory of another, without a silent overflow."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["can_convert", "convert"]


def can_convert(stored: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Return whether :func:`convert` brings numbers of one type into another.

    It does where no number can change, and from any integers to signed ones.
    """
    if stored.kind in "iu" and wanted.kind == "i":
        return True
    return stored.kind in "biufc" and np.can_cast(stored, wanted, "safe")


def convert(values: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Write numbers to `out`, in its type; an integer that it cannot hold becomes -1.

    Parameters
    ----------
    values
        Numbers of a type, and in a byte order, of which :func:`can_convert` is true.
    out
        An array of the same shape.

    Examples
    --------
    >>> out = np.empty(3, np.int32)
    >>> convert(np.array([7, -3, 2**32 + 7]), out)
    >>> out
    array([ 7, -3, -1], dtype=int32)
    """
    np.copyto(out, values, casting="unsafe")
    integers = values.dtype.kind in "iu" and out.dtype.kind == "i"
    if not integers or not values.size or np.can_cast(values.dtype, out.dtype, "safe"):
        return
    limits = np.iinfo(out.dtype)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    # Viewed as unsigned, negative numbers are the largest: one pass tells that there is
    # none, and none that is too large.
    if values.view(f"u{values.itemsize}").max() <= limits.max:
        return
    wrong = values > limits.max
    if values.dtype.kind == "i":
        wrong |= values < limits.min
    out[wrong] = -1
