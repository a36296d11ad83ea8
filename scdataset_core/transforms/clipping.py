"""Values kept within bounds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import check_number
from .hook import Hook, RowsOfBatch
from .layouts import add_up_repeats, get_values, put_values

__all__ = ["clip"]


def clip(
    min: float | None = None, max: float | None = None, *, x: str | None = None
) -> Hook:
    """Return a hook that brings values below `min` up to it, above `max` down to it.

    Parameters
    ----------
    min, max
        The bounds; None for none. One is needed.
    x
        Where X is several arrays: the name of the one to change.

    Returns
    -------
    hook
        For ``fetch_transform`` or ``batch_transform``. X keeps its layout and its type;
        of an integer type the bounds must be whole numbers that it can hold. CSR and
        padded rows need bounds with 0 between them, since they do not hold their zeros:
        put :func:`to_dense` before other bounds.

    Raises
    ------
    TypeError
        If neither bound is given, or one is no number.
    ValueError
        If `min` is above `max`.

    Examples
    --------
    >>> clip(-1, 1)(np.array([[-3.0, 0.5, 2.0]]))
    array([[-1. ,  0.5,  1. ]])
    """
    if min is None and max is None:
        raise TypeError("clip needs min, max or both")
    for name, bound in (("min", min), ("max", max)):
        if bound is not None:
            check_number(name, bound, finite=False)
    if min is not None and max is not None and min > max:
        raise ValueError(f"clip: min must be at most max, got {min} and {max}")
    return _Clip(x, min, max)


@dataclass(frozen=True, repr=False)
class _Clip(Hook):
    name = "clip"
    min: float | None
    max: float | None

    def change(self, x: Any, rows: RowsOfBatch) -> Any:
        x = add_up_repeats(x)
        values = get_values(x)
        low = self._bound(self.min, values.dtype, is_low=True)
        high = self._bound(self.max, values.dtype, is_low=False)
        if not isinstance(x, np.ndarray) and (
            (low is not None and low > 0) or (high is not None and high < 0)
        ):
            raise ValueError(
                f"the bounds {self.min} and {self.max} would change zeros, which CSR"
                " and padded rows do not hold; put to_dense before it"
            )
        if values.dtype.kind == "b":  # NumPy does not clip bools
            return put_values(x, np.clip(values.view(np.uint8), low, high).view(bool))
        return put_values(x, np.clip(values, low, high))

    def _bound(self, bound: float | None, dtype: np.dtype[Any], *, is_low: bool) -> Any:
        """Return a bound as a number of the type of X; None if it does not bind."""
        if bound is None or dtype.kind == "f":
            return None if bound is None else dtype.type(bound)
        least, most = (0, 1)
        if dtype.kind != "b":
            least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        if bound > most if is_low else bound < least:
            raise ValueError(
                f"no value of type {dtype} is as {'high' if is_low else 'low'} as the"
                f" bound {bound}; ask the Loader for a float dtype"
            )
        if np.isinf(bound):
            return None
        if bound != int(bound):
            raise ValueError(
                f"the bound {bound} is not one that values of type {dtype} can have;"
                " ask the Loader for a float dtype"
            )
        # A bound beyond the type's range is never reached from inside it.
        kept = min(max(int(bound), least), most)
        return np.uint8(kept) if dtype.kind == "b" else dtype.type(kept)
