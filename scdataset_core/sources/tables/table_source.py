"""Cells in tables: Hugging Face data sets, Parquet and Arrow files."""

from functools import cached_property
from typing import Any

import numpy as np

from ...errors import FileFormatError, MissingNameError, nearest
from ...storage import default_context
from ..fingerprints import fingerprint
from ..genes.joins import GeneJoin, join_genes
from ..obs.columns import Column
from ..obs.joined_columns import JoinedColumns, join_obs
from ..obs.obs_readers import ChosenObs, FileObs, ObsReader, SourceWithObs
from ..options import OpenOptions
from ..read_request import ReadRequest
from ..rows import RowMap, Rows
from ..summaries import describe_files, show_source
from .list_columns import ListX, TableX
from .obs_columns import GroupText, table_column
from .row_groups import Groups
from .row_reader import TableReader

__all__ = ["TableSource", "open_table"]

# The first of these columns that is there names cells; obs=True does not carry it.
_NAMES = ("obs_names", "__index_level_0__", "cell_id", "BARCODE_SUB_LIB_ID", "barcode")

# The block of data in one piece has this many elements, about as AnnData's chunks.
_PIECE_ELEMENTS = 1 << 15


class TableSource(SourceWithObs):
    """Cells in a table.

    Made by :func:`scdataset_core.open`.

    Parameters
    ----------
    x
        Where X lies.
    genes
        Which of its genes are kept.
    obs
        The columns carried.
    names
        Names of the cells in each file, if they are carried.
    selection
        Which rows of the table the cells are; None if they are all, in order.
    """

    def __init__(
        self,
        x: TableX,
        genes: GeneJoin,
        obs: JoinedColumns,
        names: tuple[GroupText, ...],
        selection: RowMap | None,
    ) -> None:
        self._x = x
        self._genes = genes
        self._selection = selection
        self._reader = TableReader(x, genes)
        self.files = x.files if selection is None else ()
        self.file_starts = (
            x.file_starts
            if selection is None
            else np.array([0, len(selection)], np.int64)
        )
        self.sparse = x.sparse
        self.dtype = x.dtype
        reader: ObsReader = FileObs(obs, names, x.file_starts)
        if selection is not None:
            reader = ChosenObs(reader, selection)
        self._set_obs(reader, genes.names)
        self.genes_report = genes.report
        per_row = max(x.n_stored / max(x.n_obs, 1), 1.0)
        n_groups = max(len(x.groups.starts) - 1, 1)
        block = x.n_obs / n_groups if x.groups.decoded else _PIECE_ELEMENTS / per_row
        self.natural_block = max(1, round(min(block, x.n_obs)))

    def __repr__(self) -> str:
        form = "sparse" if self.sparse else "dense"
        counts = f"{self.mean_stored:,.0f} stored values a cell"
        lines = [f"X: {form} {self.dtype}, {counts}"]
        return show_source(self, describe_files(self._x.files), lines)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of row counts, stored count and genes."""
        facts: dict[str, Any] = {
            "rows": np.diff(self.file_starts).tolist(),
            "stored": self._x.n_stored,
            "genes": self.var_names,
        }
        if self._selection is not None and len(self):
            some = np.linspace(0, len(self) - 1, num=min(len(self), 256))
            facts["order"] = self._selection[some.astype(np.int64)]
        return fingerprint(facts)

    @property
    def mean_stored(self) -> float:
        """Mean number of stored values a row (of genes for dense rows)."""
        if not self.sparse:
            return float(self.shape[1])
        return self._x.n_stored / max(self._x.n_obs, 1)

    @cached_property
    def _longest(self) -> int:
        return self._x.longest()

    def longest_row(self) -> int:
        """Return the largest number of stored values in a row of the table.

        Where genes are left out, it is at most the number of those kept.
        """
        if not self.sparse:
            return self.shape[1]
        if self._genes.column_maps[0] is None:
            return self._longest
        return min(self._longest, self.shape[1])

    def read_lengths(self, rows: Rows) -> Rows:
        """Return the stored values of non-decreasing rows, where lists lie mapped."""
        lists = self._x
        if not (self.sparse and isinstance(lists, ListX)) or lists.groups.decoded:
            return super().read_lengths(rows)
        self._genes.check_all_kept()
        wanted = rows if self._selection is None else self._selection[rows]
        order = np.argsort(wanted, kind="stable")
        lengths = np.empty_like(rows)
        for found in lists.segments(wanted[order], default_context()):
            lengths[order[found.of]] = found.lengths
        return lengths

    @property
    def block_starts(self) -> Rows | None:
        """First row of the rows that begin in each group that is decoded whole.

        For data in one piece, it is every `natural_block` rows; None where the cells
        are a choice of rows.
        """
        if self._selection is not None:
            return None
        starts = (
            self._x.starts
            if self._x.groups.decoded
            else np.arange(0, len(self), self.natural_block)
        )
        starts = np.unique(np.concatenate([starts, self.file_starts[:-1]]))
        return starts[starts < len(self)]

    def read_x(self, request: ReadRequest) -> list[Any]:
        """Return the X of each minibatch of a request, see :meth:`Source.read_x`."""
        if self._selection is not None:
            request = request.for_rows(self._selection[request.rows])
        return self._reader.read(request)


def open_table(
    x: TableX,
    cells: Groups | None,
    options: OpenOptions,
    *,
    labels: dict[str, list[str]] | None = None,
    selection: RowMap | None = None,
    reserved: tuple[str, ...] = (),
) -> TableSource:
    """Return the source over a table.

    Parameters
    ----------
    x
        Where X lies.
    cells
        The table with the obs columns, one row a cell; None: there is none.
    options
        What was asked for.
    labels
        For columns of integers that are codes, what these stand for.
    selection
        Which rows of the table the cells are; None: all, in order.
    reserved
        Columns that are no obs.
    """
    if options.x != "X":
        raise ValueError(
            f'x="{options.x}" goes with AnnData\'s layout; name the columns of a table'
            " that hold X: open(..., columns=...)"
        )
    held = cells or x.groups
    known = [] if cells is None else held.schema.names
    name_column = next((name for name in _NAMES if name in known), None)
    usable = [name for name in known if name not in (*reserved, name_column)]
    wanted = usable if options.obs is True else options.obs
    for name in wanted:
        if name not in known:
            raise MissingNameError(
                f'{held.files[0]} has no obs column "{name}"; {nearest(name, usable)}'
            )
    files = x.files
    columns: list[dict[str, Column]] = [
        {
            name: table_column(held, name, number, labels=(labels or {}).get(name))
            for name in wanted
        }
        for number in range(len(files))
    ]
    names: tuple[GroupText, ...] = ()
    if options.obs_names:
        if name_column is None:
            raise MissingNameError(
                f"obs_names: {held.files[0]} has no column that names cells"
                f" ({', '.join(_NAMES)}); {nearest('obs_names', known)}"
            )
        names = tuple(GroupText(held, name_column, i) for i in range(len(files)))
    genes = join_genes(files, [x.genes.names] * len(files), options.join, options.genes)
    obs = join_obs(files, columns, options.obs, options.categories)
    if x.n_obs == 0:
        raise FileFormatError(f"{files[0]}: the table has no rows")
    return TableSource(x, genes, obs, names, selection)
