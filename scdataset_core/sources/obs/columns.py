"""Columns of obs in one file: labels as codes, numbers, and text made into labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, FileFormatError
from ..ranged.row_arrays import MemoryArray, RowArray, windows
from .text import MemoryText, TextArray, TextCodes, find_distinct

__all__ = [
    "MAX_LABELS",
    "Column",
    "LabelColumn",
    "NumberColumn",
    "Unreadable",
    "check_codes",
    "check_length",
    "narrow_codes",
    "text_column",
]

Label = Any  # str, int, float or bool

# Text with more distinct values is an identifier, not a label.
MAX_LABELS = 1 << 20


@dataclass(frozen=True)
class LabelColumn:
    """Labels: a code for each cell, and the label of each code.

    Parameters
    ----------
    codes
        Integers in ``[-1, len(labels))``; -1 is missing.
    labels
        The label of each code.
    ordered
        Whether the order of the labels has a meaning.
    """

    codes: RowArray
    labels: Sequence[Label]
    ordered: bool = False

    @property
    def arrays(self) -> tuple[RowArray, ...]:
        """The arrays that are read for the column."""
        return (self.codes,)

    @property
    def narrow_dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The narrowest type that holds every code and the missing one."""
        return np.min_scalar_type(len(self.labels))


@dataclass(frozen=True)
class NumberColumn:
    """Numbers or booleans, and optionally a mask that is True where one is missing.

    `is_any_missing` says whether the mask is True anywhere; None if that is not known.
    """

    values: RowArray
    mask: RowArray | None = None
    is_any_missing: bool | None = None

    @property
    def arrays(self) -> tuple[RowArray, ...]:
        """The arrays that are read for the column."""
        return (self.values,) if self.mask is None else (self.values, self.mask)

    def any_missing(self) -> bool:
        """Return whether a value is missing, after reading the mask by pieces."""
        if self.is_any_missing is not None:
            return self.is_any_missing
        mask = self.mask
        return mask is not None and any(
            bool(mask.read(start, stop).any()) for start, stop in windows(mask.shape[0])
        )


@dataclass(frozen=True)
class Unreadable:
    """A column that cannot be carried in a batch, and why."""

    reason: str


Column = LabelColumn | NumberColumn | Unreadable


def text_column(text: TextArray, labels: list[str] | None = None) -> Column:
    """Return a column of text as labels, sorted; `labels` where they are known."""
    if labels is None:
        labels = find_distinct(text, MAX_LABELS)
    if labels is None:
        return Unreadable(
            f"it holds more than {MAX_LABELS} distinct strings: names, not labels"
        )
    codes = TextCodes(text, tuple(labels))
    if isinstance(text, MemoryText):  # small beside the strings, and one of a kind
        held = codes.read(0, len(text))
        return LabelColumn(MemoryArray(held, text.name, text.file), labels)
    return LabelColumn(codes, labels)


def check_codes(
    codes: npt.NDArray[Any], row: int, *, column: LabelColumn
) -> npt.NDArray[Any]:
    """Return `codes`, which start at `row`, after checking that each has a label."""
    n_labels = len(column.labels)
    if len(codes) and (int(codes.max()) >= n_labels or int(codes.min()) < -1):
        at = int(np.argmax((codes >= n_labels) | (codes < -1)))
        raise CorruptFileError(
            f"{column.codes.file}: {column.codes.name} holds the code {codes[at]} in"
            f" row {row + at}, and there are {n_labels} categories"
        )
    return codes


def narrow_codes(
    codes: npt.NDArray[Any], row: int, *, column: LabelColumn
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return `codes`, which start at `row`, in the narrowest type, after checking them.

    The largest number of the type, which is unsigned, stands for a missing label.
    """
    checked = check_codes(codes, row, column=column)
    return checked.astype(column.narrow_dtype, copy=False)


def check_length(array: RowArray, n_obs: int) -> None:
    """Raise if an obs column has not one entry for each cell."""
    if array.shape != (n_obs,):
        raise FileFormatError(
            f"{array.file}: {array.name} has shape {array.shape}, and there are"
            f" {n_obs} cells"
        )
