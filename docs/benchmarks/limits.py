"""The limits of a reader of these files: every chunk once, with two threads.

Each chunk is read in file order into a buffer that is used again, and compressed chunks
are decoded by libdeflate. Nothing is placed, shuffled or checked, so no loader can be
as quick. A buffer of one chunk stays in the processor's cache. The rows that a loader
reads must reach memory, as the bytes in a buffer of the size of a fetch do.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

THREADS = 2


@dataclass(frozen=True)
class Chunks:
    """The places of the chunks of a file's `X/data` and `X/indices`, in file order."""

    path: str
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]  # stored bytes
    decoded: npt.NDArray[np.int64]  # bytes after decoding
    compressed: bool
    n_cells: int


def chunks_of(path: str) -> Chunks:
    """Return the chunk table of one plate."""
    import h5py

    rows: list[tuple[int, int, int]] = []
    with h5py.File(path, "r") as file:
        for name in ("data", "indices"):
            dataset = file["X"][name]
            size = dataset.chunks[0] * dataset.dtype.itemsize
            dataset.id.chunk_iter(
                lambda info, size=size: rows.append((info.byte_offset, info.size, size))
            )
        compressed = file["X"]["data"].compression is not None
        n_cells = len(file["X"]["indptr"]) - 1
    rows.sort()
    offsets, sizes, decoded = np.array(rows, np.int64).T
    return Chunks(path, offsets, sizes, decoded, compressed, n_cells)


def _pass_over(tables: Sequence[Chunks], buffer: memoryview, part: int) -> None:
    from deflate import zlib_decompress

    end = 0
    for table in tables:
        mine = slice(part, None, THREADS)
        places = zip(
            table.offsets[mine].tolist(),
            table.sizes[mine].tolist(),
            table.decoded[mine].tolist(),
            strict=True,
        )
        handle = os.open(table.path, os.O_RDONLY)
        try:
            for offset, size, decoded in places:
                start = end if end + size <= len(buffer) else 0
                end = start + size
                view = buffer[start:end]
                if os.preadv(handle, [view], offset) != size:
                    raise OSError(f"short read in {table.path} at {offset}")
                if table.compressed:
                    zlib_decompress(view, decoded)
        finally:
            os.close(handle)


def limit_rate(
    paths: Sequence[str], *, buffer_bytes: int = 0, seconds: float = 1.0
) -> dict[str, float]:
    """Return cells a second of reading (and decoding) every chunk of the plates once.

    Parameters
    ----------
    paths
        Plates, all compressed or none.
    buffer_bytes
        Size of each thread's buffer, filled in turn; at least the largest chunk.
    seconds
        Whole passes are made until at least this has gone by.
    """
    tables = [chunks_of(path) for path in paths]
    largest = max(int(table.sizes.max()) for table in tables)
    # Filled with ones, so that no page is made only while time is taken.
    buffers = [
        memoryview(bytearray(b"\1") * max(buffer_bytes, largest))
        for _ in range(THREADS)
    ]
    cells = 0
    began = time.perf_counter()
    while True:
        threads = [
            threading.Thread(target=_pass_over, args=(tables, buffer, part))
            for part, buffer in enumerate(buffers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        cells += sum(table.n_cells for table in tables)
        took = time.perf_counter() - began
        if took >= seconds:
            return {"cells": cells, "seconds": took, "rate": cells / took}
