"""The columns of an experiment's table of cells, read by query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, FileFormatError, MissingNameError, nearest
from ...storage import ReadContext
from ..arrow.columns import Convert, convert_text, label_column, plain_column
from ..arrow.soundness import check_sound
from ..obs.columns import Column, NumberColumn
from ..ranged.row_arrays import Check, KeptArrays, RowArray, windows
from ..rows import Rows
from .store import RowIds, SomaArray

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["JOINID", "SomaKept", "SomaText", "obs_columns", "read_joinids"]

JOINID = "soma_joinid"


@dataclass(frozen=True)
class SomaColumn:
    """A column at some cells, as an array.

    Parameters
    ----------
    table
        The table of cells.
    ids
        The cells.
    column
        Name of the column.
    dtype
        Type of what is read.
    convert
        Turns an array of Arrow into one of NumPy.
    name
        How the array is called.
    """

    table: SomaArray
    ids: RowIds
    column: str
    dtype: np.dtype[Any]
    convert: Convert
    name: str

    @property
    def file(self) -> str:
        """The experiment."""
        return self.table.file

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells."""
        return (self.ids.n,)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the entries in ``[start, stop)``."""
        return self._read_converted(self.ids.cut(start, stop))

    def at(self, rows: Rows) -> npt.NDArray[Any]:
        """Return the entries at non-decreasing rows, read with one query."""
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        repeats = np.diff(np.append(first, len(rows)))
        return np.repeat(self._read_converted(self.ids.at(rows[first])), repeats)

    def _read_converted(self, ids: Rows) -> npt.NDArray[Any]:
        if not len(ids):
            return np.empty(0, self.dtype)
        try:
            found = self.convert(_column(self.table, self.column, ids))
        except KeyError as error:
            raise CorruptFileError(
                f"{self.table.where}/{self.column} holds {error.args[0]!r}, which is"
                " not among its labels; write the experiment again"
            ) from error
        return found.astype(self.dtype, copy=False)


@dataclass(frozen=True)
class SomaText:
    """A column of text at some cells."""

    array: SomaColumn

    @classmethod
    def of(cls, table: SomaArray, ids: RowIds, column: str) -> "SomaText":
        """Return a column's text."""
        dtype = np.dtype(object)
        return cls(SomaColumn(table, ids, column, dtype, convert_text, column))

    @property
    def file(self) -> str:
        """The experiment."""
        return self.array.file

    @property
    def name(self) -> str:
        """The column."""
        return self.array.name

    def __len__(self) -> int:
        return self.array.ids.n

    def read(self, start: int, stop: int) -> Sequence[str | None]:
        """Return the text in ``[start, stop)``."""
        read: list[str | None] = self.array.read(start, stop).tolist()
        return read

    def at(self, rows: Rows) -> Sequence[str | None]:
        """Return the text at non-decreasing rows."""
        read: list[str | None] = self.array.at(rows).tolist()
        return read


class SomaKept(KeptArrays):
    """Keeps small columns, and reads a fetch's rows of larger ones with one query."""

    def at(
        self,
        array: RowArray,
        rows: Rows,
        context: ReadContext,
        *,
        check: Check,
    ) -> tuple[npt.NDArray[Any], Rows]:
        """Return entries that hold those at `rows`, and where each is among them."""
        kept = self._whole(array, check) if isinstance(array, SomaColumn) else None
        if isinstance(array, SomaColumn) and kept is None:
            return check(array.at(rows), 0), np.arange(len(rows))
        return super().at(array, rows, context, check=check)


def read_joinids(table: SomaArray) -> Rows:
    """Return the ids of all cells, or genes, increasing."""
    handle = table.handle
    if tuple(handle.index_column_names) != (JOINID,):
        raise FileFormatError(
            f"{table.where} is indexed by {', '.join(handle.index_column_names)},"
            f" expected {JOINID}, by which cells are found; write it again with"
            f' index_column_names=["{JOINID}"]'
        )
    joined: Rows = np.sort(table.read(None, [JOINID])[JOINID].to_numpy())
    if (joined[1:] == joined[:-1]).any():
        raise CorruptFileError(f"{table.where} holds a {JOINID} twice")
    return joined


def obs_columns(
    table: SomaArray, ids: RowIds, wanted: Sequence[str], known: Sequence[str]
) -> dict[str, Column]:
    """Return the wanted columns.

    Raises
    ------
    MissingNameError
        If there is no such column.
    """
    for name in wanted:
        if name not in known:
            raise MissingNameError(
                f'{table.file} has no obs column "{name}"; {nearest(name, known)}'
            )
    return {name: _obs_column(table, ids, name) for name in wanted}


def _obs_column(table: SomaArray, ids: RowIds, name: str) -> Column:
    import pyarrow.types as pt

    def make_array(dtype: np.dtype[Any], convert: Convert, called: str) -> SomaColumn:
        return SomaColumn(table, ids, name, dtype, convert, called)

    field = table.handle.schema.field(name)
    kind = field.type
    if pt.is_dictionary(kind):
        # The entry of one cell comes with all the labels.
        labels = _column(table, name, ids.cut(0, 1)).dictionary
        return label_column(
            labels.to_pylist(),
            labels.type,
            name,
            make_array,
            ordered=bool(kind.ordered),
        )
    column = plain_column(
        kind,
        name,
        make_array,
        lambda: (
            _column(table, name, ids.cut(start, stop)) for start, stop in windows(ids.n)
        ),
        may_miss=lambda: bool(field.nullable),
    )
    if isinstance(column, NumberColumn) and not column.any_missing():
        return NumberColumn(column.values)
    return column


def _column(table: SomaArray, name: str, ids: Rows) -> "pa.Array":
    """Return a column at increasing ids, at least one, in their order."""
    import pyarrow as pa

    read = table.read(ids, [JOINID] if name == JOINID else [JOINID, name])
    check_sound(read, f"{table.where}/{name}")  # its codes are as they were stored
    found = read[JOINID].to_numpy()
    values = read[name].combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.unify_dictionaries().chunks)
    if np.array_equal(found, ids):
        return values
    order = np.argsort(found, kind="stable")
    if not np.array_equal(found[order], ids):
        raise CorruptFileError(
            f"{table.where} gives {len(found)} rows for {len(ids)} cells from {ids[0]}"
            f" to {ids[-1]}; open it again"
        )
    return values.take(pa.array(order))
