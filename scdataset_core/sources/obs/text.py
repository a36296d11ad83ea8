"""Reads text that has one entry a cell (names, labels), and turns it into codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, FileFormatError
from ..ranged.row_arrays import RowArray, windows
from ..rows import Rows, cut_runs

__all__ = [
    "LabelText",
    "MemoryText",
    "StoredText",
    "TextArray",
    "TextCodes",
    "decode_attribute",
    "decode_list",
    "decode_text",
    "find_distinct",
]

_TEXT_ROWS = 1 << 16  # rows of text held at a time: text is some 60 bytes an object

# Rows of text that are closer than this are read in one range.
_GAP_ROWS = 64


class TextArray(Protocol):
    """Text, one a cell, read by ranges; None where it is missing."""

    @property
    def file(self) -> str:
        """The file that holds the text."""

    @property
    def name(self) -> str:
        """The path of the text in its file."""

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
class StoredText:
    """Text in a file.

    Parameters
    ----------
    values
        Bytes or strings, shape ``(n,)``; ``str()`` is taken of anything else.
    mask
        True where text is missing.
    """

    values: RowArray
    mask: RowArray | None = None

    @property
    def file(self) -> str:
        """The file that holds the text."""
        return self.values.file

    @property
    def name(self) -> str:
        """The path of the text in its file."""
        return self.values.name

    def __len__(self) -> int:
        return self.values.shape[0]

    def read(self, start: int, stop: int) -> Sequence[str | None]:
        """Return the text in ``[start, stop)``, None where it is missing."""
        where = f"{self.file}: {self.name}"
        text: list[str | None] = [*decode_text(self.values.read(start, stop), where)]
        if self.mask is not None:
            for position in np.flatnonzero(self.mask.read(start, stop)):
                text[position] = None
        return text

    def at(self, rows: Rows) -> Sequence[str | None]:
        """Return the text at non-decreasing rows."""
        return _read_runs(self, rows)


@dataclass(frozen=True)
class LabelText:
    """Text stored as codes of labels.

    Parameters
    ----------
    codes
        Integers in ``[-1, len(labels))``; -1 is missing.
    labels
        The text of each code.
    """

    codes: RowArray
    labels: tuple[str, ...]

    @property
    def file(self) -> str:
        """The file that holds the text."""
        return self.codes.file

    @property
    def name(self) -> str:
        """The path of the text in its file."""
        return self.codes.name

    def __len__(self) -> int:
        return self.codes.shape[0]

    def read(self, start: int, stop: int) -> Sequence[str | None]:
        """Return the text in ``[start, stop)``, None where it is missing."""
        text = (*self.labels, None)  # the code -1 picks None
        codes = self.codes.read(start, stop)
        wrong = np.flatnonzero((codes >= len(self.labels)) | (codes < -1))
        if len(wrong):
            raise CorruptFileError(
                f"{self.file}: {self.name} holds the code {codes[wrong[0]]} in row"
                f" {start + wrong[0]}, and there are {len(self.labels)} categories"
            )
        return [text[code] for code in codes.tolist()]

    def at(self, rows: Rows) -> Sequence[str | None]:
        """Return the text at non-decreasing rows."""
        return _read_runs(self, rows)


def _read_runs(text: "StoredText | LabelText", rows: Rows) -> list[str | None]:
    """Return text at non-decreasing rows; rows close together are read at once."""
    out: list[str | None] = []
    for start, stop in pairwise(cut_runs(rows, _GAP_ROWS).tolist()):
        run = rows[start:stop].tolist()
        read = text.read(run[0], run[-1] + 1)
        out.extend(read[row - run[0]] for row in run)
    return out


def decode_text(values: npt.NDArray[Any], where: str) -> list[str]:
    """Return the bytes or strings that files give as Python strings.

    Raises
    ------
    FileFormatError
        If bytes are not UTF-8; the error says `where`.
    """
    try:
        return [
            value.decode("utf-8") if isinstance(value, bytes) else str(value)
            for value in values.tolist()
        ]
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{where} is not UTF-8: {error}") from error


def decode_attribute(value: Any) -> str:
    """Return the text of an attribute, of fixed or variable length.

    Julia and R write bytes of a fixed length; R writes them as an array of one.
    """
    if type(value) is str:  # as nearly all are
        return value
    texts = decode_list(value, "an attribute")
    return texts[0] if len(texts) == 1 else str(value)


def decode_list(value: Any, where: str) -> list[str]:
    """Return the texts of an attribute that is a list; none where it is empty."""
    if value is None or getattr(value, "shape", ()) is None:  # HDF5's null
        return []
    try:
        values = np.atleast_1d(np.asarray(value)).reshape(-1)
    except ValueError as error:  # lists of lists of different lengths
        raise FileFormatError(f"{where} is {value!r}, expected texts") from error
    return decode_text(values, where)


def find_distinct(text: TextArray, most: int) -> list[str] | None:
    """Return the different strings in `text`, sorted; None if there are over `most`."""
    seen: dict[str | None, None] = {}
    for start, stop in windows(len(text), _TEXT_ROWS):
        seen.update(dict.fromkeys(text.read(start, stop)))
        seen.pop(None, None)
        if len(seen) > most:
            return None
    return sorted(map(str, seen))


@dataclass(frozen=True)
class TextCodes:
    """The codes of text: the position of each string among `labels`, found when read.

    Parameters
    ----------
    text
        The text.
    labels
        Every string that the text holds.
    """

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
