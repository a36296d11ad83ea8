"""X of a TileDB-SOMA experiment: an array of (cell, gene), read at some cells."""

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError
from ..genes.numbered_genes import LEFT_OUT, UNKNOWN
from ..rows import Rows, cut_runs
from .store import RowIds, SomaArray

__all__ = ["SomaX"]

# As many stored elements are read at a time where the longest row is looked for.
_WINDOW_ELEMENTS = 1 << 22

# Rows of a dense array that lie closer than this are read in one range.
_GAP_ROWS = 32


@dataclass(frozen=True)
class SomaX:
    """One matrix of one experiment.

    Parameters
    ----------
    array
        The array.
    ids
        The cells.
    columns
        The column of each id of the second dimension, ``UNKNOWN`` where there is none,
        ``LEFT_OUT`` where the query left it out; int32.
    n_vars
        Number of columns.
    dtype
        Type of the values.
    n_stored
        Stored elements of all cells of the experiment.
    n_cells
        Cells of the experiment.
    is_sparse_array
        Whether it is stored by (cell, gene, value).
    sparse
        Whether its rows are given as sparse ones.
    """

    array: SomaArray
    ids: RowIds
    columns: npt.NDArray[np.int32]
    n_vars: int
    dtype: np.dtype[Any]
    n_stored: int
    n_cells: int
    is_sparse_array: bool
    sparse: bool

    @property
    def per_row(self) -> float:
        """Mean number of stored elements a row."""
        return self.n_stored / max(self.n_cells, 1)

    def read(
        self, rows: Rows, column_map: npt.NDArray[np.int32] | None, n_vars: int
    ) -> Any:  # Any: ndarray or CSR
        """Return increasing rows: a CSR array or an ndarray.

        Parameters
        ----------
        rows
            Rows of this experiment, none twice.
        column_map
            Where each column goes, -1 where it is left out; None: all as they are.
        n_vars
            Number of columns there.
        """
        columns = self.columns
        if column_map is not None:
            known = columns >= 0
            columns = columns.copy()
            columns[known] = column_map[columns[known]]
        ids = self.ids.at(rows)
        if not self.is_sparse_array:
            return self._dense(ids, columns, n_vars)
        matrix = self._sparse(ids, columns, n_vars)
        return matrix if self.sparse else matrix.toarray()

    def longest(self, column_map: npt.NDArray[np.int32] | None, n_vars: int) -> int:
        """Return the largest number of stored elements in a row, reading all."""
        step = max(1, int(_WINDOW_ELEMENTS / max(self.per_row, 1.0)))
        most = 0
        for start in range(0, self.ids.n, step):
            rows = np.arange(start, min(start + step, self.ids.n))
            matrix = self.read(rows, column_map, n_vars)
            most = max(most, int(np.diff(matrix.indptr).max()))
        return most

    def block_rows(self) -> int:
        """Return about how many cells TileDB decodes together.

        Elements lie in bands of cells. A band holds one gene tile after another, a gene
        tile one cell after another, and a data tile is a run of elements. So the answer
        is the band, or the smallest half, quarter, ... of it that fills a data tile
        within one gene tile.
        """
        options = self.array.handle.schema_config_options()
        dims = json.loads(options.dims)
        band, wide = (int(dims[f"soma_dim_{i}"]["tile"]) for i in (0, 1))
        if self.is_sparse_array:
            in_gene_tile = self.per_row * min(1.0, wide / self.n_vars)
            filled = options.capacity / max(in_gene_tile, 1.0)
            while band % 2 == 0 and band // 2 >= filled:
                band //= 2
        return band

    def _sparse(self, ids: Rows, columns: npt.NDArray[np.int32], n_vars: int) -> Any:
        from scipy.sparse import csr_array

        shape = (len(ids), n_vars)
        if not len(ids):
            return csr_array(shape, dtype=self.dtype)
        read = self.array.read(ids)
        found = [read[f"soma_{name}"].to_numpy() for name in ("dim_0", "dim_1", "data")]
        cells, genes, values = found
        rows = np.searchsorted(ids, cells)
        other = ids.take(rows, mode="clip") != cells
        if other.any():
            raise CorruptFileError(
                f"{self.array.where} gives a value of the cell {cells[other][0]}, which"
                " was not asked for; write the experiment again"
            )
        at = self._columns_of(genes, columns, cells)
        kept = at != LEFT_OUT
        if not kept.all():
            rows, at, values = rows[kept], at[kept], values[kept]
        # TileDB gives elements in an order of its own; SciPy sorts rows and columns.
        return csr_array((values, (rows, at)), shape=shape)

    def _dense(
        self, ids: Rows, columns: npt.NDArray[np.int32], n_vars: int
    ) -> npt.NDArray[Any]:
        out = np.zeros((len(ids), n_vars), self.dtype)
        kept = np.flatnonzero(columns >= 0)
        for start, stop in pairwise(cut_runs(ids, _GAP_ROWS).tolist()):
            run = ids[start:stop]
            first, last = int(run[0]), int(run[-1])
            coords = (slice(first, last), slice(0, len(columns) - 1))
            values = self.array.read_dense(coords)
            if values.shape != (last - first + 1, len(columns)):
                raise CorruptFileError(
                    f"{self.array.where} gives values of shape {values.shape} for the"
                    f" cells {first} to {last} and {len(columns)} genes"
                )
            out[start:stop, columns[kept]] = values[run - first][:, kept]
        return out

    def _columns_of(
        self,
        genes: npt.NDArray[Any],
        columns: npt.NDArray[np.int32],
        cells: npt.NDArray[Any],
    ) -> npt.NDArray[np.int32]:
        """Return the column of each gene id; raise if there is none."""
        outside = (genes < 0) | (genes >= len(columns))
        at = columns.take(genes, mode="clip")
        wrong = outside | (at == UNKNOWN)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise CorruptFileError(
                f"{self.array.where} has a value of the cell {cells[first]} for the"
                f" gene {genes[first]}, and no gene has that soma_joinid; write the"
                " experiment again"
            )
        return at
