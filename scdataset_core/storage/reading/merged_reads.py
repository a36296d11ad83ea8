"""Reads of plain bytes: neighbours joined, and shared out among tasks."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ...errors import FileChangedError, ScdatasetError
from ..context import ReadContext
from ..io.byte_sources import (
    IOV_MAX,
    Destinations,
    ShortReadError,
    read_fully,
)
from ..io.identities import check_unchanged
from ..io.io_uring import N_ENTRIES, Ring
from ..io.open_limit import most_open
from ..io.reads_in_turn import read_in_turn
from ..layout import ArrayLayout
from .byte_ranges import ByteRanges, LocationNumbers, find_runs, lengths_of
from .read_advice import advice_tasks, expect_objects
from .uncompressed import PlainReads

__all__ = ["MergedReads", "error_of_read", "read_tasks", "tasks_of"]

Integers = npt.NDArray[np.int64]
# One task reads about this much, so that threads share a fetch evenly.
TASK_BYTES = 1 << 20
# Threads that each read a fetch of their own need not share it: with larger tasks they
# seldom wait for the interpreter's lock (1 MB: a fifth slower; 32 MB: no faster).
OWN_TASK_BYTES = 8 << 20
# A task of so few reads does them one by one. To hand reads to io_uring costs as much
# as some 16 calls of preadv (warm, one thread, two cores, November 2026): with 2 to 8
# reads the calls took 2 to 7 % less of a fetch, with 32 they took 4 % more.
FEW_READS = 12
# Reading this much is over before another thread has woken up.
INLINE_BYTES = 4 << 20


class MergedReads:
    """Reads joined to groups, each of which is one read of a byte source.

    Parameters
    ----------
    reads
        The reads, at least one.
    context
        Byte sources, ring and counters.
    cuts
        Reads that begin a group, in whose order all are done; None: any may be joined
        to the one before it.
    ranges
        Where the reads lie, where that is known; None: the tables of the arrays say.

    Attributes
    ----------
    n_bytes : int
        Bytes of all reads.
    """

    def __init__(
        self,
        reads: PlainReads,
        context: ReadContext,
        *,
        cuts: Integers | None = None,
        ranges: ByteRanges | None = None,
    ) -> None:
        self._reads = reads
        self._context = context
        ranges = _ranges_of(reads) if ranges is None else ranges
        table = np.empty((len(ranges), 2), np.uint64)
        table[:, 0] = reads.address
        table[:, 1] = reads.n_bytes
        self._destinations = Destinations(table)
        first = _first_of_groups(ranges)
        if cuts is not None:
            begins = np.zeros(len(ranges), bool)
            begins[first] = begins[cuts] = True
            first = np.flatnonzero(begins)
        count = lengths_of(first, len(ranges))
        size = np.add.reduceat(ranges.n_bytes, first)
        position, of = ranges.position[first], ranges.location_of
        of = None if of is None else of[first]
        if len(reads.arrays) > 1 and cuts is None:
            # Data and indices lie side by side in many files: as the file has them.
            order = np.lexsort((position,) if of is None else (position, of))
            first, count, size = first[order], count[order], size[order]
            position, of = position[order], None if of is None else of[order]
        self._groups = ByteRanges(ranges.locations, of, position, size)
        self._first, self._count = first, count
        self.n_bytes = int(size.sum())

    # No `cached_property`, here and in what else each read makes anew: that of Python
    # 3.11 has one lock for all objects, which a fork leaves locked for ever.
    @property
    def advice(self) -> list[Callable[[], None]]:
        """Functions that tell the system what will be read, to be called first."""
        if self._asks_at_once:
            return expect_objects(self._groups, self._context)
        return advice_tasks(self._groups, self._context)

    @property
    def _asks_at_once(self) -> bool:
        """Whether a few calls of a ring ask for all groups at a time."""
        n_tasks = self.n_bytes // self._share + 1
        few, n = FEW_READS * n_tasks, len(self._groups)
        return few < n <= N_ENTRIES and self._context.ring is not None

    @property
    def _share(self) -> int:
        """Bytes of a task."""
        return TASK_BYTES if self._context.callers == 1 else OWN_TASK_BYTES

    def tasks(self, *, inline: bool) -> list[Callable[[], None]]:
        """Return functions that together do all reads.

        Parameters
        ----------
        inline
            Whether there are so few that other threads should not be woken for them.
        """
        bounds = self._share_groups(inline=inline)
        return [self._task(start, stop) for start, stop in pairwise(bounds)]

    def _share_groups(self, *, inline: bool) -> list[int]:
        """Return where the groups of each task begin, and the number of groups."""
        ends = np.cumsum(self._groups.n_bytes)
        if inline:
            return [0, len(ends)]
        share = self._share
        edges = np.searchsorted(ends, np.arange(share, int(ends[-1]) + 1, share)) + 1
        bounds: list[int] = np.unique(
            np.concatenate(([0], edges, [len(ends)]))
        ).tolist()
        return bounds

    def _task(self, start: int, stop: int) -> Callable[[], None]:
        return lambda: self._read(slice(start, stop))

    def _read(self, some: slice) -> None:
        """Do the reads of some groups."""
        begun = perf_counter()
        few = some.stop - some.start <= FEW_READS
        ring = None if few else self._context.ring
        parts = [self._read_open(ring, part) for part in self._share_files(some)]
        done = parts[0] if len(parts) == 1 else np.concatenate(parts)
        n_bytes = self._groups.n_bytes[some]
        for at in np.flatnonzero(done != n_bytes).tolist():
            self._finish(some.start + at, max(int(done[at]), 0))
        self._context.stats.add(
            bytes_read=int(n_bytes.sum()), read_s=perf_counter() - begun
        )

    def _share_files(self, some: slice) -> list[slice]:
        """Return groups that lie in as many files as one thread should have open."""
        of, locations = self._groups.location_of, self._groups.locations
        most = max(most_open() // self._context.threads, 1)
        if of is None or len(locations) <= most:
            return [some]
        changes = np.cumsum(np.append(False, np.diff(of[some]) != 0))
        first = np.flatnonzero(np.diff(changes // most, prepend=-1)) + some.start
        return [slice(a, b) for a, b in pairwise([*first.tolist(), some.stop])]

    def _read_open(self, ring: Ring | None, some: slice) -> Integers:
        """Return the bytes that were read of each group, all sources open at a time."""
        locations, counts = self._groups.by_count(some)
        sources = self._context.sources.get_all(locations)
        position = self._groups.position[some]
        first, count = self._first[some], self._count[some]
        descriptors = [source.descriptor for source in sources]
        if ring is None or None in descriptors:
            return read_in_turn(
                sources, counts, position, self._destinations, first, count
            )
        return ring.read(
            np.repeat(np.array(descriptors, np.int64), counts),
            position,
            self._destinations.address + 16 * first,
            count,
        )

    def _finish(self, group: int, done: int) -> None:
        """Read what is missing of a group; raise what is wrong with it."""
        first = int(self._first[group])
        try:
            read_fully(
                self._context.open_source(self._groups.location(group)),
                int(self._groups.position[group]),
                self._destinations,
                first,
                int(self._count[group]),
                int(self._groups.n_bytes[group]),
                done,
            )
        except ScdatasetError:  # it names what is wrong with the source
            raise
        except (OSError, ShortReadError) as error:
            reads = self._reads
            if isinstance(error, ShortReadError):
                ends = reads.position[first:] + reads.n_bytes[first:]
                first += int(np.argmax(ends > error.position))
            array = reads.arrays[int(reads.of[first])]
            raise error_of_read(array, int(reads.chunk[first]), error) from error


def error_of_read(array: ArrayLayout, chunk: int, error: Exception) -> OSError:
    """Return the error that names the chunk of a read that failed.

    Where the file changed since it was opened, that is what is wrong.
    """
    table = array.table
    location = table.location(0 if table.file_of is None else int(table.file_of[chunk]))
    if location.store is None and location.identity is not None:
        try:
            check_unchanged(location.name, location.identity)
        except FileChangedError as changed:
            return changed
        except OSError:  # as it cannot be looked at, the error itself says more
            pass
    if isinstance(error, ShortReadError):
        return array.corrupt(chunk, str(error))
    code = getattr(error, "errno", None)
    message = f"{array.file}: data set {array.name}, chunk {chunk}: {error}"
    return OSError(code, message) if code is not None else OSError(message)


def _ranges_of(reads: PlainReads) -> ByteRanges:
    """Return the bytes of reads, with the sources they lie in."""
    numbering = LocationNumbers()
    of: Integers | None
    if reads.file is None:
        known = [numbering.number(array.table, 0) for array in reads.arrays]
        of = None
        if len(numbering.locations) > 1:
            of = np.array(known, np.int64)[reads.of]
    else:
        of = np.zeros(len(reads.of), np.int64)
        for number, array in enumerate(reads.arrays):
            here = reads.of == number
            of[here] = numbering.numbers(array.table, reads.file[here])
    return ByteRanges(numbering.locations, of, reads.position, reads.n_bytes)


def _first_of_groups(ranges: ByteRanges) -> Integers:
    """Return where a read does not follow the one before it, or a group is full."""
    position, n = ranges.position, len(ranges)
    first = find_runs(position, position + ranges.n_bytes, of=ranges.location_of)
    count = lengths_of(first, n)
    if count.max() <= IOV_MAX:
        return first
    number = np.arange(n) - np.repeat(first, count)
    return np.flatnonzero(number % IOV_MAX == 0)


def read_tasks(reads: PlainReads, context: ReadContext) -> list[Callable[[], None]]:
    """Return functions that together do all `reads`, on any threads."""
    return tasks_of([MergedReads(reads, context)]) if len(reads.position) else []


def tasks_of(parts: Sequence[MergedReads]) -> list[Callable[[], None]]:
    """Return functions that together do the reads of all parts, on any threads."""
    advice = [advise for part in parts for advise in part.advice]
    inline = not advice and sum(part.n_bytes for part in parts) <= INLINE_BYTES
    tasks = [task for part in parts for task in part.tasks(inline=inline)]
    if inline and len(tasks) > 1:
        return [partial(_do_all, tasks)]
    return advice + tasks


def _do_all(tasks: Sequence[Callable[[], None]]) -> None:
    for task in tasks:
        task()
