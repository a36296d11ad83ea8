"""Looks chunks up in a table, and checks that they can be where it says."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..chunks import ABSENT
from ..layout import ArrayLayout

__all__ = ["Found", "find_chunks"]

Integers = npt.NDArray[np.int64]


class Found(NamedTuple):
    """Says where chunks lie, all of them inside their files.

    Parameters
    ----------
    position, size
        First byte of each chunk in its file, and the bytes stored.
    skipped
        Bits of the filters each was written without; None: 0 for all.
    file
        Number of each chunk's file; None: 0 for all.
    absent
        Which chunks were never written, if any were not; None: none.
    """

    position: Integers
    size: npt.NDArray[Any]
    skipped: npt.NDArray[np.uint8] | None
    file: npt.NDArray[Any] | None
    absent: npt.NDArray[np.bool_] | None


def find_chunks(array: ArrayLayout, chunk: Integers, *, encoded: bool) -> Found:
    """Return where chunks of an array lie.

    Parameters
    ----------
    array
        The array.
    chunk
        Numbers of chunks.
    encoded
        Whether the size of a stored chunk may differ from what it decodes to.

    Raises
    ------
    CorruptFileError
        If a chunk would lie outside its file, or is of a size it cannot have.
    """
    table = array.table
    grid = array.needed_grid
    position = table.offsets[chunk]
    size = table.sizes[chunk]
    file = None if table.file_of is None else table.file_of[chunk]
    skipped = None if table.skipped is None else table.skipped[chunk]
    most = 2 * grid.n_bytes + (1 << 16) if encoded else grid.n_bytes
    least = 1 if encoded else grid.n_bytes
    if table.is_plain and least <= int(table.sizes[0]) <= most:
        return Found(position, size, skipped, file, None)
    absent = position == ABSENT
    if len(chunk) == 0:
        return Found(position, size, skipped, file, None)
    if grid.whole and absent.any():
        at = int(chunk[int(np.argmax(absent))])
        raise array.corrupt(at, "it is missing, nothing was ever written there")
    end = table.file_sizes[0 if file is None else file]
    stored = size.astype(np.int64)
    outside = (position < 0) | (end >= 0) & (position > end - stored)
    bad = np.flatnonzero((outside | (stored < least) | (stored > most)) & ~absent)
    if len(bad):
        at = int(bad[0])
        wrong = f"{stored[at]} bytes are stored for {grid.n_bytes} bytes of data"
        if outside[at]:
            n_bytes = int(np.broadcast_to(end, stored.shape)[at])
            wrong = (
                f"it would lie at byte {position[at]} and take {stored[at]} bytes,"
                f" outside the file of {n_bytes} bytes"
            )
        raise array.corrupt(int(chunk[at]), wrong)
    return Found(position, size, skipped, file, absent if absent.any() else None)
