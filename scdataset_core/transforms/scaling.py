"""Genes brought to mean 0 and standard deviation 1."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_number
from .densifying import make_dense
from .hook import Hook, RowsOfBatch
from .layouts import (
    add_up_repeats,
    check_columns,
    float_dtype,
    get_values,
    put_values,
)

__all__ = ["scale"]


def scale(
    mean: npt.ArrayLike | None,
    std: npt.ArrayLike,
    max_value: float | None = None,
    *,
    x: str | None = None,
) -> Hook:
    """Return a hook that subtracts `mean` from every gene and divides it by `std`.

    The result is that of ``scanpy.pp.scale`` on the data set with that mean and
    standard deviation, which it writes to ``adata.var["mean"]`` and
    ``adata.var["std"]``.

    Parameters
    ----------
    mean
        Mean of each gene, shape ``(n_vars,)``. None subtracts nothing, as scanpy's
        ``zero_center=False``, and X stays sparse.
    std
        Standard deviation of each gene, shape ``(n_vars,)``. A gene whose standard
        deviation is 0 is not divided, as in scanpy.
    max_value
        Values above it become `max_value`; where a mean is subtracted, values below
        ``-max_value`` become that. None for no limit.
    x
        Where X is several arrays: the name of the one to change.

    Returns
    -------
    hook
        For ``fetch_transform`` or ``batch_transform``. With a mean, X of any layout
        becomes dense, ``(n_rows, n_vars)``, since zeros do not stay zeros. Float types
        stay; integers become float32 (scanpy makes float64 of them).

    Raises
    ------
    ValueError
        If `mean` and `std` are not of one length, a mean is not finite, a standard
        deviation is negative or not finite, or `max_value` is not above 0.

    Examples
    --------
    >>> scale(mean=[1, 2], std=[2, 0], max_value=1)(np.array([[2.0, 3.0], [5.0, 2.0]]))
    array([[0.5, 1. ],
           [1. , 0. ]])
    """
    divisor = _check_genes("std", std)
    if (divisor < 0).any():
        at = int(np.argmax(divisor < 0))
        raise ValueError(f"scale: std must be 0 or more, got {divisor[at]} at {at}")
    divisor = np.where(divisor == 0, 1.0, divisor)
    shift = None if mean is None else _check_genes("mean", mean)
    if shift is not None and len(shift) != len(divisor):
        raise ValueError(
            f"scale: mean and std must be of one length, got {len(shift):,} and"
            f" {len(divisor):,}"
        )
    if max_value is not None:
        check_number("max_value", max_value, above=0)
    return _Scale(x, shift, divisor, None if max_value is None else float(max_value))


def _check_genes(name: str, numbers: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return a number for each gene as float64, in memory of its own."""
    array = np.array(numbers, np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(
            f"scale: {name} must be a number for each gene, shape (n_vars,), got shape"
            f" {array.shape}"
        )
    if not np.isfinite(array).all():
        at = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"scale: {name} must be finite, got {array[at]} at {at}")
    return array


@dataclass(frozen=True, repr=False, eq=False)  # arrays have no single answer
class _Scale(Hook):
    name = "scale"
    mean: npt.NDArray[np.float64] | None
    std: npt.NDArray[np.float64]
    max_value: float | None

    def check_genes(self, n_vars: int) -> None:
        if n_vars != len(self.std):
            raise ValueError(
                f"std has {len(self.std):,} genes, and X has {n_vars:,}; give"
                " both for the genes of the source, in its order (source.var_names)"
            )

    def change(self, x: Any, rows: RowsOfBatch) -> Any:
        if self.mean is None and self.max_value is not None:
            x = add_up_repeats(x)
        values = get_values(x)
        dtype = float_dtype(values.dtype)
        if not isinstance(x, Mapping):
            self.check_genes(x.shape[1])
        if self.mean is None:
            return self._divide(x, values, dtype)
        dense = make_dense(x, len(self.std))
        # The steps round as scanpy's do, which work in place.
        out = np.empty(dense.shape, dtype)
        np.subtract(dense, self.mean, out=out, casting="same_kind")
        np.divide(out, self.std, out=out, casting="same_kind")
        if self.max_value is not None:
            np.clip(out, -self.max_value, self.max_value, out=out)
        return out

    def _divide(self, x: Any, values: npt.NDArray[Any], dtype: np.dtype[Any]) -> Any:
        each = self.std
        if not isinstance(x, np.ndarray):
            columns = (
                x["indices"] if isinstance(x, Mapping) else x.indices[: len(values)]
            )
            check_columns(columns, len(self.std))
            each = self.std[columns]
        out = np.empty(values.shape, dtype)
        np.divide(values, each, out=out, casting="same_kind")
        if self.max_value is not None:
            np.minimum(out, dtype.type(self.max_value), out=out)
        return put_values(x, out)
