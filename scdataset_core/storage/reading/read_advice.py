"""Telling the system early what will be read, so that a cold disk has much to do.

A disk that is asked for one range after another waits between them. Asked for all the
ranges of a fetch at once it gave more than twice as much (a virtual disk, 256 blocks
of 16 rows, 64 MB a fetch, one reading thread, two cores, November 2026). Where the
data are in memory already, asking costs as much as reading small ranges, so a few are
tried first.
"""

import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from ..io.open_files import Identity

__all__ = ["advice_tasks"]

Integers = npt.NDArray[np.int64]
Files = list[tuple[str, Identity | None]]
# About so many ranges are tried; if one is not in memory, all are asked for.
N_TRIED = 8
# Reading less than this is over sooner than asking for it.
LEAST_BYTES = 1 << 18
# Ranges this near each other are asked for as one.
NEAR_BYTES = 1 << 15


def advice_tasks(
    files: Files,
    file: Integers | None,
    position: Integers,
    n_bytes: Integers,
    context: ReadContext,
) -> list[Callable[[], None]]:
    """Return functions that ask the system for ranges that are not in memory.

    Parameters
    ----------
    files
        The files.
    file
        The file each range is in; None: the first, for all.
    position, n_bytes
        The ranges, sorted by file and position.
    context
        Where files are open.
    """
    if not hasattr(os, "posix_fadvise") or int(n_bytes.sum()) < LEAST_BYTES:
        return []
    step = max(len(position) // N_TRIED, 1)
    tried = [0] * len(position[::step]) if file is None else file[::step].tolist()
    opened = -1
    for number, start in zip(tried, position[::step].tolist(), strict=True):
        if number != opened:
            opened, tried_file = number, context.open_file(*files[number])
        if _is_cold(tried_file.fd, start):
            return [partial(_ask, files, file, position, n_bytes, context)]
    return []


def _is_cold(fd: int, position: int) -> bool:
    """Return whether a byte of a file would have to come from its disk."""
    if not hasattr(os, "RWF_NOWAIT"):
        return True
    try:
        os.preadv(fd, [bytearray(1)], position, os.RWF_NOWAIT)
    except OSError:  # it would have to wait, or the file system cannot tell
        return True
    return False


def _ask(
    files: Files,
    file: Integers | None,
    position: Integers,
    n_bytes: Integers,
    context: ReadContext,
) -> None:
    """Ask for all ranges."""
    bounds = [0, len(position)]
    if file is not None:
        bounds = [0, *(np.flatnonzero(np.diff(file)) + 1).tolist(), len(position)]
    for start, stop in pairwise(bounds):
        opened = context.open_file(*files[0 if file is None else int(file[start])])
        begins = position[start:stop]
        ends = np.maximum.accumulate(begins + n_bytes[start:stop])
        first = np.flatnonzero(np.append(True, begins[1:] > ends[:-1] + NEAR_BYTES))
        last = np.append(first[1:], len(begins)) - 1
        for low, high in zip(begins[first].tolist(), ends[last].tolist(), strict=True):
            os.posix_fadvise(opened.fd, low, high - low, os.POSIX_FADV_WILLNEED)
