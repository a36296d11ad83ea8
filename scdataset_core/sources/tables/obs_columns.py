"""The obs columns of tables: Arrow's numbers, text and dictionaries, read by ranges."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError
from ..arrow.columns import (
    Convert,
    MakeArray,
    convert_codes,
    convert_text,
    distinct_text,
    label_column,
    plain_column,
)
from ..obs.columns import Column, LabelColumn, Unreadable
from .row_groups import Groups

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["GroupArray", "GroupText", "table_column"]


class GroupArray:
    """A column of one file of a table as an array; pickles.

    A fetch reads rows in order: the group read last is kept, so none is decoded twice.

    Parameters
    ----------
    groups
        The table.
    column
        Name of the column.
    number
        Which of the table's files.
    dtype
        Type of what :meth:`read` gives.
    convert
        Turns an array of Arrow into one of NumPy.
    name
        How the array is called; None if as its column.
    """

    def __init__(
        self,
        groups: Groups,
        column: str,
        number: int,
        *,
        dtype: Any,  # Any: as np.dtype takes it
        convert: Convert,
        name: str | None = None,
    ) -> None:
        self.file = groups.files[number]
        self.name = name or column
        self.dtype = np.dtype(dtype)
        self._groups = groups
        self._column = column
        self._convert = convert
        self._first = int(groups.file_starts[number])
        self.shape = (int(groups.file_starts[number + 1]) - self._first,)
        self._last: tuple[int, pa.Array] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the entries in ``[start, stop)``."""
        out = np.empty(stop - start, self.dtype)
        at = 0
        for piece in self.pieces(start, stop):
            out[at : at + len(piece)] = self._convert_piece(piece)
            at += len(piece)
        return out

    def pieces(self, start: int, stop: int) -> "Iterator[pa.Array]":
        """Yield the entries in ``[start, stop)`` as Arrow arrays, group by group."""
        starts = self._groups.starts
        start, stop = start + self._first, stop + self._first
        group = int(np.searchsorted(starts, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(starts[group + 1]))
            if end > start:
                whole = self._read_group(group)
                yield whole.slice(start - int(starts[group]), end - start)
            start, group = end, group + 1

    def _read_group(self, group: int) -> "pa.Array":
        last = self._last
        if last is None or last[0] != group:
            last = (group, self._groups.read(group, [self._column])[0])
            self._last = last if self._groups.decoded else None
        return last[1]

    def _convert_piece(self, piece: "pa.Array") -> npt.NDArray[Any]:
        try:
            return self._convert(piece)
        except KeyError as error:
            raise CorruptFileError(
                f"{self.file}: {self.name} holds {error.args[0]!r} now, which was not"
                " there when the file was opened; open it again"
            ) from error
        except ValueError as error:
            raise CorruptFileError(
                f"{self.file}: {self.name}: {error}; the file is damaged, restore it"
                " from its origin"
            ) from error


class GroupText:
    """A column of text of one file of a table."""

    def __init__(self, groups: Groups, column: str, number: int) -> None:
        self._array = GroupArray(
            groups, column, number, dtype=object, convert=convert_text
        )
        self.file, self.name = self._array.file, column

    def __len__(self) -> int:
        return self._array.shape[0]

    def read(self, start: int, stop: int) -> Sequence[str | None]:
        """Return the text in ``[start, stop)``."""
        read: list[str | None] = self._array.read(start, stop).tolist()
        return read

    def at(self, rows: npt.NDArray[np.int64]) -> Sequence[str | None]:
        """Return the text at non-decreasing rows."""
        return [text for row in rows.tolist() for text in self.read(row, row + 1)]


def table_column(
    groups: Groups, name: str, number: int, *, labels: Sequence[str] | None = None
) -> Column:
    """Return a column of one file of a table as obs has it.

    Parameters
    ----------
    groups
        The table.
    name
        Name of the column.
    number
        Which of the table's files.
    labels
        The labels whose codes the integers are; None if they are plain numbers.
    """
    import pyarrow.types as pt

    def make_array(dtype: np.dtype[Any], convert: Convert, called: str) -> GroupArray:
        return GroupArray(
            groups, name, number, dtype=dtype, convert=convert, name=called
        )

    n_columns = groups.schema.names.count(name)
    if n_columns > 1:
        return Unreadable(f"there are {n_columns} columns of this name")
    kind = groups.schema.field(name).type
    if labels is not None:
        codes = make_array(np.dtype(np.int64), convert_codes, name)
        return LabelColumn(codes, list(labels))
    first, last = np.searchsorted(groups.starts, groups.file_starts[number:][:2])
    span = range(int(first), int(last))
    if pt.is_dictionary(kind):
        return _dictionary_column(groups, name, span, make_array)
    return plain_column(
        kind,
        name,
        make_array,
        lambda: (groups.read(group, [name])[0] for group in span),
        may_miss=lambda: groups.n_missing(name, span.start, span.stop) != 0,
    )


def _dictionary_column(
    groups: Groups, name: str, span: range, make_array: MakeArray
) -> Column:
    """Return a column of dictionaries; each group of rows may have its own."""
    lists: list[Any] = []

    def decode_groups() -> "Iterator[pa.Array]":
        for group in span:
            piece = groups.read(group, [name])[0]
            if groups.keeps_labels and not any(map(piece.dictionary.equals, lists)):
                lists.append(piece.dictionary)
            yield piece.dictionary_decode()

    kind = groups.schema.field(name).type
    found = distinct_text(decode_groups(), kind.value_type)
    if isinstance(found, Unreadable):
        return found
    if len(lists) == 1:  # the same categories everywhere: theirs is the order
        labels = [label for label in lists[0].to_pylist() if label is not None]
    else:
        labels = sorted(found.to_pylist())
    ordered = bool(kind.ordered) and bool(lists)
    return label_column(labels, kind.value_type, name, make_array, ordered=ordered)
