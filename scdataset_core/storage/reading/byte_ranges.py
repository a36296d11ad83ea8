"""Ranges of bytes in several sources, and joining neighbours among ranges."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..chunks import ChunkTable
from ..io.byte_sources import Location

__all__ = ["ByteRanges", "LocationNumbers", "find_runs", "lengths_of"]

Integers = npt.NDArray[np.int64]


class LocationNumbers:
    """Numbers the byte sources that reads need, each once.

    Attributes
    ----------
    locations : list of Location
        The sources, in the order of their numbers.
    """

    def __init__(self) -> None:
        self.locations: list[Location] = []
        self._known: dict[Location, int] = {}

    def number(self, table: ChunkTable, file: int) -> int:
        """Return the number of one of a table's files."""
        location = table.location(file)
        number = self._known.setdefault(location, len(self.locations))
        if number == len(self.locations):
            self.locations.append(location)
        return number

    def numbers(self, table: ChunkTable, files: Integers) -> Integers:
        """Return the number of each of a table's files."""
        used, inverse = np.unique(files, return_inverse=True)
        known = [self.number(table, file) for file in used.tolist()]
        return np.array(known, np.int64)[inverse]


@dataclass(frozen=True, eq=False)
class ByteRanges:
    """Ranges of bytes, each in one of several sources.

    Parameters
    ----------
    locations
        The sources.
    location_of
        Number of the source that each range lies in; None: the first, for all.
    position, n_bytes
        First byte of each range, and its length.
    """

    locations: list[Location]
    location_of: Integers | None
    position: Integers
    n_bytes: Integers

    def __len__(self) -> int:
        return len(self.position)

    def take(self, selected: npt.NDArray[np.int64] | slice) -> "ByteRanges":
        """Return some of the ranges."""
        of = self.location_of
        return ByteRanges(
            self.locations,
            None if of is None else of[selected],
            self.position[selected],
            self.n_bytes[selected],
        )

    def location(self, i: int) -> Location:
        """Return which source a range lies in."""
        return self.locations[0 if self.location_of is None else self.location_of[i]]

    def by_count(self, some: slice) -> tuple[list[Location], Integers]:
        """Return the source of neighbours of one source, and how many these are.

        Parameters
        ----------
        some
            As for :meth:`by_location`.
        """
        if self.location_of is None:
            return self.locations[:1], np.array([some.stop - some.start])
        of = self.location_of[some]
        first = np.flatnonzero(np.concatenate(([True], of[1:] != of[:-1])))
        locations = [self.locations[number] for number in of[first].tolist()]
        return locations, lengths_of(first, len(of))

    def by_location(self, some: slice) -> Iterator[tuple[Location, slice]]:
        """Yield neighbours of one source together: the source, and which they are.

        Parameters
        ----------
        some
            Which ranges, at least one: a slice with start and stop.
        """
        edges = [some.start, some.stop]
        if self.location_of is not None:
            of = self.location_of[some]
            inner = np.flatnonzero(of[1:] != of[:-1]) + 1 + some.start
            edges[1:1] = inner.tolist()
        for start, stop in pairwise(edges):
            yield self.location(start), slice(start, stop)


def find_runs(
    starts: Integers,
    stops: Integers,
    *,
    of: Integers | None = None,
    gap: int = 0,
    overlap: bool = False,
) -> Integers:
    """Return where runs of neighbouring ranges begin.

    A range goes on with a run if it begins where the range before it ends.

    Parameters
    ----------
    starts, stops
        The ranges, shape ``(n,)``, at least one.
    of
        What each range belongs to; ranges of different things are no neighbours.
    gap
        How far behind that end a range may begin.
    overlap
        Whether it may also begin before that end, but not before the range before it.

    Returns
    -------
    first
        Numbers of the first range of each run.

    Examples
    --------
    >>> find_runs(np.array([0, 5, 12, 13]), np.array([5, 9, 14, 15])).tolist()
    [0, 2, 3]
    >>> find_runs(
    ...     np.array([0, 5, 12, 13]), np.array([5, 9, 14, 15]), gap=3, overlap=True
    ... ).tolist()
    [0]
    """
    new = np.empty(len(starts), bool)
    new[0] = True
    if overlap:
        ends = np.maximum.accumulate(stops[:-1])
        np.greater(starts[1:], ends + gap, out=new[1:])
        new[1:] |= starts[1:] < starts[:-1]
    elif gap:
        between = starts[1:] - stops[:-1]
        np.logical_or(between < 0, between > gap, out=new[1:])
    else:
        np.not_equal(starts[1:], stops[:-1], out=new[1:])
    if of is not None:
        new[1:] |= of[1:] != of[:-1]
    return np.flatnonzero(new)


def lengths_of(first: Integers, n: int) -> Integers:
    """Return how many of `n` ranges are in each run that begins at `first`."""
    count = np.empty_like(first)
    np.subtract(first[1:], first[:-1], out=count[:-1])
    count[-1] = n - first[-1]
    return count
