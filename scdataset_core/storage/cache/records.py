"""What a cache notes of each chunk: the type it is kept in, and its checksum.

The records of an array lie one after the other in its index, `RECORD_BYTES` each, by
the number of the chunk. A record is written after the bytes of its chunk, and its
checksum covers the array, the chunk's number and the type as well. So a record that is
lost, doubled, torn or of other bytes does not match, and its chunk is not used.
"""

import ctypes
import struct
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..decoding.deflate import find_libdeflate
from .narrowing import N_KINDS

__all__ = [
    "RECORD_BYTES",
    "checksum",
    "kinds_of",
    "make_record",
    "read_records",
    "seed_of",
]

_RECORD = np.dtype([("checksum", "<u4"), ("kind", "u1"), ("mark", "S3")])
RECORD_BYTES = _RECORD.itemsize
_MARK = b"sc1"  # format of the records
# The checksum of so many bytes takes less time than to give up the interpreter's lock
# and to wait for it again: some 10 microseconds.
SHORT_BYTES = 256 << 10

Records = npt.NDArray[Any]


def read_records(data: "bytes | bytearray | memoryview") -> Records:
    """Return the records in some bytes of an index."""
    return np.frombuffer(data, _RECORD, len(data) // RECORD_BYTES)


def kinds_of(records: Records) -> npt.NDArray[np.uint8]:
    """Return the kind of each record, 0 where there is none."""
    kinds: npt.NDArray[np.uint8] = records["kind"].copy()
    kinds[(records["mark"] != _MARK) | (kinds >= N_KINDS)] = 0
    return kinds


def make_record(crc: int, kind: int) -> bytes:
    """Return the record of a chunk."""
    return struct.pack("<IB3s", crc, kind, _MARK)


def seed_of(generation: str, chunk: int, kind: int) -> int:
    """Return what the checksum of a chunk begins with."""
    return zlib.crc32(f"{generation} {chunk} {kind}".encode())


def checksum(address: int, n_bytes: int, seed: int) -> int:
    """Return the CRC-32 of bytes in memory, continued from `seed`.

    Parameters
    ----------
    address, n_bytes
        The bytes; the caller answers for the memory.
    seed
        A checksum to go on from.
    """
    crc32 = _libdeflate_crc32(holds_lock=n_bytes <= SHORT_BYTES)
    if crc32 is not None:
        return int(crc32(seed, address, n_bytes))
    return zlib.crc32((ctypes.c_char * n_bytes).from_address(address), seed)


@lru_cache
def _libdeflate_crc32(*, holds_lock: bool) -> Any:  # Any: a ctypes function pointer
    """Return libdeflate's CRC-32, which is faster than zlib's, or None."""
    library = find_libdeflate()
    if library is None or not hasattr(library, "libdeflate_crc32"):
        return None
    kind = ctypes.PYFUNCTYPE if holds_lock else ctypes.CFUNCTYPE
    prototype = kind(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t)
    return prototype(("libdeflate_crc32", library))
