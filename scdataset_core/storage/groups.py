"""Reads that lie together, done together: groups, and tasks of groups."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from time import perf_counter

import numpy as np
import numpy.typing as npt

from .context import ReadContext
from .direct import Reads
from .files import OpenFile
from .layout import ArrayLayout
from .readers import IOV_MAX, Places, ShortReadError, read_fully

__all__ = ["read_tasks"]

Integers = npt.NDArray[np.int64]
# One task reads about this much, so that threads share a fetch evenly.
TASK_BYTES = 1 << 20


class Groups:
    """All reads of a call, in groups that one system call each can do.

    Parameters
    ----------
    reads
        The reads, request by request.
    context
        Files, reader and counters.
    """

    def __init__(self, reads: Sequence[Reads], context: ReadContext) -> None:
        self._reads = reads
        self._context = context
        self._files, file = _open_files(reads, context)
        position = np.concatenate([part.position for part in reads])
        n_bytes = np.concatenate([part.n_bytes for part in reads])
        table = np.empty((len(position), 2), np.uint64)
        table[:, 0] = np.concatenate([part.address for part in reads])
        table[:, 1] = n_bytes
        self._places = Places(table)
        first = _group_starts(position, n_bytes, file)
        self.n_bytes: Integers = np.add.reduceat(n_bytes, first)
        count = np.diff(first, append=len(position))
        self.position: Integers = position[first]
        if len(reads) > 1:
            order = np.argsort(self.position, kind="stable")
            if file is not None:
                order = np.lexsort((self.position, file[first]))
            first, count = first[order], count[order]
            self.position, self.n_bytes = self.position[order], self.n_bytes[order]
        self._first, self._count = first, count
        self.file = None if file is None else file[first]

    def tasks(self) -> list[Callable[[], None]]:
        """Return functions that together do all reads."""
        ends = np.cumsum(self.n_bytes)
        n_tasks = int(ends[-1]) // TASK_BYTES + 1
        edges = np.searchsorted(ends, np.arange(1, n_tasks) * TASK_BYTES) + 1
        bounds = np.unique(np.concatenate(([0], edges, [len(ends)]))).tolist()
        return [self._task(start, stop) for start, stop in pairwise(bounds)]

    def _task(self, start: int, stop: int) -> Callable[[], None]:
        return lambda: self._read(start, stop)

    def _read(self, start: int, stop: int) -> None:
        """Do the reads of some groups."""
        begun = perf_counter()
        read, places = self._context.reader, self._places
        file = self._files[0]
        numbers = None if self.file is None else self.file[start:stop].tolist()
        total = 0
        for at, (position, first, count, n_bytes) in enumerate(
            zip(
                self.position[start:stop].tolist(),
                self._first[start:stop].tolist(),
                self._count[start:stop].tolist(),
                self.n_bytes[start:stop].tolist(),
                strict=True,
            )
        ):
            if numbers is not None:
                file = self._files[numbers[at]]
            try:
                done = read(file, position, places, first, count)
                if done != n_bytes:
                    read_fully(
                        read, file, position, places, first, count, n_bytes, done
                    )
            except (OSError, ShortReadError) as error:
                raise self._error(error, first, position) from error
            total += n_bytes
        self._context.stats.add(
            bytes_read=total, bytes_used=total, read_s=perf_counter() - begun
        )

    def _error(self, error: Exception, first: int, position: int) -> OSError:
        """Return the error that names the chunk of the read that failed."""
        for part in self._reads:
            if first < len(part.chunk):
                break
            first -= len(part.chunk)
        if isinstance(error, ShortReadError):
            ends = part.position + part.n_bytes
            later = np.flatnonzero(ends[first:] > error.position)
            at = first + (int(later[0]) if len(later) else 0)
            return part.array.corrupt(int(part.chunk[at]), str(error))
        return failed(part.array, int(part.chunk[first]), error)


def failed(array: ArrayLayout, chunk: int, error: Exception) -> OSError:
    """Return the error for a read that the system refused."""
    code = getattr(error, "errno", None)
    message = f"{array.file}: data set {array.name}, chunk {chunk}: {error}"
    return OSError(code, message) if code is not None else OSError(message)


def _open_files(
    reads: Sequence[Reads], context: ReadContext
) -> tuple[list[OpenFile], npt.NDArray[np.int64] | None]:
    """Open every file there is to read, and say which each read needs."""
    files: list[OpenFile] = []
    known: dict[str, int] = {}
    columns = []
    for part in reads:
        table = part.array.table
        numbers = [0] if part.file is None else np.unique(part.file).tolist()
        here = np.zeros(max(numbers, default=0) + 1, np.int64)
        for number in numbers:
            path = table.files[number]
            if path not in known:
                known[path] = len(files)
                files.append(context.open_file(path, table.identities[number]))
            here[number] = known[path]
        columns.append(
            np.full(len(part.position), here[0])
            if part.file is None
            else here[part.file]
        )
    return files, None if len(files) == 1 else np.concatenate(columns)


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
    count = np.diff(first, append=len(position))
    if count.max() > IOV_MAX:
        number = np.arange(len(position)) - np.repeat(first, count)
        new |= number % IOV_MAX == 0
        first = np.flatnonzero(new)
    return first


def read_tasks(
    reads: Sequence[Reads], context: ReadContext
) -> list[Callable[[], None]]:
    """Return functions that together do all `reads`, on any threads.

    The places must stay in memory until all are done.
    """
    wanted = [part for part in reads if len(part.position)]
    if not wanted:
        return []
    return Groups(wanted, context).tasks()
