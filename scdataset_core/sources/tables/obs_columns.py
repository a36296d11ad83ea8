"""The obs columns of tables: Arrow's numbers, text and dictionaries, read by ranges."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError
from ..obs.columns import MAX_LABELS, Column, LabelColumn, NumberColumn, Unreadable
from .row_groups import Groups

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["GroupArray", "GroupText", "table_column"]


class GroupArray:
    """A column of one file of a table as an array; pickles.

    The group read last is kept: a fetch reads rows in order, so none is decoded twice.

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
        What the array is called, if not as its column.
    """

    def __init__(
        self,
        groups: Groups,
        column: str,
        number: int,
        *,
        dtype: Any,  # Any: as np.dtype takes it
        convert: "Callable[[pa.Array], npt.NDArray[Any]]",
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
            out[at : at + len(piece)] = self._converted(piece)
            at += len(piece)
        return out

    def pieces(self, start: int, stop: int) -> "Iterator[pa.Array]":
        """Yield the entries in ``[start, stop)``, group by group, as Arrow has them."""
        starts = self._groups.starts
        start, stop = start + self._first, stop + self._first
        group = int(np.searchsorted(starts, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(starts[group + 1]))
            if end > start:
                whole = self._group(group)
                yield whole.slice(start - int(starts[group]), end - start)
            start, group = end, group + 1

    def _group(self, group: int) -> "pa.Array":
        last = self._last
        if last is None or last[0] != group:
            last = (group, self._groups.read(group, [self._column])[0])
            self._last = last if self._groups.decoded else None
        return last[1]

    def _converted(self, piece: "pa.Array") -> npt.NDArray[Any]:
        try:
            return self._convert(piece)
        except KeyError as error:
            raise CorruptFileError(
                f"{self.file}: {self.name} holds {error.args[0]!r} now, which was not"
                " there when the file was opened; open it again"
            ) from error


class GroupText:
    """A column of text of one file of a table."""

    def __init__(self, groups: Groups, column: str, number: int) -> None:
        self._array = GroupArray(groups, column, number, dtype=object, convert=texts)
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
        What the integers of the column stand for; None: themselves.
    """
    import pyarrow.types as pt

    kind = groups.schema.field(name).type
    if labels is not None:
        codes = GroupArray(groups, name, number, dtype=np.int64, convert=given_codes)
        return LabelColumn(codes, list(labels))
    if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind):
        dtype = kind.to_pandas_dtype()
        values = GroupArray(groups, name, number, dtype=dtype, convert=numbers)
        if groups.n_missing(name, *_groups_of(groups, number)) == 0:
            return NumberColumn(values)
        mask = GroupArray(
            groups,
            name,
            number,
            dtype=np.bool_,
            convert=missing,
            name=f"{name} (missing)",
        )
        return NumberColumn(values, mask)
    if pt.is_dictionary(kind) or pt.is_string(kind) or pt.is_large_string(kind):
        return _label_column(groups, name, number)
    return Unreadable(f"it is {kind}")


def _groups_of(groups: Groups, number: int) -> tuple[int, int]:
    """Return the first group of a file, and the one behind its last."""
    first, last = np.searchsorted(groups.starts, groups.file_starts[number:][:2])
    return int(first), int(last)


def _label_column(groups: Groups, name: str, number: int) -> Column:
    import pyarrow as pa

    kind = groups.schema.field(name).type
    is_dictionary = isinstance(kind, pa.DictionaryType)
    plain = kind.value_type if is_dictionary else kind
    first, last = _groups_of(groups, number)
    found = pa.array([], plain)
    lists: list[Any] = []
    for group in range(first, last):
        piece = groups.read(group, [name])[0]
        if is_dictionary:
            if groups.keeps_labels and not any(map(piece.dictionary.equals, lists)):
                lists.append(piece.dictionary)
            piece = piece.dictionary_decode()
        found = pa.concat_arrays([found, piece.unique()]).unique()
        if len(found) > MAX_LABELS + 1:
            return Unreadable(
                f"it holds more than {MAX_LABELS} distinct strings: names, not labels"
            )
    if len(lists) == 1:  # the same categories everywhere: theirs is the order
        labels = [label for label in lists[0].to_pylist() if label is not None]
    else:
        labels = sorted(label for label in found.to_pylist() if label is not None)
    codes = GroupArray(
        groups,
        name,
        number,
        dtype=np.min_scalar_type(-max(1, len(labels))),
        convert=CodesOf(pa.array(labels, plain)),
    )
    return LabelColumn(codes, labels, is_dictionary and kind.ordered and bool(lists))


def numbers(piece: "pa.Array") -> npt.NDArray[Any]:
    """Return numbers or booleans, 0 where they are null."""
    filled = piece.fill_null(False if piece.type == "bool" else 0)
    found: npt.NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    return found


def missing(piece: "pa.Array") -> npt.NDArray[Any]:
    """Return where values are null."""
    found: npt.NDArray[Any] = piece.is_null().to_numpy(zero_copy_only=False)
    return found


def given_codes(piece: "pa.Array") -> npt.NDArray[Any]:
    """Return integers that are codes already, -1 where they are null."""
    found: npt.NDArray[Any] = piece.fill_null(-1).to_numpy(zero_copy_only=False)
    return found


def texts(piece: "pa.Array") -> npt.NDArray[Any]:
    """Return text as Python strings, None where it is null."""
    out = np.empty(len(piece), object)
    out[:] = [None if value is None else str(value) for value in piece.to_pylist()]
    return out


class CodesOf:
    """Turns text into the position of each string among labels."""

    def __init__(self, labels: "pa.Array") -> None:
        self._labels = labels

    def __call__(self, piece: "pa.Array") -> npt.NDArray[Any]:
        """Return the code of each entry, -1 where it is null."""
        import pyarrow.compute as pc

        if hasattr(piece, "dictionary_decode"):
            piece = piece.dictionary_decode()
        found = pc.index_in(piece, value_set=self._labels)
        if found.null_count > piece.null_count:
            new = piece.filter(pc.and_(found.is_null(), piece.is_valid()))
            raise KeyError(new[0].as_py())
        codes: npt.NDArray[Any] = found.fill_null(-1).to_numpy(zero_copy_only=False)
        return codes
