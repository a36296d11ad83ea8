"""Reads that lie together, done together: groups, and tasks of groups."""

from collections.abc import Callable
from itertools import pairwise
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ..context import ReadContext
from ..io.io_uring import Ring
from ..io.open_files import Identity, most_open
from ..io.positional_reads import IOV_MAX, Places, ShortReadError, read_fully
from ..layout import ArrayLayout
from .read_advice import advice_tasks
from .uncompressed import Reads

__all__ = ["read_tasks"]

Integers = npt.NDArray[np.int64]
# One task reads about this much, so that threads share a fetch evenly.
TASK_BYTES = 1 << 20
# Threads that each read a fetch of their own need not share it: with larger tasks they
# seldom wait for the interpreter's lock (1 MB: a fifth slower; 32 MB: no faster).
OWN_TASK_BYTES = 8 << 20
# Reading this much is over before another thread has woken up.
INLINE_BYTES = 4 << 20


class Groups:
    """Reads in groups that one system call each can do.

    Parameters
    ----------
    reads
        The reads, at least one.
    context
        Files, reader and counters.
    """

    def __init__(self, reads: Reads, context: ReadContext) -> None:
        self._reads = reads
        self._context = context
        self._files, file = _files_of(reads)
        position, n_bytes = reads.position, reads.n_bytes
        table = np.empty((len(position), 2), np.uint64)
        table[:, 0] = reads.address
        table[:, 1] = n_bytes
        self._places = Places(table)
        first = _group_starts(position, n_bytes, file)
        count = _to_the_next(first, len(position))
        size = np.add.reduceat(n_bytes, first)
        if len(reads.arrays) > 1:
            # Data and indices lie side by side in many files: as the file has them.
            keys = (
                (position[first],) if file is None else (position[first], file[first])
            )
            order = np.lexsort(keys)
            first, count, size = first[order], count[order], size[order]
        self.position: Integers = position[first]
        self.n_bytes: Integers = size
        self.file = None if file is None else file[first]
        self._first, self._count = first, count

    def tasks(self) -> list[Callable[[], None]]:
        """Return functions that together do all reads."""
        ends = np.cumsum(self.n_bytes)
        total = int(ends[-1])
        ask = advice_tasks(
            self._files, self.file, self.position, self.n_bytes, self._context
        )
        if total <= INLINE_BYTES and not ask:
            return [self._task(0, len(ends))]
        share = TASK_BYTES if self._context.callers == 1 else OWN_TASK_BYTES
        edges = np.searchsorted(ends, np.arange(share, total + 1, share)) + 1
        bounds = np.unique(np.concatenate(([0], edges, [len(ends)]))).tolist()
        return ask + [self._task(start, stop) for start, stop in pairwise(bounds)]

    def _task(self, start: int, stop: int) -> Callable[[], None]:
        return lambda: self._read(start, stop)

    def _read(self, start: int, stop: int) -> None:
        """Do the reads of some groups."""
        begun = perf_counter()
        ring = self._context.ring
        if ring is None:
            done = self._one_by_one(start, stop)
        else:
            done = self._together(ring, start, stop)
        n_bytes = self.n_bytes[start:stop]
        for at in np.flatnonzero(done != n_bytes).tolist():
            self._finish(start + at, max(int(done[at]), 0))
        self._context.stats.add(
            bytes_read=int(n_bytes.sum()), read_s=perf_counter() - begun
        )

    def _together(self, ring: Ring, start: int, stop: int) -> Integers:
        """Return the bytes that were read of each group.

        In one call to the system; in several where they lie in more files than one
        thread should have open.
        """
        if self.file is None:
            return self._in_one_call(ring, slice(start, stop))
        of = self.file[start:stop]
        most = max(most_open() // self._context.threads, 1)
        changes = np.cumsum(np.append(False, of[1:] != of[:-1]))
        first = np.flatnonzero(np.diff(changes // most, prepend=-1)) + start
        return np.concatenate(
            [
                self._in_one_call(ring, slice(a, b))
                for a, b in pairwise([*first.tolist(), stop])
            ]
        )

    def _in_one_call(self, ring: Ring, some: slice) -> Integers:
        """Return the bytes that were read of each group, in one call to the system."""
        numbers = (
            np.zeros(some.stop - some.start, np.int64)
            if self.file is None
            else self.file[some]
        )
        used, which = np.unique(numbers, return_inverse=True)
        files = [self._context.open_file(*self._files[n]) for n in used.tolist()]
        fd = np.array([file.fd for file in files], np.int64)[which]
        address = self._places.address + 16 * self._first[some]
        return ring.read(fd, self.position[some], address, self._count[some])

    def _one_by_one(self, start: int, stop: int) -> Integers:
        """Return the bytes that were read of each group."""
        read, places = self._context.reader, self._places
        some = slice(start, stop)
        n = stop - start
        numbers = [0] * n if self.file is None else self.file[some].tolist()
        done, opened = [], -1
        for number, position, first, count in zip(
            numbers,
            self.position[some].tolist(),
            self._first[some].tolist(),
            self._count[some].tolist(),
            strict=True,
        ):
            if number != opened:
                # Not before: a fetch may read more files than can be open at once.
                opened, file = number, self._context.open_file(*self._files[number])
            try:
                done.append(read(file, position, places, first, count))
            except OSError as error:
                raise self._error(error, first) from error
        return np.array(done, np.int64)

    def _finish(self, group: int, done: int) -> None:
        """Read what is missing of a group; raise what is wrong with it."""
        number = 0 if self.file is None else int(self.file[group])
        first = int(self._first[group])
        try:
            read_fully(
                self._context.reader,
                self._context.open_file(*self._files[number]),
                int(self.position[group]),
                self._places,
                first,
                int(self._count[group]),
                int(self.n_bytes[group]),
                done,
            )
        except (OSError, ShortReadError) as error:
            raise self._error(error, first) from error

    def _error(self, error: Exception, first: int) -> OSError:
        """Return the error that names the chunk of the read that failed."""
        reads = self._reads
        if isinstance(error, ShortReadError):
            ends = reads.position[first:] + reads.n_bytes[first:]
            first += int(np.argmax(ends > error.position))
        array, chunk = reads.arrays[int(reads.of[first])], int(reads.chunk[first])
        if isinstance(error, ShortReadError):
            return array.corrupt(chunk, str(error))
        return failed(array, chunk, error)


def failed(array: ArrayLayout, chunk: int, error: Exception) -> OSError:
    """Return the error for a read that the system refused."""
    code = getattr(error, "errno", None)
    message = f"{array.file}: data set {array.name}, chunk {chunk}: {error}"
    return OSError(code, message) if code is not None else OSError(message)


def _files_of(
    reads: Reads,
) -> tuple[list[tuple[str, Identity | None]], Integers | None]:
    """Return every file there is to read, and which one each read needs.

    None for the second: all need the only one.
    """
    files: list[tuple[str, Identity | None]] = []
    known: dict[str, int] = {}

    def number_of(array: ArrayLayout, at: int) -> int:
        path = array.table.files[at]
        if path not in known:
            known[path] = len(files)
            files.append((path, array.table.identities[at]))
        return known[path]

    if reads.file is None:
        numbers = np.array([number_of(array, 0) for array in reads.arrays], np.int64)
        return files, None if len(files) == 1 else numbers[reads.of]
    per_read = np.zeros(len(reads.of), np.int64)
    for number, array in enumerate(reads.arrays):
        here = reads.of == number
        used, inverse = np.unique(reads.file[here], return_inverse=True)
        numbers = np.array([number_of(array, at) for at in used.tolist()], np.int64)
        per_read[here] = numbers[inverse] if len(used) else 0
    return files, per_read


def _group_starts(
    position: Integers, n_bytes: Integers, file: Integers | None
) -> Integers:
    """Return where a read does not follow the one before it, or a group is full."""
    new = np.empty(len(position), bool)
    new[0] = True
    np.not_equal(position[1:], position[:-1] + n_bytes[:-1], out=new[1:])
    if file is not None:
        new[1:] |= file[1:] != file[:-1]
    first = np.flatnonzero(new)
    count = _to_the_next(first, len(position))
    if count.max() > IOV_MAX:
        number = np.arange(len(position)) - np.repeat(first, count)
        new |= number % IOV_MAX == 0
        first = np.flatnonzero(new)
    return first


def _to_the_next(first: Integers, n: int) -> Integers:
    """Return how far it is from each start to the next, and from the last to `n`."""
    count = np.empty_like(first)
    np.subtract(first[1:], first[:-1], out=count[:-1])
    count[-1] = n - first[-1]
    return count


def read_tasks(reads: Reads, context: ReadContext) -> list[Callable[[], None]]:
    """Return functions that together do all `reads`, on any threads.

    The places must stay in memory until all are done.
    """
    return Groups(reads, context).tasks() if len(reads.position) else []
