"""Parses messages of HDF5 object headers: types, shapes, fill values, filters.

Only what programs write by default is known here. For all else `AskLibraryError` is
raised: HDF5 must be asked.

Layouts of the bytes: HDF5 File Format Specification 3.0, sections IV.A.2.b, IV.A.2.d,
IV.A.2.f, IV.A.2.l and IV.A.2.m.
"""

import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..decoding.filters import Filter
from ..decoding.pipeline import Pipeline

__all__ = [
    "TEXT",
    "AskLibraryError",
    "StoredAttribute",
    "parse_attribute",
    "parse_fill",
    "parse_filters",
    "parse_shape",
    "parse_type",
]

TEXT = np.dtype(object)  # of variable length
_MOST_AXES = 32
_WORD = 8
_OWN_NAMES = 256  # filters from this number on have a name in the file
_INTEGER, _FLOAT, _ENUM, _VARIABLE = 0, 1, 8, 9


class AskLibraryError(Exception):
    """These bytes are not known here, or cannot be right."""


def _padded(data: bytes) -> bytes:
    """Return bytes filled with zeros to whole words."""
    return data.ljust(-(-len(data) // _WORD) * _WORD, b"\0")


def _describe_types() -> dict[bytes, np.dtype[Any]]:
    """Return the plain types by the bytes that HDF5 describes them with."""
    integers = {
        np.dtype(f"<{kind}{size}"): struct.pack(
            "<B3BIHH", _INTEGER, 8 * (kind == "i"), 0, 0, size, 0, 8 * size
        )
        for kind in "iu"
        for size in (1, 2, 4, 8)
    }
    floats = {
        np.dtype(f"<f{bits // 8}"): struct.pack(
            "<B3BIHH4BI",
            *(_FLOAT, 0x20, bits - 1, 0, bits // 8, 0, bits),
            *(mantissa, exponent, 0, mantissa, 2 ** (exponent - 1) - 1),
        )
        for bits, mantissa, exponent in ((16, 10, 5), (32, 23, 8), (64, 52, 11))
    }
    known = {}
    for version in (1, 2, 3):
        for dtype, data in {**integers, **floats}.items():
            described = bytes([data[0] | version << 4]) + data[1:]
            known[_padded(described)] = dtype
        byte = bytes([_INTEGER | version << 4]) + integers[np.dtype("i1")][1:]
        head = struct.pack("<B3BI", _ENUM | version << 4, 2, 0, 0, 1)
        names = [b"FALSE\0", b"TRUE\0"]
        padded = names if version == 3 else [_padded(name) for name in names]
        whole = head + byte + b"".join(padded) + b"\0\1"
        known[_padded(whole)] = np.dtype(bool)  # as h5py writes it
    return known


_TYPES = _describe_types()


@lru_cache(256)
def parse_type(data: bytes) -> np.dtype[Any]:
    """Return the type that a datatype message describes; `TEXT` for text."""
    known = _TYPES.get(_padded(data))
    if known is not None:
        return known
    kind, padding, encoding, _, size = struct.unpack_from("<4BI", data)
    if kind & 15 == _VARIABLE and padding == 1 and encoding < 2 and size == 16:
        return TEXT
    raise AskLibraryError


def parse_shape(data: bytes) -> tuple[int, ...]:
    """Return the shape that a dataspace message describes; () for a scalar."""
    version, n_axes, _, kind = struct.unpack_from("<4B", data)
    if version not in (1, 2) or n_axes > _MOST_AXES:
        raise AskLibraryError
    if version == 2 and kind != (n_axes > 0):  # 2 is of what has no value
        raise AskLibraryError
    return struct.unpack_from(f"<{n_axes}Q", data, 8 if version == 1 else 4)


def parse_fill(data: bytes, dtype: np.dtype[Any]) -> Any:
    """Return the fill value, a scalar of a plain type."""
    version = data[0]
    if version == 2 and data[3]:
        at = 4
    elif version == 3 and not data[1] & 0x10:
        at = 2
        if not data[1] & 0x20:
            return dtype.type(0)
    else:
        raise AskLibraryError
    (n_bytes,) = struct.unpack_from("<I", data, at)
    if n_bytes not in (0, dtype.itemsize):
        raise AskLibraryError
    return np.frombuffer(data, dtype, 1, at + 4)[0] if n_bytes else dtype.type(0)


@lru_cache(256)
def parse_filters(data: bytes) -> Pipeline:
    """Return the filters of a filter pipeline message."""
    version, n_filters = data[0], data[1]
    if version not in (1, 2):
        raise AskLibraryError
    at = 8 if version == 1 else 2
    steps = []
    for _ in range(n_filters):
        if version == 1 or int.from_bytes(data[at : at + 2], "little") >= _OWN_NAMES:
            code, n_name, _, n_values = struct.unpack_from("<4H", data, at)
            at += 8
        else:
            code, _, n_values = struct.unpack_from("<3H", data, at)
            n_name, at = 0, at + 6
        name = data[at : at + n_name].partition(b"\0")[0].decode(errors="replace")
        at += n_name
        values = struct.unpack_from(f"<{n_values}I", data, at)
        at += 4 * (n_values + (n_values % 2 if version == 1 else 0))
        steps.append(Filter(code, name or _NAMES.get(code, ""), values))
    return Pipeline(tuple(steps))


_NAMES = {1: "deflate", 2: "shuffle", 3: "fletcher32"}


class StoredAttribute(NamedTuple):
    """An attribute, as its message has it.

    Parameters
    ----------
    dtype, shape
        Type and shape, as messages.
    value
        Bytes of its value.
    """

    dtype: bytes
    shape: bytes
    value: bytes


def parse_attribute(data: bytes) -> tuple[str, StoredAttribute]:
    """Return the name of an attribute, and what it is."""
    version, flags, *sizes = struct.unpack_from("<BBHHH", data)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise AskLibraryError
    parts, at = [], 9 if version == 3 else 8
    for size in sizes:
        parts.append(data[at : at + size])
        at += -(-size // _WORD) * _WORD if version == 1 else size
    name, dtype, shape = parts
    return name.partition(b"\0")[0].decode(), StoredAttribute(dtype, shape, data[at:])
