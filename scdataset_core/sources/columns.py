"""Columns of obs in one file: labels as codes, numbers, and text made into labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import CorruptFileError, FileFormatError
from .ranges import RowArray, Rows, windows

__all__ = [
    "MAX_LABELS",
    "Column",
    "LabelColumn",
    "MemoryText",
    "NumberColumn",
    "TextArray",
    "TextCodes",
    "Unreadable",
    "check_codes",
    "check_length",
    "text_column",
]

Label = Any  # str, int, float or bool

# Text with more distinct values is an identifier, not a label.
MAX_LABELS = 1 << 20

_TEXT_ROWS = 1 << 16  # rows of text held at a time: text is some 60 bytes an object


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
        """What is read for it."""
        return (self.codes,)


@dataclass(frozen=True)
class NumberColumn:
    """Numbers or booleans, and optionally a mask that is True where one is missing."""

    values: RowArray
    mask: RowArray | None = None

    @property
    def arrays(self) -> tuple[RowArray, ...]:
        """What is read for it."""
        return (self.values,) if self.mask is None else (self.values, self.mask)

    def any_missing(self) -> bool:
        """Return whether a value is missing, after reading the mask by pieces."""
        mask = self.mask
        return mask is not None and any(
            bool(mask.read(start, stop).any()) for start, stop in windows(mask.shape[0])
        )


@dataclass(frozen=True)
class Unreadable:
    """A column that cannot be carried in a batch, and why."""

    reason: str


Column = LabelColumn | NumberColumn | Unreadable


class TextArray(Protocol):
    """Text, one a cell, read by ranges; None where it is missing."""

    @property
    def file(self) -> str:
        """The file it lies in."""

    @property
    def name(self) -> str:
        """Its path in the file."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Sequence[str | None]:
        """Return the text in ``[start, stop)``."""

    def at(self, rows: Rows) -> Sequence[str | None]:
        """Return the text at non-decreasing rows."""


@dataclass(frozen=True)
class MemoryText:
    """Text in memory."""

    values: Sequence[str | None]
    name: str
    file: str = "memory"

    def __len__(self) -> int:
        return len(self.values)

    def read(self, start: int, stop: int) -> Sequence[str | None]:
        """Return the text in ``[start, stop)``."""
        return self.values[start:stop]

    def at(self, rows: Rows) -> Sequence[str | None]:
        """Return the text at `rows`."""
        return [self.values[row] for row in rows.tolist()]


@dataclass(frozen=True)
class TextCodes:
    """The codes of a column of text, found when read."""

    text: TextArray
    labels: tuple[str, ...]

    def __getstate__(self) -> dict[str, Any]:
        return {"text": self.text, "labels": self.labels}

    @cached_property
    def _codes(self) -> dict[str | None, int]:
        return {None: -1, **{label: code for code, label in enumerate(self.labels)}}

    @property
    def file(self) -> str:
        """The file of the text."""
        return self.text.file

    @property
    def name(self) -> str:
        """The path of the text."""
        return self.text.name

    @property
    def shape(self) -> tuple[int]:
        """Number of cells."""
        return (len(self.text),)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds every code."""
        return np.min_scalar_type(-max(1, len(self.labels)))

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the codes in ``[start, stop)``; missing text is -1."""
        out = np.empty(stop - start, self.dtype)
        for low, high in windows(stop - start, _TEXT_ROWS):
            text = self.text.read(start + low, start + high)
            try:
                out[low:high] = [self._codes[value] for value in text]
            except KeyError as error:
                raise CorruptFileError(
                    f"{self.file}: {self.name} holds {error.args[0]!r} now, which was"
                    " not there when the file was opened; open it again"
                ) from error
        return out


def text_column(text: TextArray) -> Column:
    """Return a column of text as labels, sorted."""
    seen: dict[str | None, None] = {}
    for start, stop in windows(len(text), _TEXT_ROWS):
        seen.update(dict.fromkeys(text.read(start, stop)))
        seen.pop(None, None)
        if len(seen) > MAX_LABELS:
            return Unreadable(
                f"it holds more than {MAX_LABELS} distinct strings: names, not labels"
            )
    labels = tuple(sorted(map(str, seen)))
    return LabelColumn(TextCodes(text, labels), labels)


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


def check_length(array: RowArray, n_obs: int) -> None:
    """Check that an obs column is as long as the cells are many."""
    if array.shape != (n_obs,):
        raise FileFormatError(
            f"{array.file}: {array.name} has shape {array.shape}, and there are"
            f" {n_obs} cells"
        )
