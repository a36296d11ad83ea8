"""Columns of Arrow's types as obs columns: tables, SOMA and SCDL make theirs here."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..obs.columns import MAX_LABELS, Column, LabelColumn, NumberColumn, Unreadable
from ..ranged.row_arrays import RowArray

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "CodesOf",
    "Convert",
    "MakeArray",
    "convert_all_numbers",
    "convert_codes",
    "convert_missing",
    "convert_numbers",
    "convert_text",
    "distinct_text",
    "label_column",
    "plain_column",
]

Convert = Callable[["pa.Array"], npt.NDArray[Any]]


# Makes the array that reads a column of a file: the type of its values, what converts
# Arrow's to it, and what the array is called.
MakeArray = Callable[[np.dtype[Any], Convert, str], RowArray]


def plain_column(
    kind: "pa.DataType",
    name: str,
    make_array: MakeArray,
    pieces: "Callable[[], Iterable[pa.Array]]",
    *,
    may_miss: Callable[[], bool],
) -> Column:
    """Return a column of numbers or of text as obs has it.

    Parameters
    ----------
    kind
        Arrow's type of the column.
    name
        Name of the column.
    make_array
        Makes the arrays by which it is read.
    pieces
        Gives all its values, piece by piece; asked only where they are text.
    may_miss
        Tells whether values may be missing; asked only where they are numbers.
    """
    import pyarrow.types as pt

    if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind):
        dtype = np.dtype(kind.to_pandas_dtype())
        if not may_miss():
            return NumberColumn(make_array(dtype, convert_all_numbers, name))
        values = make_array(dtype, convert_numbers, name)
        flag = np.dtype(np.bool_)
        # Arrays are kept by name, and another column may be called "NAME (missing)".
        mask = make_array(flag, convert_missing, f"missing entries of {name}")
        return NumberColumn(values, mask)
    if pt.is_string(kind) or pt.is_large_string(kind):
        found = distinct_text(pieces(), kind)
        if isinstance(found, Unreadable):
            return found
        return label_column(sorted(found.to_pylist()), kind, name, make_array)
    return Unreadable(f"it is {kind}")


def distinct_text(
    pieces: "Iterable[pa.Array]", kind: "pa.DataType"
) -> "pa.Array | Unreadable":
    """Return the distinct strings of a column; or the reason if there are too many."""
    import pyarrow as pa

    found = pa.array([], kind)
    for piece in pieces:
        found = pa.concat_arrays([found, piece.unique()]).unique().drop_null()
        if len(found) > MAX_LABELS:
            return Unreadable(
                f"it holds more than {MAX_LABELS} distinct strings: names, not labels"
            )
    return found


def label_column(
    labels: Sequence[Any],  # Any: of the labels' type, most often text
    kind: "pa.DataType",
    name: str,
    make_array: MakeArray,
    *,
    ordered: bool = False,
) -> LabelColumn:
    """Return a column of labels, each entry coded by its position among `labels`."""
    import pyarrow as pa

    dtype = np.dtype(np.min_scalar_type(-max(1, len(labels))))
    codes = make_array(dtype, CodesOf(pa.array(labels, kind)), name)
    return LabelColumn(codes, list(labels), ordered)


def convert_numbers(piece: "pa.Array") -> npt.NDArray[Any]:
    """Return numbers or booleans, 0 where they are null."""
    filled = piece.fill_null(False if piece.type == "bool" else 0)
    found: npt.NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    return found


def convert_all_numbers(piece: "pa.Array") -> npt.NDArray[Any]:
    """Return numbers or booleans of which none is null, as their file says.

    Raises
    ------
    ValueError
        If one is null after all.
    """
    if piece.null_count:
        raise ValueError(
            f"{piece.null_count} values are missing, and the file says that none is"
        )
    return convert_numbers(piece)


def convert_missing(piece: "pa.Array") -> npt.NDArray[Any]:
    """Return where values are null."""
    found: npt.NDArray[Any] = piece.is_null().to_numpy(zero_copy_only=False)
    return found


def convert_text(piece: "pa.Array") -> npt.NDArray[Any]:
    """Return text as Python strings, None where it is null."""
    out = np.empty(len(piece), object)
    out[:] = [None if value is None else str(value) for value in piece.to_pylist()]
    return out


class CodesOf:
    """Turns entries into the position of each among labels.

    Parameters
    ----------
    labels
        The labels, each once.
    """

    def __init__(self, labels: "pa.Array") -> None:
        self._labels = labels

    def __call__(self, piece: "pa.Array") -> npt.NDArray[Any]:
        """Return the code of each entry, -1 where it is null.

        Raises
        ------
        KeyError
            If an entry is not among the labels.
        """
        import pyarrow.compute as pc

        if hasattr(piece, "dictionary"):
            if piece.dictionary.equals(self._labels):  # the stored codes are these
                return convert_codes(piece.indices)
            piece = piece.dictionary_decode()
        found = pc.index_in(piece, value_set=self._labels)
        if found.null_count > piece.null_count:
            new = piece.filter(pc.and_(found.is_null(), piece.is_valid()))
            raise KeyError(new[0].as_py())
        return convert_codes(found)


def convert_codes(piece: "pa.Array") -> npt.NDArray[Any]:
    """Return integers that are codes already, -1 where they are null."""
    import pyarrow.types as pt

    if pt.is_unsigned_integer(piece.type):
        piece = piece.cast("int64")  # which has a -1
    found: npt.NDArray[Any] = piece.fill_null(-1).to_numpy(zero_copy_only=False)
    return found
