"""Reads of several sources, one after another."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .byte_sources import ByteSource, Destinations, try_reads
from .open_files import OpenFile

__all__ = ["read_in_turn"]

Integers = npt.NDArray[np.int64]


def read_in_turn(
    sources: Sequence[ByteSource],
    n_reads: Integers,
    position: Integers,
    destinations: Destinations,
    first: Integers,
    count: Integers,
) -> Integers:
    """Return the bytes of each read, 0 of those that were refused.

    Whoever asks continues what is incomplete, as for
    :func:`~.byte_sources.try_reads`.

    Parameters
    ----------
    sources
        The sources, open.
    n_reads
        How many of the reads, which follow one another, are of each source.
    position, destinations, first, count
        The reads, as :meth:`~.byte_sources.ByteSource.read` has them.
    """
    if len(sources) == 1:
        return try_reads(sources[0], position, destinations, first, count)
    done: list[int] = []
    reads = list(
        zip(position.tolist(), first.tolist(), count.tolist(), strict=True)
    )  # arrays of a few numbers, one a file, would cost more than the reads
    start = 0
    for source, n in zip(sources, n_reads.tolist(), strict=True):
        stop = start + n
        if isinstance(source, OpenFile):
            done += _try_each(source, destinations, reads[start:stop])
        else:
            here = slice(start, stop)
            columns = position[here], destinations, first[here], count[here]
            done += try_reads(source, *columns).tolist()
        start = stop
    return np.array(done, np.int64)


def _try_each(
    file: OpenFile, destinations: Destinations, reads: Sequence[tuple[int, int, int]]
) -> list[int]:
    """Do reads of a file, and return the bytes of each; 0 for all on an error."""
    read = file.reader
    try:
        return [
            read(file, position, destinations, first, count)
            for position, first, count in reads
        ]
    except OSError:
        return [0] * len(reads)
