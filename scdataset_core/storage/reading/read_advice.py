"""Telling the system early what will be read, so that a cold disk has much to do.

A disk that is asked for one range after another waits between them. Asked for all the
ranges of a fetch at once it gave more than twice as much (a virtual disk, 256 blocks
of 16 rows, 64 MB a fetch, one reading thread, two cores, November 2026). Where the
data are in memory already, asking costs as much as reading small ranges, so a few are
tried first.

Of objects in stores far away, all ranges of a fetch are asked for at once, and reading
then takes them as they come.
"""

import os
from collections.abc import Callable
from functools import partial

import numpy as np

from ..context import ReadContext
from ..remote.object_source import ObjectSource
from ..remote.requests import WantedRanges
from .byte_ranges import ByteRanges, find_runs

__all__ = ["advice_tasks", "expect_objects"]

# About so many ranges are tried; if one is not in memory, all are asked for.
N_TRIED = 8
# Reading less than this is over sooner than asking for it.
LEAST_BYTES = 1 << 18
# Ranges this near each other are asked for as one.
NEAR_BYTES = 1 << 15


def advice_tasks(ranges: ByteRanges, context: ReadContext) -> list[Callable[[], None]]:
    """Return functions that ask for ranges early; they are called before all reads.

    Of local files, the system is asked for ranges that are not in memory. Of objects,
    the functions hold what comes: reads find it as long as they live.

    Parameters
    ----------
    ranges
        The ranges, sorted by source and position.
    context
        Where files are open.
    """
    remote = expect_objects(ranges, context)
    if remote:
        return remote
    if not hasattr(os, "posix_fadvise") or int(ranges.n_bytes.sum()) < LEAST_BYTES:
        return []
    step = max(len(ranges) // N_TRIED, 1)
    tried = ranges.take(slice(None, None, step))
    for location, some in tried.by_location(slice(0, len(tried))):
        descriptor = context.open_source(location).descriptor
        if descriptor is not None and any(
            _is_cold(descriptor, position) for position in tried.position[some].tolist()
        ):
            return [partial(_advise, ranges, context)]
    return []


def expect_objects(
    ranges: ByteRanges, context: ReadContext
) -> list[Callable[[], None]]:
    """Ask for the ranges that lie in objects, and return what holds them."""
    stores = [location.store for location in ranges.locations]
    if all(store is None for store in stores):
        return []
    sources: dict[int, ObjectSource] = {}
    of = ranges.location_of
    of = np.zeros(len(ranges), np.int64) if of is None else of
    for number in np.unique(of).tolist():
        if stores[number] is not None:
            source = context.open_source(ranges.locations[number])
            if isinstance(source, ObjectSource):
                sources[number] = source
    if not sources:
        return []
    some = np.isin(of, list(sources))
    wanted = WantedRanges(
        sources, of[some], ranges.position[some], ranges.n_bytes[some]
    )
    context.sources.expected.expect(wanted)
    return [partial(_hold, wanted)]


def _hold(wanted: WantedRanges) -> None:
    """Do nothing: what is wanted is held as long as a call of this is to come."""


def _is_cold(descriptor: int, position: int) -> bool:
    """Return whether a byte of a file would have to come from its disk."""
    if not hasattr(os, "RWF_NOWAIT"):
        return True
    try:
        os.preadv(descriptor, [bytearray(1)], position, os.RWF_NOWAIT)
    except OSError:  # it would have to wait, or the file system cannot tell
        return True
    return False


def _advise(ranges: ByteRanges, context: ReadContext) -> None:
    """Ask the system to bring all ranges of local files into memory."""
    for location, some in ranges.by_location(slice(0, len(ranges))):
        # A file that is dropped is closed: it is held until all was asked of it.
        source = context.open_source(location)
        if source.descriptor is None:
            continue
        starts = ranges.position[some]
        stops = starts + ranges.n_bytes[some]
        first = find_runs(starts, stops, gap=NEAR_BYTES)
        last = [*(first[1:] - 1).tolist(), len(starts) - 1]
        for low, high in zip(starts[first].tolist(), stops[last].tolist(), strict=True):
            os.posix_fadvise(source.descriptor, low, high - low, os.POSIX_FADV_WILLNEED)
