"""Cells in memory: NumPy arrays, memory maps and SciPy's sparse rows."""

import mmap
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ...storage.io.identities import Identity, check_unchanged
from ..contents import Container, Contents
from ..fingerprints import fingerprint
from ..genes.joins import GeneJoin, join_genes
from ..genes.var_columns import join_var
from ..matrix_rows import read_matrix
from ..obs.columns import Column
from ..obs.joined_columns import JoinedColumns, join_obs
from ..obs.obs_readers import FileObs, SourceWithObs
from ..obs.text import TextArray
from ..options import OpenOptions
from ..read_request import ReadRequest
from ..rows import Rows
from ..summaries import show_source

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

__all__ = [
    "BLOCK_BYTES",
    "ArraySource",
    "as_row_matrix",
    "make_source",
    "open_array",
]

# Rows of about this many bytes are a block; memory has no chunks of its own.
BLOCK_BYTES = 1 << 18


def open_array(obj: Any, options: OpenOptions) -> "ArraySource":
    """Return the source over an array; its genes are called ``"0"``, ``"1"``, ...."""
    if options.x != "X":
        raise ValueError(
            f'x goes with files and AnnData: an array has no "{options.x}"'
        )
    matrix = as_row_matrix(obj)
    names = np.array([str(i) for i in range(matrix.shape[1])], object)
    if options.obs is not True and options.obs:
        raise ValueError(f"an array has no obs, and obs names {list(options.obs)}")
    return make_source(matrix, names, {}, None, options)


def as_row_matrix(x: Any, what: str = "X") -> Any:  # Any: ndarray or CSR, given and got
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


def make_source(
    x: Any,  # Any: ndarray or csr_array
    var_names: npt.NDArray[np.object_],
    columns: dict[str, Column],
    names: TextArray | None,
    options: OpenOptions,
    container: Container | None = None,
) -> "ArraySource":
    """Return the source over a matrix in memory and its labels."""
    genes = join_genes(["memory"], [var_names], options.join, options.genes)
    obs = join_obs(["memory"], [columns], options.obs, options.categories)
    return ArraySource(x, genes, obs, names if options.obs_names else None, container)


class ArraySource(SourceWithObs):
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
    container
        Tells what else the object holds, where it can.
    """

    files = ()

    def __init__(
        self,
        x: "npt.NDArray[Any] | csr_array[Any, tuple[int, int]]",
        genes: GeneJoin,
        obs: JoinedColumns,
        names: TextArray | None,
        container: Container | None = None,
    ) -> None:
        self._x: Any = x
        self._container = container
        self.genes = genes
        self.file_starts = np.array([0, x.shape[0]], np.int64)
        self.sparse = not isinstance(x, np.ndarray)
        self.dtype = x.dtype.newbyteorder("=")
        self._set_obs(FileObs(obs, [names], self.file_starts), genes.names)
        self.genes_report = genes.report
        row_bytes = self._stored_per_row * self.dtype.itemsize
        self.natural_block = max(1, int(BLOCK_BYTES // max(row_bytes, 1.0)))
        self._map = _map_of(x)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self._map is not None:
            state["_x"] = self._map
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self._x, _MapOfFile):
            self._x = self._x.open()

    def __repr__(self) -> str:
        form = "sparse" if self.sparse else "dense"
        return show_source(self, "in memory", [f"X: {form} {self.dtype}"])

    @property
    def _stored_per_row(self) -> float:
        n_obs, n_vars = self._x.shape
        return self._x.nnz / max(n_obs, 1) if self.sparse else float(n_vars)

    @property
    def var(self) -> "pd.DataFrame":
        """The table of the genes."""
        if self._container is None:
            return super().var
        return join_var(self.genes, [self._container.var()], ["memory"])

    @property
    def contents(self) -> Contents | None:
        """Names of what the object holds."""
        return None if self._container is None else self._container.contents()

    @cached_property
    def fingerprint(self) -> str:
        """A digest of row count, stored count and genes."""
        n_stored = int(self._x.nnz if self.sparse else self._x.size)
        facts = {"rows": [len(self)], "stored": [n_stored], "genes": self.var_names}
        return fingerprint(facts)

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
        return (
            longest
            if self.genes.column_maps[0] is None
            else min(longest, self.shape[1])
        )

    def read_lengths(self, rows: Rows) -> Rows:
        """Return the stored values of non-decreasing rows, from the row pointers."""
        if not self.sparse:
            return super().read_lengths(rows)
        self.genes.check_all_kept()
        pointers = self._x.indptr.astype(np.int64, copy=False)
        lengths: Rows = pointers[rows + 1] - pointers[rows]
        return lengths

    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see :meth:`Source.read_x`."""
        return read_matrix(
            self._x,
            request,
            self.genes,
            dtype=self.dtype,
            name_row=lambda row: f"row {row} of X",
        )


def _map_of(x: Any) -> "_MapOfFile | None":
    """Return what maps an array again; None if it is no whole map of a named file."""
    if not isinstance(x, np.memmap) or not isinstance(x.base, mmap.mmap):
        return None
    return None if x.filename is None else _MapOfFile(x)


class _MapOfFile:
    """A memory map of a file, opened again where it is unpickled.

    What may be written through the map changes with it; of other files, the source is
    what they were when it was opened.
    """

    def __init__(self, held: "np.memmap[Any, Any]") -> None:
        self._file = str(held.filename)
        is_read_only = held.mode == "r" and Path(self._file).is_file()
        self._identity = Identity.of(self._file) if is_read_only else None
        self._how: Any = {  # Any: the types of the values differ
            "dtype": held.dtype,
            "offset": held.offset,
            "shape": held.shape,
            "order": "C" if held.flags.c_contiguous else "F",
        }

    def open(self) -> npt.NDArray[Any]:
        """Map the file, for reading only."""
        if self._identity is not None:
            check_unchanged(self._file, self._identity)
        return np.memmap(self._file, mode="r", **self._how)
