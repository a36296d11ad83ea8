"""X of tables as segments of rows, and X that lies in list columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError
from ...storage import ReadContext
from ..genes.numbered_genes import GeneIds
from .mapped_lists import Found, MappedLists
from .row_groups import Groups, Rows, cut_by_group, name_row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ListX", "Segments", "TableX", "flat_lists", "flat_numbers"]


class Segments(NamedTuple):
    """Runs of elements, each a row or a part of a row, all of one group.

    Parameters
    ----------
    of
        Which of the wanted rows each run belongs to; no row twice.
    starts, lengths
        Where each run lies among the values.
    values
        Value of each element.
    ids
        Gene id of each element; None for dense rows.
    id_starts
        Where each run lies among the ids; None if it is as among the values.
    """

    of: Rows
    starts: Rows
    lengths: Rows
    values: npt.NDArray[Any]
    ids: npt.NDArray[Any] | None
    id_starts: Rows | None = None


class TableX(Protocol):
    """X of a table.

    Attributes
    ----------
    groups
        The table that holds it.
    genes
        Its genes.
    dtype
        Type of its values.
    """

    @property
    def groups(self) -> Groups:
        """The table that holds it."""

    @property
    def genes(self) -> GeneIds:
        """Its genes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""

    @property
    def sparse(self) -> bool:
        """Whether its rows are sparse."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files, in the order of their cells."""

    @property
    def file_starts(self) -> Rows:
        """First cell of each file, and the number of cells."""

    @property
    def n_obs(self) -> int:
        """Number of rows."""

    @property
    def n_stored(self) -> int:
        """Number of elements, or nearly."""

    @property
    def starts(self) -> Rows:
        """First row of the rows that begin in each group."""

    def segments(self, rows: Rows, context: ReadContext) -> list[Segments]:
        """Return the elements of non-decreasing rows."""

    def longest(self) -> int:
        """Return the largest number of elements in a row."""

    def where(self, row: int) -> str:
        """Return the file of a row and its number there, for messages."""


