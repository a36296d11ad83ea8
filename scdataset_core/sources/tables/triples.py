"""Tables of (cell, gene, value) triples, sorted by cell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CorruptFileError, FileFormatError, ScdatasetError
from ...storage import ReadContext
from ..genes.numbered_genes import GeneIds
from ..options import OpenOptions
from .files import ParquetFiles
from .list_columns import Segments
from .row_groups import Rows
from .table_source import TableSource, open_table
from .x_columns import find_columns

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CELLS", "EXPRESSION", "GENES", "TripleX", "open_triples"]

# The files of a folder of such tables.
EXPRESSION, CELLS, GENES = "expression.parquet", "cells.parquet", "genes.parquet"

# Columns of the table of genes that name them, and those that number them.
_GENE_NAMES = ("gene_id", "gene_name", "var_names", "__index_level_0__", "name")
_GENE_NUMBERS = ("gene_integer_id", "token_id", "soma_joinid")


@dataclass(frozen=True)
class TripleX:
    """X as triples. Cells are numbered from 0; a cell without triples is an empty row.

    Parameters
    ----------
    groups
        The table.
    columns
        Columns of the cell, the gene and the value.
    genes
        The genes.
    dtype
        Type of the values.
    n_obs
        Number of cells.
    firsts, lasts
        First and last cell of each group.
    label
        How messages call the file or folder of the cells.
    """

    groups: ParquetFiles
    columns: tuple[str, str, str]
    genes: GeneIds
    dtype: np.dtype[Any]
    n_obs: int
    firsts: Rows
    lasts: Rows
    label: str

    @property
    def sparse(self) -> bool:
        """Whether its rows are sparse."""
        return True

    @property
    def files(self) -> tuple[str, ...]:
        """The file or folder of the cells."""
        return (self.label,)

    @property
    def file_starts(self) -> Rows:
        """First cell, and the number of cells."""
        return np.array([0, self.n_obs], np.int64)

    @property
    def n_stored(self) -> int:
        """Number of triples."""
        return int(self.groups.starts[-1])

    @property
    def starts(self) -> Rows:
        """First of the cells that begin in each group."""
        begun = self.firsts[1:] + (self.firsts[1:] == self.lasts[:-1])
        return np.unique(np.append(0, begun))

    def where(self, row: int) -> str:
        """Return how messages call a cell."""
        return f"{self.label}: cell {row}"

    def longest(self) -> int:
        """Return the largest number of triples of a cell, reading all cells."""
        most, last, tail = 0, -1, 0
        for group in range(len(self.firsts)):
            (cells,) = self._columns(group, self.columns[:1])
            if not len(cells):
                continue
            counts = np.bincount(cells - self.firsts[group])
            counts[0] += tail if last == self.firsts[group] else 0
            most = max(most, int(counts.max()))
            last, tail = int(self.lasts[group]), int(counts[-1])
        return most

    def segments(self, rows: Rows, context: ReadContext) -> list[Segments]:
        """Return the triples of non-decreasing cells; a cell may have two runs.

        A cell between two groups has none, as their footers say: both are read, which
        checks what they say.
        """
        firsts, lasts = self._spans
        edges = np.zeros(len(firsts) + 1, np.int64)
        np.add.at(edges, np.searchsorted(lasts, rows, side="left"), 1)
        np.add.at(edges, np.searchsorted(firsts, rows, side="right"), -1)
        touched = np.flatnonzero(np.cumsum(edges)[:-1] > 0).tolist()
        out: list[Any] = [None] * len(touched)

        def read(number: int) -> None:
            group = touched[number]
            start = int(np.searchsorted(rows, firsts[group], side="left"))
            stop = int(np.searchsorted(rows, lasts[group], side="right"))
            out[number] = self._read_group(group, rows[start:stop], start)

        context.run([partial(read, number) for number in range(len(touched))])
        return out

    @cached_property
    def _spans(self) -> tuple[Rows, Rows]:
        """First and last cell of each group, with the empty ones on both sides."""
        before = np.append(-1, self.lasts[:-1])
        after = np.append(self.firsts[1:], self.n_obs)
        firsts = np.minimum(self.firsts, before + 1)
        return firsts, np.maximum(self.lasts, after - 1)

    def _read_group(self, group: int, rows: Rows, first: int) -> Segments:
        cells, ids, values = self._columns(group, self.columns)
        starts = np.searchsorted(cells, rows, side="left")
        lengths = np.searchsorted(cells, rows, side="right") - starts
        packed = np.cumsum(lengths) - lengths
        at = np.repeat(starts - packed, lengths) + np.arange(int(lengths.sum()))
        of = np.arange(first, first + len(rows))
        return Segments(of, packed, lengths, values[at], ids[at])

    def _columns(self, group: int, names: Sequence[str]) -> list[Any]:
        """Return columns of a group, after checking its cells."""
        read = self.groups.read(group, names)
        file, inside = self.groups.file_of(group)
        for name, column in zip(names, read, strict=True):
            if column.null_count:
                raise CorruptFileError(
                    f"{self.groups.files[file]}: row group {inside} of {name} holds"
                    f" {column.null_count} nulls, expected none"
                )
        cells, *rest = [column.to_numpy(zero_copy_only=False) for column in read]
        cells = cells.astype(np.int64, copy=False)
        if (cells[1:] < cells[:-1]).any() or (
            len(cells) and (cells[0], cells[-1]) != self._span(group)
        ):
            raise CorruptFileError(
                f"{self.groups.files[file]}: row group {inside} of {names[0]} is not"
                f" sorted, or not from {self.firsts[group]} to {self.lasts[group]} as"
                " the footer says"
            )
        return [cells, *rest]

    def _span(self, group: int) -> tuple[int, int]:
        return int(self.firsts[group]), int(self.lasts[group])


def open_triples(
    groups: ParquetFiles,
    cells: ParquetFiles | None,
    folder: Path | None,
    options: OpenOptions,
) -> TableSource:
    """Return the source over a table of triples and the tables of cells and genes.

    Parameters
    ----------
    groups
        The triples, sorted by cell.
    cells
        One row a cell, in the order of their numbers, with the obs columns.
    folder
        Where these were found; a table of genes may lie beside.
    options
        What was asked for.
    """
    columns = find_columns(groups, options)
    if len(columns) != 3:
        raise FileFormatError(
            f"{groups.files[0]}: expected columns of (cell, gene, value), found"
            f" {', '.join(columns)}"
        )
    kinds = [_number_type(groups, name) for name in columns]
    for name, kind in zip(columns[:2], kinds[:2], strict=True):
        if kind.kind not in "iu":
            raise FileFormatError(
                f"{groups.files[0]}: {name} is {kind}, expected integer numbers"
            )
    firsts, lasts = groups.bounds(columns[0])
    _check_sorted(groups, columns[0], firsts, lasts)
    n_cells = int(lasts.max(initial=-1)) + 1
    n_obs = n_cells if cells is None else int(cells.starts[-1])
    if n_cells > n_obs or firsts.min(initial=0) < 0:
        raise FileFormatError(
            f"{groups.files[0]} has cells {firsts.min(initial=0)} to {n_cells - 1}, and"
            f" there are {n_obs} cells"
        )
    label = groups.files[0] if folder is None else str(folder)
    numbers = (columns[0], *_cell_numbers(columns))
    if cells is not None:
        _check_numbered(cells, numbers)
    x = TripleX(
        groups,
        (columns[0], columns[1], columns[2]),
        _genes(label, columns[1], folder, options),
        kinds[2],
        n_obs,
        firsts,
        lasts,
        label,
    )
    return open_table(x, cells, options, reserved=(*numbers, *columns[1:]))


def _cell_numbers(columns: Sequence[str]) -> tuple[str, ...]:
    return ("soma_joinid",) if columns[0] == "soma_dim_0" else ()


def _check_numbered(cells: ParquetFiles, names: Sequence[str]) -> None:
    """Raise if a table of cells numbers them, and they are not in that order."""
    import pyarrow.types as pt

    schema = cells.schema
    name = next((name for name in names if name in schema.names), None)
    if name is None or not pt.is_integer(schema.field(name).type):
        return
    for group, start in enumerate(cells.starts[:-1].tolist()):
        found = cells.read(group, [name])[0].to_numpy(zero_copy_only=False)
        wrong = found != np.arange(start, start + len(found))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise FileFormatError(
                f"{cells.files[0]}: row {start + row} has the {name} {found[row]},"
                " expected each cell at the row of its number, from 0 on: sort the"
                " table by it, and number the cells anew if some were left out"
            )


def _number_type(groups: ParquetFiles, name: str) -> np.dtype[Any]:
    import pyarrow.types as pt

    kind: pa.DataType = groups.schema.field(name).type
    if not (pt.is_integer(kind) or pt.is_floating(kind)):
        raise FileFormatError(
            f"{groups.files[0]}: {name} is {kind}, expected numbers, one a triple"
        )
    dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return dtype


def _check_sorted(groups: ParquetFiles, name: str, firsts: Rows, lasts: Rows) -> None:
    for group, (last, first) in enumerate(
        zip(lasts[:-1].tolist(), firsts[1:].tolist(), strict=True)
    ):
        if first < last:
            raise FileFormatError(
                f"{groups.files[0]}: {name} is not sorted: row group {group} ends with"
                f" cell {last} and the next begins with {first}; sort the table by it"
            )


def _genes(
    label: str, column: str, folder: Path | None, options: OpenOptions
) -> GeneIds:
    """Return the genes of the vocabulary given, or those of the table of genes."""
    if options.vocabulary is not None:
        return GeneIds.of(options.vocabulary)
    if folder is None or not (folder / GENES).is_file():
        raise FileFormatError(
            f"{label} holds genes by number, in its column {column}; say what they are"
            " called: open(..., vocabulary={0: 'TSPAN6', ...}), or a list of names"
        )
    try:
        return GeneIds.of(_read_vocabulary(folder / GENES))
    except (TypeError, ValueError) as error:
        if isinstance(error, ScdatasetError):
            raise
        raise FileFormatError(
            f"{folder / GENES} does not name the genes: {error}; give their names:"
            " open(..., vocabulary=[...])"
        ) from error


def _read_vocabulary(path: Path) -> Mapping[int, str] | Sequence[str]:
    """Return the names that a table of genes holds, by number if it has numbers."""
    genes = ParquetFiles([str(path)])
    name = next((n for n in _GENE_NAMES if n in genes.schema.names), None)
    if name is None:
        raise FileFormatError(
            f"{path} has no column that names genes ({', '.join(_GENE_NAMES)}); give"
            " their names: open(..., vocabulary=[...])"
        )
    names = _all(genes, name)
    number = next((n for n in _GENE_NUMBERS if n in genes.schema.names), None)
    if number is None:
        return names
    numbers = _all(genes, number)
    found = dict(zip(numbers, names, strict=True))
    if len(found) < len(numbers):
        ((twice, n),) = Counter(numbers).most_common(1)
        raise ValueError(f"{n} genes have the {number} {twice}")
    return found


def _all(groups: ParquetFiles, name: str) -> list[Any]:
    return [
        value
        for group, _ in enumerate(pairwise(groups.starts))
        for value in groups.read(group, [name])[0].to_pylist()
    ]
