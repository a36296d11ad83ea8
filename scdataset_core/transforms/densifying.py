"""Dense rows of sparse ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_count
from .hook import Hook, RowsOfBatch
from .layouts import check_columns, count_columns, find_entries, get_values

__all__ = ["make_dense", "to_dense"]


def to_dense(*, n_vars: int | None = None, x: str | None = None) -> Hook:
    """Return a hook that makes X an array with a column for every gene.

    Parameters
    ----------
    n_vars
        Number of genes, ``source.shape[1]``. Only padded rows of a minibatch need it.
    x
        Where X is several arrays: the name of the one to change.

    Returns
    -------
    hook
        For ``fetch_transform`` or ``batch_transform``. X may be CSR or padded, and
        becomes an array ``(n_rows, n_vars)`` of its type; dense X is returned as it
        is. Values of the same column of a row add up.

    Raises
    ------
    TypeError, ValueError
        If `n_vars` is not an integer of at least 1.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> to_dense()(csr_array(np.array([[0, 2], [3, 0]])))
    array([[0, 2],
           [3, 0]])
    """
    if n_vars is not None:
        check_count("n_vars", n_vars)
    return _ToDense(x, n_vars)


@dataclass(frozen=True, repr=False)
class _ToDense(Hook):
    name = "to_dense"
    n_vars: int | None

    def check_genes(self, n_vars: int) -> None:
        count_columns({}, self.n_vars, n_vars)

    def change(self, x: Any, rows: RowsOfBatch) -> Any:
        get_values(x)  # raises if X is in no layout
        return make_dense(x, count_columns(x, self.n_vars, rows.n_vars))


def make_dense(x: Any, n_vars: int) -> npt.NDArray[Any]:
    """Return X with a column for every gene; dense X as it is."""
    if isinstance(x, np.ndarray):
        return x
    if not isinstance(x, Mapping):
        dense: npt.NDArray[Any]
        if x.data.dtype != np.float16:  # SciPy knows no float16
            dense = x.toarray()
            return dense
    entries = find_entries(x)
    check_columns(entries.columns, n_vars)
    n_rows = len(entries.lengths)
    dense = np.zeros((n_rows, n_vars), entries.values.dtype)
    first = np.repeat(np.arange(n_rows, dtype=np.int64) * n_vars, entries.lengths)
    at = first + entries.columns
    summed = entries.in_column_order()
    if summed is entries:
        dense.reshape(-1)[at] = entries.values
    else:
        np.add.at(dense.reshape(-1), at, entries.values)
    return dense
