"""The filters of HDF5, and their decoders.

A decoder takes bytes and the size they must decode to. It returns bytes of that size or
raises, and never makes more, whatever the bytes say about themselves. deflate has a
module of its own: :mod:`.deflate`.
"""

import ctypes
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .checksums import matches
from .compressors import decompressor

__all__ = [
    "Buffer",
    "CodecError",
    "Decoder",
    "Filter",
    "blosc_header",
    "decode_blosc",
    "decode_fletcher32",
    "decode_lz4",
    "decode_lzf",
    "decode_shuffle",
    "decode_zstd",
    "decompress",
    "lzf_decompressor",
    "unshuffle",
]

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
BLOSC, LZ4, ZSTD = 32001, 32004, 32015
CHECKSUM_BYTES = 4
BLOSC_HEADER_BYTES = 16

Buffer = bytes | bytearray | memoryview


class CodecError(Exception):
    """Says that stored bytes do not decode to what was declared."""


@dataclass(frozen=True)
class Filter:
    """One step of an encoding.

    Parameters
    ----------
    code
        The filter's registered number.
    name
        Its name, for messages.
    values
        Its parameters, as stored in the file.
    """

    code: int
    name: str = ""
    values: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.name or f"filter {self.code}"


class Decoder(Protocol):
    """Undoes one filter."""

    def __call__(self, data: Buffer, n_bytes: int, step: Filter) -> Buffer:
        """Return exactly `n_bytes` bytes, or raise :class:`CodecError`."""
        ...


def unshuffle(data: Buffer, n_bytes: int, itemsize: int) -> Buffer:
    """Undo the byte shuffle: first all first bytes, then all second bytes, ..."""
    if itemsize == 1:
        return data
    n, rest = divmod(n_bytes, itemsize)
    source = np.frombuffer(data, np.uint8, n_bytes)
    plain = np.empty(n_bytes, np.uint8)
    plain[: n * itemsize].reshape(n, itemsize)[:] = (
        source[: n * itemsize].reshape(itemsize, n).T
    )
    if rest:
        plain[n * itemsize :] = source[n * itemsize :]
    return plain.data


def decode_shuffle(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    """Undo HDF5's byte shuffle."""
    if len(data) != n_bytes or not step.values:
        raise CodecError(f"it has {len(data)} bytes where {n_bytes} were declared")
    return unshuffle(data, n_bytes, max(step.values[0], 1))


def decode_fletcher32(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    """Check a Fletcher-32 checksum, and cut it off."""
    view = memoryview(data)
    if len(view) < CHECKSUM_BYTES:
        raise CodecError("it is too short for its checksum")
    if not matches(view[-CHECKSUM_BYTES:], view[:-CHECKSUM_BYTES]):
        raise CodecError("its checksum (fletcher32) does not match its bytes")
    return view[:-CHECKSUM_BYTES]


@lru_cache
def lzf_decompressor() -> Any:  # Any: a ctypes function pointer
    """Return the LZF decoder that h5py carries, or None where it is not reachable."""
    try:
        from h5py import h5z

        function = ctypes.CDLL(h5z.__file__).lzf_decompress
    except (ImportError, OSError, AttributeError):
        return None
    function.restype = ctypes.c_uint
    function.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_uint,
    )
    return function


def decode_lzf(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    """Decompress LZF."""
    source = np.frombuffer(data, np.uint8)
    plain = np.empty(n_bytes, np.uint8)
    n = lzf_decompressor()(source.ctypes.data, len(source), plain.ctypes.data, n_bytes)
    if n != n_bytes:
        raise CodecError(f"its LZF bytes do not decode to the {n_bytes} bytes declared")
    return plain.data


def decompress(name: str, data: Buffer, n_bytes: int) -> Buffer:
    """Decompress into memory of the declared size."""
    plain = np.empty(n_bytes, np.uint8)
    _decompress_into(name, data, plain)
    return plain.data


def _decompress_into(name: str, data: Buffer, plain: npt.NDArray[np.uint8]) -> None:
    """Decompress, and fill the memory given to its last byte."""
    packed = np.frombuffer(data, np.uint8, len(data))
    if decompressor(name)(packed, plain) != len(plain):
        raise CodecError(
            f"its {name} bytes do not decode to the {len(plain)} bytes declared"
        )


def blosc_header(data: Buffer, n_bytes: int) -> tuple[int, int]:
    """Return the sizes of an item and of a block, after checking the header."""
    if len(data) < BLOSC_HEADER_BYTES:
        raise CodecError("it is too short for a blosc header")
    declared, block_bytes, stored = struct.unpack_from("<III", data, 4)
    if declared != n_bytes or not BLOSC_HEADER_BYTES <= stored <= len(data):
        raise CodecError(
            f"its blosc header says {declared} bytes out of {stored}, where {n_bytes}"
            f" out of {len(data)} were declared"
        )
    return data[3], block_bytes


def decode_blosc(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    """Decode a blosc buffer."""
    blosc_header(data, n_bytes)
    return decompress("blosc", data, n_bytes)


def decode_zstd(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    """Decompress a zstd frame."""
    return decompress("zstd", data, n_bytes)


def decode_lz4(data: Buffer, n_bytes: int, step: Filter) -> Buffer:
    """Decode HDF5's framing of LZ4: a header, then blocks with their sizes."""
    wrong = CodecError(f"its lz4 bytes do not decode to the {n_bytes} bytes declared")
    view = memoryview(data)
    if len(view) < 12:
        raise wrong
    declared, block_bytes = struct.unpack_from(">QI", view)
    if declared != n_bytes or (block_bytes == 0 and n_bytes):
        raise wrong
    plain = np.empty(n_bytes, np.uint8)
    at, done = 12, 0
    while done < n_bytes:
        if at + 4 > len(view):
            raise wrong
        (stored,) = struct.unpack_from(">I", view, at)
        block = view[at + 4 : at + 4 + stored]
        at += 4 + stored
        target = plain[done : done + block_bytes]
        if len(block) != stored:
            raise wrong
        if stored == len(target):
            target[:] = np.frombuffer(block, np.uint8)
        else:
            _decompress_into("lz4", block, target)
        done += len(target)
    return plain.data
