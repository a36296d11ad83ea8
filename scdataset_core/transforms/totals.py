"""Cells brought to the same total count."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import check_number
from .hook import Hook, RowsOfBatch
from .layouts import float_dtype, get_values, is_csr, put_values, sum_rows

__all__ = ["normalize_total"]


def normalize_total(target_sum: float = 1e4, *, x: str | None = None) -> Hook:
    """Return a hook that divides each cell by its total, times `target_sum`.

    The result is that of ``scanpy.pp.normalize_total(adata, target_sum=...)``, cell by
    cell. A cell without counts stays as it is.

    Parameters
    ----------
    target_sum
        Total of each cell afterwards, above 0. scanpy's own default, the median total
        of the data set, is a number to give here: a minibatch does not know it.
    x
        Where X is several arrays: the name of the one to change.

    Returns
    -------
    hook
        For ``fetch_transform`` or ``batch_transform``. X may be CSR, dense or padded,
        and keeps its layout. Float types stay; integers become float32. Where X lacks
        genes of a cell (`genes=` of the source, ``overflow="largest"``), the total is
        that of the genes which it has.

    Raises
    ------
    ValueError
        If `target_sum` is not a finite number above 0.

    Notes
    -----
    Wolf, Angerer and Theis, "SCANPY: large-scale single-cell gene expression data
    analysis", Genome Biology 2018. Totals are added up in float64, as scanpy does for
    sparse rows, and rounded to the type of the result before it is divided by them.

    Examples
    --------
    The first cell has 4 counts; each is multiplied by 8 / 4:

    >>> normalize_total(target_sum=8)(np.array([[1, 3], [0, 0]]))
    array([[2., 6.],
           [0., 0.]], dtype=float32)
    """
    check_number("target_sum", target_sum, above=0)
    return _NormalizeTotal(x, float(target_sum))


@dataclass(frozen=True, repr=False)
class _NormalizeTotal(Hook):
    name = "normalize_total"
    target_sum: float

    def change(self, x: Any, rows: RowsOfBatch) -> Any:
        values = get_values(x)
        dtype = float_dtype(values.dtype)
        wide = np.result_type(dtype, np.float32)  # float16 cannot hold totals
        scale = sum_rows(x).astype(wide) / wide.type(self.target_sum)
        scale[scale == 0] = 1
        each = np.repeat(scale, np.diff(x.indptr)) if is_csr(x) else scale[:, None]
        divided = np.divide(values, each, dtype=wide)
        return put_values(x, divided.astype(dtype, copy=False))
