"""Cells in memory: NumPy arrays, memory maps and SciPy's sparse rows."""

import copy
import hashlib
import json
import mmap
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...cells import CellInfo
from ...checks import first_outside
from ...errors import FileFormatError
from ...form import Form, pack_dense, pack_rows
from ...storage import ReadContext
from ..base import Source
from ..contents import Contents, Place
from ..genes.joins import GeneJoin, join_genes, select_columns
from ..genes.var_columns import join_var
from ..obs.columns import Column
from ..obs.joined_columns import ObsTable, join_obs
from ..obs.text import TextArray
from ..options import OpenOptions
from ..ranged.row_arrays import KeptArrays, Rows
from ..read_request import ReadRequest
from ..summaries import shown

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

__all__ = [
    "BLOCK_BYTES",
    "ArraySource",
    "open_array",
    "rows_matrix",
    "source_of",
]

# Rows of about this many bytes are a block; memory has no chunks of its own.
BLOCK_BYTES = 1 << 18


def open_array(obj: Any, options: OpenOptions) -> "ArraySource":
    """Return the source over an array; its genes are called ``"0"``, ``"1"``, ...."""
    if options.x != "X":
        raise ValueError(
            f'x goes with files and AnnData: an array has no "{options.x}"'
        )
    matrix = rows_matrix(obj)
    names = np.array([str(i) for i in range(matrix.shape[1])], object)
    if options.obs is not True and options.obs:
        raise ValueError(f"an array has no obs, and obs names {list(options.obs)}")
    return source_of(matrix, names, {}, None, options)


def rows_matrix(x: Any, what: str = "X") -> Any:  # Any: ndarray or CSR, given and got
    """Return a matrix as an ndarray or a plain CSR array, sharing its memory.

    Raises
    ------
    FileFormatError
        If it is stored by columns, or is no matrix of numbers.
    """
    from scipy.sparse import csr_array, issparse

    if issparse(x):
        if x.format != "csr":
            raise FileFormatError(
                f"{what} is stored as {x.format.upper()}, and cells can only be read"
                " from rows; convert it once with .tocsr()"
            )
        matrix: Any = csr_array(
            (x.data, x.indices, x.indptr), shape=x.shape, copy=False
        )
    elif np.ma.isMaskedArray(x):
        raise FileFormatError(
            f"{what} is a masked array, and what is masked would be read; say what it"
            " stands for: x.filled(0)"
        )
    elif isinstance(x, np.ndarray):
        matrix = x if isinstance(x, np.memmap) else np.asarray(x)
    else:
        raise TypeError(f"{what} is a {type(x).__name__}, expected an array or CSR")
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise FileFormatError(
            f"{what} is {matrix.dtype} of shape {matrix.shape}, expected numbers of"
            " shape (cells, genes)"
        )
    return matrix


def source_of(
    x: Any,  # Any: ndarray or csr_array
    var_names: npt.NDArray[np.object_],
    columns: dict[str, Column],
    names: TextArray | None,
    options: OpenOptions,
    place: Place | None = None,
) -> "ArraySource":
    """Return the source over a matrix in memory and its labels."""
    genes = join_genes(["memory"], [var_names], options.join, options.genes)
    obs = join_obs(["memory"], [columns], options.obs, options.categories)
    return ArraySource(x, genes, obs, names if options.obs_names else None, place)


