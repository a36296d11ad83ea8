"""The logarithm of counts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .hook import Hook, RowsOfBatch
from .layouts import add_up_repeats, float_dtype, get_values, put_values

__all__ = ["log1p"]


def log1p(*, x: str | None = None) -> Hook:
    """Return a hook that takes the natural logarithm of 1 + X, as ``scanpy.pp.log1p``.

    Parameters
    ----------
    x
        Where X is several arrays: the name of the one to change.

    Returns
    -------
    hook
        For ``fetch_transform`` or ``batch_transform``. X may be CSR, dense or padded,
        and keeps its layout; values of the same column of a row are added up. Float
        types stay; integers become float32 (scanpy makes float64 of them).

    Examples
    --------
    >>> log1p()(np.array([[0.0, 1.0]])).round(3)
    array([[0.   , 0.693]])
    """
    return _Log1p(x)


@dataclass(frozen=True, repr=False)
class _Log1p(Hook):
    name = "log1p"

    def change(self, x: Any, rows: RowsOfBatch) -> Any:
        x = add_up_repeats(x)
        values = get_values(x)
        return put_values(x, np.log1p(values, dtype=float_dtype(values.dtype)))
