"""Cells in any object that gives rows for an array of row numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...cells import CellInfo
from ...checks import count_rows
from ...storage import ReadContext
from ..base import Source
from ..fingerprints import fingerprint
from ..matrix_rows import read_matrix
from ..options import OpenOptions
from ..ranged.row_arrays import windows
from ..read_request import ReadRequest
from ..rows import Rows
from ..summaries import show_source
from .array_source import BLOCK_BYTES, as_row_matrix, open_array

__all__ = ["IndexedSource"]

# Rows read on opening, for the width, the type, and the stored values a row.
_SAMPLE_ROWS = 64


class IndexedSource(Source):
    """Cells of an object with ``len()`` and ``obj[rows]``, which stays as it is.

    Made by :func:`scdataset_core.open`. Rows are asked for in increasing order, each
    once a read; it pickles if the object does.

    Parameters
    ----------
    obj
        Gives an array ``(k, n_vars)`` or a CSR matrix for an int64 array of `k` rows.
    options
        Which columns are kept.
    """

    files = ()
    obs_columns = ()

    def __init__(self, obj: Any, options: OpenOptions) -> None:
        self._obj = obj
        n = count_rows(obj)
        self.file_starts = np.array([0, n], np.int64)
        try:
            sample = self._matrix(np.arange(min(n, _SAMPLE_ROWS), dtype=np.int64))
        except (TypeError, KeyError, IndexError) as error:
            raise TypeError(
                f"a {type(obj).__name__} does not give rows for an int64 array of"
                f" their numbers: {error}"
            ) from error
        like = open_array(sample, options)
        self._n_stored_vars = sample.shape[1]
        self.sparse = like.sparse
        self.dtype = like.dtype
        self.info = CellInfo(like.var_names)
        self.genes_report = like.genes_report
        self._genes = like.genes
        self._mean_stored = like.mean_stored
        row_bytes = max(self._mean_stored, 1.0) * self.dtype.itemsize
        self.natural_block = max(1, int(BLOCK_BYTES // row_bytes))

    def __repr__(self) -> str:
        form = "sparse" if self.sparse else "dense"
        kind = type(self._obj).__name__
        return show_source(self, f"in a {kind}", [f"X: {form} {self.dtype}"])

    @property
    def fingerprint(self) -> str:
        """A digest of row count and genes; what is stored is not known."""
        return fingerprint([len(self), self.var_names])

    @property
    def mean_stored(self) -> float:
        """Mean number of stored values a row, of the first rows if X is sparse."""
        return self._mean_stored

    def longest_row(self) -> int:
        """Return the largest number of stored values in a row, reading sparse rows."""
        if not self.sparse:
            return self.shape[1]
        longest = 0
        for start, stop in windows(len(self)):
            matrix = self._matrix(np.arange(start, stop, dtype=np.int64))
            longest = max(longest, int(np.diff(matrix.indptr).max(initial=0)))
        return min(longest, self.shape[1])

    def _matrix(self, rows: Rows) -> Any:  # Any: ndarray or CSR
        """Return the matrix of increasing rows, checked for its shape."""
        from scipy.sparse import issparse

        kind = type(self._obj).__name__
        given = self._obj[rows]
        if not (issparse(given) or np.ma.isMaskedArray(given)):
            try:
                given = np.asarray(given)
            except ValueError as error:  # a tuple of unequal parts, as of a data set
                raise TypeError(
                    f"a {kind} gives a {type(given).__name__} for {len(rows)} rows, and"
                    " open() takes objects whose obj[rows] is an array or CSR matrix"
                ) from error
        matrix = as_row_matrix(
            given,
            f"what a {kind} gives for {len(rows)} rows",
        )
        n_vars = getattr(self, "_n_stored_vars", matrix.shape[1])
        if matrix.shape != (len(rows), n_vars):
            raise ValueError(
                f"a {kind} gave an array of shape {matrix.shape} for {len(rows)} rows"
                f" of {n_vars} genes"
            )
        kind_of_rows = matrix.dtype.newbyteorder("=")
        if getattr(self, "dtype", kind_of_rows) != kind_of_rows:
            self._check_values(matrix, rows)
        return matrix

    def _check_values(self, matrix: Any, rows: Rows) -> None:
        """Raise if values would change in the type of the first rows."""
        values = matrix if isinstance(matrix, np.ndarray) else matrix.data
        with np.errstate(all="ignore"):
            same = values.astype(self.dtype).astype(values.dtype) == values
        if self.dtype.kind == "f":
            same |= values != values  # NaN is not itself
        wrong = values[~same]
        if len(wrong):
            raise ValueError(
                f"a {type(self._obj).__name__} gave {matrix.dtype} for rows {rows[0]}"
                f" to {rows[-1]} and {self.dtype} for its first rows, which cannot hold"
                f" {wrong[0]}; make it give one type for all rows"
            )

    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see :meth:`Source.read_x`."""
        unique, at = np.unique(request.rows, return_inverse=True)
        return read_matrix(
            self._matrix(unique),
            request.for_rows(at.astype(np.int64)),
            self._genes,
            dtype=self.dtype,
            name_row=lambda row: f"row {unique[row]} of X",
        )

    def read_obs(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the carried columns at `rows`, see :meth:`Source.read_obs`."""
        return {}
