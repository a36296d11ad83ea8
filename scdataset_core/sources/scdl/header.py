"""Reads what an SCDL folder says of its arrays, in header.sch and metadata.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FileFormatError

__all__ = ["ARRAYS", "Header", "read_header", "read_row_count"]

# The names of the arrays in the header, and their files.
ARRAYS = {"DATA": "data.npy", "COLPTR": "col_ptr.npy", "ROWPTR": "row_ptr.npy"}

_MAGIC = b"SCDL"
_MAJOR = 0  # of the header's layout; what is read here
_NETWORK_ORDER = 1
_MEMMAP = 1  # the one kind of storage there is
_DTYPES = dict(
    enumerate(
        ("uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"),
        start=1,
    )
)
# The types in releases that wrote no header.
_BEFORE = {"data.npy": "<f4", "col_ptr.npy": "<u4", "row_ptr.npy": "<u8"}


@dataclass(frozen=True)
class Header:
    """The arrays of a folder.

    Parameters
    ----------
    dtypes
        Type of the elements of each file.
    lengths
        Number of its elements; empty where there is no header.
    """

    dtypes: dict[str, np.dtype[Any]]
    lengths: dict[str, int]


class _Reader:
    """Reads a header piece by piece; numbers are big-endian."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = path.read_bytes()
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at == len(self._data)

    def take(self, n: int) -> bytes:
        found = self._data[self._at : self._at + n]
        if len(found) < n:
            raise FileFormatError(
                f"{self.path}: it ends after {len(self._data)} bytes, in the middle of"
                " what it describes; it was cut short, copy the folder again"
            )
        self._at += n
        return found

    def number(self, n: int) -> int:
        return int.from_bytes(self.take(n), "big")

    def text(self) -> str:
        return self.take(self.number(4)).decode("utf-8", errors="replace")

    def skip_shape(self) -> None:
        if self.number(1):
            self.take(4 * self.number(4))


def read_header(folder: Path) -> Header:
    """Return the header of a folder; without one, the types of old releases.

    Raises
    ------
    FileFormatError
        If it is cut short, of a version or kind not known here, or leaves out an array.
    """
    path = folder / "header.sch"
    if not path.is_file():
        return Header({name: np.dtype(kind) for name, kind in _BEFORE.items()}, {})
    reader = _Reader(path)
    _check_start(reader)
    dtypes, lengths = {}, {}
    for _ in range(reader.number(4)):
        name, length, kind = reader.text(), reader.number(8), reader.number(4)
        reader.skip_shape()
        if name in ARRAYS:
            if kind not in _DTYPES:
                raise FileFormatError(
                    f"{path}: {name} is of type {kind}, expected one of"
                    f" {', '.join(f'{k} ({v})' for k, v in _DTYPES.items())}"
                )
            dtypes[ARRAYS[name]] = np.dtype(_DTYPES[kind]).newbyteorder("<")
            lengths[ARRAYS[name]] = length
    _skip_features(reader)
    absent = [name for name, file in ARRAYS.items() if file not in dtypes]
    if absent:
        raise FileFormatError(f"{path}: it does not describe {', '.join(absent)}")
    for name in ("col_ptr.npy", "row_ptr.npy"):
        if dtypes[name].kind != "u":
            raise FileFormatError(
                f"{path}: {name} is {dtypes[name].name}, expected unsigned integers"
            )
    return Header(dtypes, lengths)


def _check_start(reader: _Reader) -> None:
    path = reader.path
    magic = reader.take(4)
    if magic != _MAGIC:
        raise FileFormatError(f"{path}: it begins with {magic!r}, expected {_MAGIC!r}")
    version = [reader.number(1) for _ in range(3)]
    if version[0] != _MAJOR:
        raise FileFormatError(
            f"{path}: it is of version {'.'.join(map(str, version))}, and {_MAJOR}.x is"
            " what can be read here; write the folder again with bionemo-scdl 0.1"
        )
    order, kind = reader.number(1), reader.number(4)
    if (order, kind) != (_NETWORK_ORDER, _MEMMAP):
        raise FileFormatError(
            f"{path}: byte order {order} and storage {kind}, expected {_NETWORK_ORDER}"
            f" (network) and {_MEMMAP} (memory maps)"
        )


def _skip_features(reader: _Reader) -> None:
    """Skip the feature indices, which state their own lengths."""
    if reader.ended:
        return
    for _ in range(reader.number(4)):
        reader.text()
        reader.take(8 + 4)
        for _ in range(reader.number(4)):
            reader.text()
        reader.skip_shape()
    if not reader.ended:
        raise FileFormatError(
            f"{reader.path}: it goes on behind its end; it is damaged, copy it again"
        )


def read_row_count(folder: Path) -> int | None:
    """Return the number of rows in ``metadata.json``; None where it gives none.

    Raises
    ------
    FileFormatError
        If the file is missing or holds no JSON object with a count.
    """
    path = folder / "metadata.json"
    if not path.is_file():
        raise FileFormatError(
            f"{folder}: there is no metadata.json, which bionemo-scdl writes last: the"
            " folder was not finished or not copied whole"
        )
    try:
        metadata = json.loads(path.read_bytes())
        count = metadata.get("num_rows")
    except (ValueError, AttributeError, RecursionError) as error:
        raise FileFormatError(
            f"{path}: expected a JSON object, got {path.read_bytes()[:40]!r}"
        ) from error
    if count is not None and (type(count) is not int or count < 0):
        raise FileFormatError(f"{path}: num_rows must be a count, got {count!r}")
    return count
