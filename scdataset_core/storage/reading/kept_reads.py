"""Reads ranges of what caches keep, of many arrays at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from ..layout import ArrayLayout
from .byte_ranges import ByteRanges
from .merged_reads import MergedReads, tasks_of
from .uncompressed import PlainReads

__all__ = ["read_kept_ranges"]

Integers = npt.NDArray[np.int64]


def read_kept_ranges(
    layouts: Sequence[ArrayLayout],
    of: Integers,
    position: Integers,
    n_bytes: Integers,
    address: Integers,
    memory: Sequence[npt.NDArray[Any]],
    context: ReadContext,
) -> None:
    """Read ranges of kept arrays, each of which lies in one piece.

    Parameters
    ----------
    layouts
        The kept arrays.
    of
        Which of them each range is of.
    position, n_bytes
        Where it begins in the file of that array, and its bytes; some may be empty.
    address, memory
        Where the ranges are put, and what lies there.
    context
        Threads and byte sources to read with.
    """
    columns = of, position, n_bytes, address
    if not n_bytes.all():
        some = np.flatnonzero(n_bytes)
        columns = of[some], position[some], n_bytes[some], address[some]
    if not len(columns[0]):
        return
    of, position, n_bytes, address = columns
    chunk = np.zeros_like(of)
    reads = PlainReads(layouts, of, chunk, None, position, n_bytes, address, memory)
    locations = [layout.table.location(0) for layout in layouts]
    ranges = ByteRanges(locations, of, position, n_bytes)
    context.run(tasks_of([MergedReads(reads, context, ranges=ranges)]))