@dataclass(frozen=True)
class ListX:
    """X as list columns: a cell has a list of values, or lists of gene ids and values.

    A first element with a negative value and an id of no gene is a marker, as data sets
    made for transformers have it, and no part of X.

    Parameters
    ----------
    groups
        The table.
    values
        Column of the values.
    ids
        Column of the gene ids; None: the lists are dense rows.
    genes
        The genes, by id or by position.
    dtype
        Type of the values.
    marked
        Whether the first row begins with a marker. It is a hint: each row is checked.
    mapped
        Where lists lie in mapped files, if the table is mapped.
    """

    groups: Groups
    values: str
    ids: str | None
    genes: GeneIds
    dtype: np.dtype[Any]
    marked: bool = False
    mapped: MappedLists | None = None

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return int(self.groups.starts[-1])

    @property
    def sparse(self) -> bool:
        """Whether the rows are sparse."""
        return self.ids is not None

    @property
    def files(self) -> tuple[str, ...]:
        """The files, in the order of their cells."""
        return self.groups.files

    @property
    def file_starts(self) -> Rows:
        """First cell of each file, and the number of cells."""
        return self.groups.file_starts

    @property
    def n_stored(self) -> int:
        """Number of elements, or nearly: Parquet counts an empty list as one."""
        n_elements = self.groups.n_elements(self.columns[-1])
        return n_elements - self.n_obs if self.marked else n_elements

    @property
    def starts(self) -> Rows:
        """First row of each group."""
        return np.unique(self.groups.starts[:-1])

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [self.values] if self.ids is None else [self.values, self.ids]

    def segments(self, rows: Rows, context: ReadContext) -> list[Segments]:
        """Return the elements of non-decreasing rows, one run for each row."""
        found: list[Segments] = []
        rest = np.arange(len(rows))
        if self.mapped is not None:
            self.groups.check(rows)
            lying, apart = self.mapped.find(rows)
            found = [self._mapped_segments(columns, rows) for columns in lying]
            rest = np.flatnonzero(apart)
        cuts = cut_by_group(rows[rest], self.groups.starts)
        out: list[Any] = [None] * len(cuts)

        def read(number: int) -> None:
            group, start, stop = cuts[number]
            of = rest[start:stop]
            out[number] = self._read_group(group, rows[of], of)

        context.run([partial(read, number) for number in range(len(cuts))])
        return found + out

    def _mapped_segments(self, columns: list[Found], rows: Rows) -> Segments:
        """Return the runs of rows that were found in a mapped file."""
        of, starts, lengths, values = columns[0]
        if self.ids is None:
            self._check_width(lengths, rows[of])
            return Segments(of, starts, lengths, values, None)
        _, id_starts, id_lengths, ids = columns[1]
        self._check_lengths(lengths, id_lengths, rows[of])
        return self._drop_markers(Segments(of, starts, lengths, values, ids, id_starts))

    def longest(self) -> int:
        """Return the largest number of elements in a row."""
        most = 0
        for group in range(len(self.groups.starts) - 1):
            lists = self.groups.read(group, self.columns[-1:])[0]
            most = max(most, int(np.diff(flat_lists(lists)[0]).max(initial=0)))
        return max(most - self.marked, 0)

    def _read_group(self, group: int, rows: Rows, of: Rows) -> Segments:
        lists = self.groups.read(group, self.columns)
        local = rows - self.groups.starts[group]
        self._check_nulls(lists, local, rows)
        if self.groups.decoded:  # keep the wanted rows alone
            lists = [column.take(_arrow(local)) for column in lists]
            local = np.arange(len(rows))
        bounds, children = flat_lists(lists[0])
        starts, stops = bounds[local], bounds[local + 1]
        lengths = stops - starts
        values = self._flatten(children, starts, stops, rows)
        if self.ids is None:
            self._check_width(lengths, rows)
            return Segments(of, starts, lengths, values, None)
        bounds, children = flat_lists(lists[1])
        id_starts = bounds[local]
        id_lengths = bounds[local + 1] - id_starts
        self._check_lengths(lengths, id_lengths, rows)
        ids = self._flatten(children, id_starts, id_starts + id_lengths, rows)
        return self._drop_markers(Segments(of, starts, lengths, values, ids, id_starts))

    def _drop_markers(self, segments: Segments) -> Segments:
        """Return the runs without the markers at the beginning of rows."""
        of, starts, lengths, values, ids, id_starts = segments
        assert ids is not None
        assert id_starts is not None
        marker = lengths > 0
        negative = values[starts[marker]] < 0
        no_gene = ~self.genes.known(ids[id_starts[marker]])
        marker[marker] = negative & no_gene
        return Segments(
            of, starts + marker, lengths - marker, values, ids, id_starts + marker
        )

    def _flatten(self, child: "pa.Array", starts: Rows, stops: Rows, rows: Rows) -> Any:
        if child.null_count:
            for row, start, stop in zip(
                rows.tolist(), starts.tolist(), stops.tolist(), strict=True
            ):
                if child.slice(start, stop - start).null_count:
                    raise CorruptFileError(
                        f"{self.where(row)} holds a null in its list"
                    )
        return flat_numbers(child)

    def _check_nulls(
        self, lists: "Sequence[pa.Array]", local: Rows, rows: Rows
    ) -> None:
        for name, column in zip(self.columns, lists, strict=True):
            if column.null_count:
                null = column.is_null().to_numpy(zero_copy_only=False)[local]
                if null.any():
                    row = int(rows[np.argmax(null)])
                    raise CorruptFileError(
                        f"{self.where(row)} has no list in {name}: it is null"
                    )

    def _check_width(self, lengths: Rows, rows: Rows) -> None:
        width = len(self.genes.names)
        if (lengths != width).any():
            at = int(np.argmax(lengths != width))
            raise CorruptFileError(
                f"{self.where(int(rows[at]))} has {lengths[at]} values in"
                f" {self.values}, and there are {width} genes; if the lists are"
                " sparse, name their two columns: open(..., columns=(gene ids, values))"
            )

    def _check_lengths(self, lengths: Rows, id_lengths: Rows, rows: Rows) -> None:
        if not np.array_equal(lengths, id_lengths):
            at = int(np.argmax(lengths != id_lengths))
            raise CorruptFileError(
                f"{self.where(int(rows[at]))} has {id_lengths[at]} gene ids in"
                f" {self.ids} and {lengths[at]} values in {self.values}"
            )

    def where(self, row: int) -> str:
        """Return the file of a row and its number there, for messages."""
        return name_row(self.groups, row)


def _arrow(rows: Rows) -> "pa.Array":
    import pyarrow as pa

    return pa.array(rows)


def flat_lists(lists: "pa.Array") -> "tuple[Rows, pa.Array]":
    """Return where each list starts, with the end behind the last, and all elements.

    Both are views of Arrow's memory; only offsets of 32 bits are copied, as 64 bits.
    """
    import pyarrow as pa

    if isinstance(lists, pa.FixedSizeListArray):
        n = np.arange(len(lists) + 1, dtype=np.int64)
        return (n + lists.offset) * lists.type.list_size, lists.values
    bounds = lists.offsets.to_numpy().astype(np.int64, copy=False)
    if (
        (bounds[1:] < bounds[:-1]).any()
        or bounds[0] < 0
        or bounds[-1] > len(lists.values)
    ):
        raise CorruptFileError("the offsets of a list column are not in order")
    return bounds, lists.values


def flat_numbers(child: "pa.Array") -> npt.NDArray[Any]:
    """Return the elements of lists as a view of Arrow's memory."""
    dtype = np.dtype(child.type.to_pandas_dtype())
    buffer = child.buffers()[1]
    if buffer is None:
        return np.empty(0, dtype)
    start = child.offset * dtype.itemsize
    size = len(child) * dtype.itemsize
    return np.frombuffer(memoryview(buffer)[start : start + size], dtype)
