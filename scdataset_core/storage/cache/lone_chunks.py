"""Reads single chunks of an entry where nothing may be waited for.

HDF5 holds a lock of its own while it reads, and a thread that holds any other lock may
wait for that one: the garbage collector lets go of objects of HDF5 in whichever thread
it runs. So what HDF5 asks for is read here without a lock, from files that are opened
for one read.
"""

import os

import numpy as np

from ..io.open_files import READ_ONLY
from .entries import Entry
from .records import RECORD_BYTES, checksum, kinds_of, read_records, seed_of

__all__ = ["read_lone_chunk"]


def read_lone_chunk(entry: Entry, chunk: int, n_bytes: int) -> memoryview | None:
    """Return a kept chunk of bytes, checked; None where there is none that is sound.

    Parameters
    ----------
    entry
        An entry of an array of bytes.
    chunk, n_bytes
        Number of the chunk, and how many bytes each chunk has.
    """
    try:
        record = read_records(_read(entry.index, chunk * RECORD_BYTES, RECORD_BYTES))
        kind = int(kinds_of(record)[0]) if len(record) else 0
        if not kind:
            return None
        data = _read(entry.data[kind - 1], chunk * n_bytes, n_bytes)
    except OSError:
        return None
    found = np.frombuffer(data, np.uint8)
    seed = seed_of(entry.generation, chunk, kind)
    sound = len(data) == n_bytes and checksum(found.ctypes.data, n_bytes, seed) == int(
        record["checksum"][0]
    )
    return found.data if sound else None


def _read(path: str, position: int, n_bytes: int) -> bytes:
    """Return bytes of a file, fewer where it ends before."""
    descriptor = os.open(path, READ_ONLY)
    try:
        found = b""
        while len(found) < n_bytes:
            left = n_bytes - len(found)
            piece = os.pread(descriptor, left, position + len(found))
            if not piece:
                break
            found += piece
    finally:
        os.close(descriptor)
    return found