class ArraySource(Source):
    """Cells in memory.

    Made by :func:`scdataset_core.open`. A memory map of a whole file pickles as its
    path; other arrays pickle with their contents.

    Parameters
    ----------
    x
        An array or memory map ``(n_obs, n_vars)``, or a CSR array.
    genes
        Which columns are kept.
    obs
        The columns carried.
    names
        Names of the cells, if they are carried.
    place
        What else the object holds, if that is known.
    """

    files = ()

    def __init__(
        self,
        x: "npt.NDArray[Any] | csr_array[Any, tuple[int, int]]",
        genes: GeneJoin,
        obs: ObsTable,
        names: TextArray | None,
        place: Place | None = None,
    ) -> None:
        self._x: Any = x
        self._place = place
        self._genes = genes
        self._obs = obs
        self._names = names
        self._kept = KeptArrays([])
        self._called: Rows | None = None
        self.file_starts = np.array([0, x.shape[0]], np.int64)
        self.sparse = not isinstance(x, np.ndarray)
        self.dtype = x.dtype.newbyteorder("=")
        self.info = CellInfo(genes.names, obs.categories, obs.ordered)
        self.notices = obs.notices
        self.genes_report = genes.report
        row_bytes = self._stored_per_row * self.dtype.itemsize
        self.natural_block = max(1, int(BLOCK_BYTES // max(row_bytes, 1.0)))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if isinstance(self._x, np.memmap) and isinstance(self._x.base, mmap.mmap):
            state["_x"] = _MapOfFile(self._x)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self._x, _MapOfFile):
            self._x = self._x.open()

    def __repr__(self) -> str:
        form = "sparse" if self.sparse else "dense"
        return shown(self, "in memory", [f"X: {form} {self.dtype}"])

    def over(self, x: Any, rows: Rows) -> "ArraySource":
        """Return a source over other cells of the same columns; for one without obs.

        Parameters
        ----------
        x
            The cells.
        rows
            What they are called in errors.
        """
        other = copy.copy(self)
        other._x = x
        other._called = rows
        other.file_starts = np.array([0, x.shape[0]], np.int64)
        return other

    @property
    def _stored_per_row(self) -> float:
        n_obs, n_vars = self._x.shape
        return self._x.nnz / max(n_obs, 1) if self.sparse else float(n_vars)

    @property
    def var(self) -> "pd.DataFrame":
        """The table of the genes."""
        if self._place is None:
            return super().var
        return join_var(self._genes, [self._place.var()], ["memory"])

    @property
    def contents(self) -> Contents | None:
        """Names of what the object holds."""
        return None if self._place is None else self._place.contents()

    @property
    def obs_columns(self) -> tuple[str, ...]:
        """Names of the obs columns that batches carry."""
        return tuple(self._obs.columns)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of row count, stored count and genes."""
        facts = {
            "rows": [len(self)],
            "stored": [int(self._x.nnz if self.sparse else self._x.size)],
            "genes": [str(name) for name in self.var_names],
        }
        text = json.dumps(facts, sort_keys=True).encode()
        return hashlib.sha256(text).hexdigest()[:32]

    @property
    def mean_stored(self) -> float:
        """Mean number of stored values a row (of genes for dense rows)."""
        return self._stored_per_row if self.sparse else float(self.shape[1])

    def longest_row(self) -> int:
        """Return the largest number of stored values in a row, as far as is known.

        With genes left out it is at most their number.
        """
        if not self.sparse:
            return self.shape[1]
        longest = int(np.diff(self._x.indptr).max(initial=0))
        return longest if self._genes.tables[0] is None else min(longest, self.shape[1])

    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see :meth:`Source.read_x`."""
        read = self._sparse if self.sparse else self._dense
        form, context = request.form, request.context
        return request.make_batches(
            lambda batch: read(request.batch_rows(batch), form, context)
        )

    def _sparse(self, rows: Rows, form: Form, context: ReadContext) -> Any:
        self._check_pointers(rows)
        picked = self._x[rows]
        values, columns, starts = picked.data, picked.indices, picked.indptr
        wrong = first_outside(columns, picked.shape[1])
        if wrong is not None:
            place = int(np.searchsorted(starts, wrong, side="right")) - 1
            raise ValueError(
                f"{self._name_of(rows[place])} has column {columns[wrong]}, and there"
                f" are {picked.shape[1]} columns"
            )
        starts = starts.astype(np.int64)
        table = self._genes.tables[0]
        if table is not None:
            values, columns, starts = select_columns(
                values, table.take(columns), starts
            )
        values = values.astype(self.dtype, copy=False)
        return pack_rows(
            values,
            columns,
            starts,
            n_vars=self.shape[1],
            form=form,
            empty=context.empty,
            name_row=lambda row: self._name_of(rows[row]),
        )

    def _name_of(self, row: Any) -> str:
        return f"row {row if self._called is None else self._called[row]} of X"

    def _check_pointers(self, rows: Rows) -> None:
        """Raise if SciPy, which trusts them, would read rows outside of the memory."""
        indptr = self._x.indptr
        starts, stops = indptr[rows], indptr[rows + 1]
        n_stored = min(len(self._x.indices), len(self._x.data))
        wrong = (starts < 0) | (stops < starts) | (stops > n_stored)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"{self._name_of(rows[at])} starts at {starts[at]} and ends at"
                f" {stops[at]} of {n_stored} stored values: its row pointers (indptr)"
                " are wrong"
            )

    def _dense(self, rows: Rows, form: Form, context: ReadContext) -> Any:
        columns = self._genes.stored_columns(0)
        picked = self._x[rows] if columns is None else self._x[np.ix_(rows, columns)]
        rows_x = np.asarray(picked).astype(self.dtype, copy=False)
        return pack_dense(
            rows_x,
            form=form,
            empty=context.empty,
            name_row=lambda row: self._name_of(rows[row]),
        )

    def read_obs(
        self, rows: Rows, context: ReadContext, names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the carried columns at `rows`, see :meth:`Source.read_obs`."""
        return self._obs.read(rows, self.file_starts, self._kept, context, names)

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value of a column, None if that is not known."""
        return self._obs.columns[name].count_missing(self._kept)

    def read_names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells at `rows`, or None where not asked for."""
        return None if self._names is None else np.array(self._names.at(rows), object)


class _MapOfFile:
    """A memory map of a file, opened again where it is unpickled."""

    def __init__(self, held: "np.memmap[Any, Any]") -> None:
        self._file = str(held.filename)
        self._how: Any = {  # Any: the types of the values differ
            "dtype": held.dtype,
            "offset": held.offset,
            "shape": held.shape,
            "order": "C" if held.flags.c_contiguous else "F",
        }

    def open(self) -> npt.NDArray[Any]:
        """Map the file, for reading only."""
        return np.memmap(self._file, mode="r", **self._how)
