"""Writes chunks beside the training: a queue, and one thread that ends when idle.

The queue has a limit in bytes. Where the disk falls behind it is full, and chunks go
unkept: nothing ever waits for the disk.
"""

import errno
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..io.open_limit import most_open
from .records import RECORD_BYTES
from .unchanged_files import Looks

__all__ = ["ChunkWrites", "FileStatus", "Writer", "is_gone"]

# So many bytes may wait to be written.
QUEUE_BYTES = 32 << 20
# Files that stay open to be written to, where the process may open so many.
MOST_OPEN = 64
# The thread ends after so many seconds without work.
IDLE_S = 1.0
# It waits so long for more before it writes.
GATHER_S = 0.01
# A reader waits no longer for the chunks that are being written.
WAIT_S = 0.005
# While a write took no longer, nobody else can well have written to its file. One that
# took longer (it waited for the interpreter's lock, say) is not told from another's.
OWN_S = 0.0003
# A write takes whole pages of the disk, of the index too.
PAGES_BYTES = 16 << 10


class ChunkWrites(NamedTuple):
    """Chunks of an array to be written, of one type.

    Parameters
    ----------
    data, positions, kept
        File, first byte of each chunk there, and a row for each chunk.
    records, record_positions, make_records
        The file of records, where to write afterwards, and a function that says what of
        each chunk: bytes, none to note nothing, or None if the chunk must not be kept.
        It is called with what looks at the chunks' files.
    done
        Called with whether all chunks were written, more than once where they were not.
    """

    data: str
    positions: Sequence[int]
    kept: npt.NDArray[np.generic]
    records: str
    record_positions: Sequence[int]
    make_records: Callable[[Looks], Sequence[bytes | None]]
    done: Callable[[bool], None]


class FileStatus(NamedTuple):
    """Tells an open file from what it was before anything was written to it."""

    inode: int
    n_bytes: int
    ctime_ns: int
    n_links: int

    @classmethod
    def of(cls, descriptor: int) -> "FileStatus":
        """Return what an open file is now."""
        now = os.fstat(descriptor)
        return cls(now.st_ino, now.st_size, now.st_ctime_ns, now.st_nlink)


class UnkeptError(Exception):
    """Says that a file cannot be written now, since it was removed for example."""


def is_gone(error: OSError) -> bool:
    """Return whether a file was removed, by another client of a network's disk even."""
    return error.errno in (errno.ENOENT, errno.ESTALE)


class Writer:
    """Writes chunks, in the order given, as long as there is room.

    Parameters
    ----------
    admit
        Returns whether so many bytes of a chunk may be written.
    admit_several
        Returns whether so many bytes of several chunks may be, which is so where the
        limit is far.
    fail
        Called with the error of the disk, after which nothing more is written.

    Attributes
    ----------
    is_closed : bool
        Whether nothing is written any more.
    lock : Lock
        Held while chunks are written.
    """

    def __init__(
        self,
        admit: Callable[[int], bool],
        admit_several: Callable[[int], bool],
        fail: Callable[[Exception], None],
    ) -> None:
        self._admit, self._admit_several, self._fail = admit, admit_several, fail
        self._queue: deque[ChunkWrites] = deque()
        self._n_queued = 0
        self._busy, self._idle = False, True
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._files: OrderedDict[str, int] = OrderedDict()
        self.lock = threading.Lock()
        self.is_closed = False
        self._known: dict[str, tuple[int, FileStatus | None]] = {}
        # No number of a parent's writer, whose entries a forked process goes on with.
        self._unknown: tuple[int, FileStatus | None] = os.getpid() << 32, None

    def submit(self, write: ChunkWrites) -> bool:
        """Queue chunks; return False where the queue is full."""
        n_bytes = write.kept.nbytes
        with self._changed:
            full = self._n_queued and self._n_queued + n_bytes > QUEUE_BYTES
            if full or self.is_closed or not self._has_thread():
                return False
            self._queue.append(write)
            self._n_queued += n_bytes
            if self._idle:
                self._changed.notify_all()
        return True

    def find_status(self, path: str, descriptor: int) -> tuple[FileStatus, int | None]:
        """Return what a file is now, and how often others had written to it.

        Parameters
        ----------
        path, descriptor
            The file, open for reading.

        Returns
        -------
        status
            What the file is.
        n_foreign
            Between two calls with the same number, this writer alone has written to it.
            None: it is not known who has.
        """
        if not self.lock.acquire(timeout=WAIT_S):
            return FileStatus.of(descriptor), None
        try:
            status = FileStatus.of(descriptor)
            n_foreign, known = self._known.get(path, self._unknown)
            return status, n_foreign if status == known else None
        finally:
            self.lock.release()

    def _has_thread(self) -> bool:
        """Start the thread where there is none; return whether there is one."""
        if self._thread is None:
            thread = threading.Thread(
                target=self._run, name="scdataset-cache", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends
                return False
            self._thread = thread
        return True

    def write(self, *writes: ChunkWrites) -> None:
        """Write chunks now, in this thread."""
        looks = Looks()
        files: dict[str, list[ChunkWrites]] = {}
        for write in writes:
            files.setdefault(write.data, []).append(write)
        for path, some in files.items():
            done = [False] * len(some)
            try:
                with self.lock:
                    if not self.is_closed:
                        self._write(path, some, looks, done)
            except UnkeptError:
                pass
            except Exception as error:  # of the disk, or no memory for the records
                if isinstance(error, OSError) and is_gone(error):
                    self.close_files()  # of which some are of no use any more
                else:
                    self.is_closed = True
                    self._fail(error)
            finally:
                for write, is_done in zip(some, done, strict=True):
                    write.done(is_done)

    def flush(self, seconds: float) -> None:
        """Wait until the queue is empty, but not longer than some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._queue or self._busy), seconds)

    def close_files(self) -> None:
        """Close the files that are open."""
        with self.lock:
            self._close_files()

    def _close_files(self) -> None:
        while self._files:
            self._close(self._files.popitem()[1])

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle = True
                if not self._changed.wait_for(lambda: bool(self._queue), IDLE_S):
                    self._thread = None
                    break
                # What comes together is written together: each turn of the lock costs
                # time, the interpreter's too.
                self._idle, self._busy = False, True
                self._changed.wait(GATHER_S)
                some = list(self._queue)
                self._queue.clear()
            try:
                self.write(*some)
            except BaseException:  # no memory, say: another thread goes on
                self._thread = None
                for write in some:
                    write.done(False)
                raise
            finally:
                del some
                with self._changed:
                    self._busy = False
                    self._n_queued = sum(each.kept.nbytes for each in self._queue)
                    self._changed.notify_all()
        self.close_files()

    def _write(
        self,
        path: str,
        writes: Sequence[ChunkWrites],
        looks: Looks,
        done: list[bool],
    ) -> None:
        """Write those chunks of a file that are admitted, and then their records.

        Note which writes are `done`, and whether nobody else can have written to the
        file meanwhile.
        """
        begun = time.monotonic()
        descriptor, status = self._open(path)
        n_foreign, known = self._known.get(path, self._unknown)
        written = []
        try:
            for write in writes:
                rows = self._write_rows(descriptor, write, looks)
                written.append(rows)
                if len(rows) < len(write.positions):
                    # The last piece of a very large chunk asks for it.
                    write.done(False)
        finally:
            now = FileStatus.of(descriptor)
            is_own = status == known and time.monotonic() - begun < OWN_S
            self._known[path] = n_foreign + (not is_own), now
        for number, (write, rows) in enumerate(zip(writes, written, strict=True)):
            self._write_records(write, rows)
            done[number] = len(rows) == len(write.positions)

    def _write_rows(
        self, descriptor: int, write: ChunkWrites, looks: Looks
    ) -> dict[int, bytes]:
        """Write those rows that are to be kept and admitted; return their records."""
        records = {
            row: record
            for row, record in enumerate(write.make_records(looks))
            if record is not None
        }
        written: dict[int, bytes] = {}
        at, data = write.positions, write.kept.view(np.uint8)
        for some in self._admit_rows(list(records), data.shape[1] + PAGES_BYTES):
            for run in _find_runs(some, at, data.shape[1]):
                plain = data[run[0] : run[-1] + 1].reshape(-1)
                write_fully(descriptor, plain.data, at[run[0]])
            written.update((row, records[row]) for row in some)
        return written

    def _admit_rows(self, rows: list[int], n_bytes: int) -> Iterator[list[int]]:
        """Yield rows of so many bytes that may be written.

        Near the limit they come one by one, each when those before it are written, so
        that what is on the disk says what room is left.
        """
        if self._admit_several(len(rows) * n_bytes):
            yield rows
            return
        for row in rows:
            if not self._admit(n_bytes):
                return
            yield [row]

    def _write_records(self, write: ChunkWrites, records: dict[int, bytes]) -> None:
        """Write the records of rows, those that there are."""
        rows = [row for row, record in records.items() if record]
        if not rows:
            return
        # If it was removed, its chunks were too, and are asked next time.
        known = self._files.get(write.records)
        descriptor = self._open(write.records)[0] if known is None else known
        for some in _find_runs(rows, write.record_positions, RECORD_BYTES):
            data = b"".join(records[row] for row in some)
            position = write.record_positions[some[0]]
            write_fully(descriptor, memoryview(data), position)

    def _open(self, path: str) -> tuple[int, FileStatus]:
        """Return a descriptor of a file that is there, and what the file is.

        It never makes a file.
        """
        descriptor = self._files.get(path)
        if descriptor is not None:
            status = FileStatus.of(descriptor)
            if status.n_links:
                self._files.move_to_end(path)
                return descriptor, status
            self._close(self._files.pop(path))
        while True:
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
                break
            except OSError as error:
                if is_gone(error) or error.errno == errno.ELOOP:
                    raise UnkeptError from error
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                if not self._files:  # others may close theirs
                    raise UnkeptError from error
                self._close_files()
        self._files[path] = descriptor
        if len(self._files) > min(most_open(), MOST_OPEN):
            self._close(self._files.popitem(last=False)[1])
        return descriptor, FileStatus.of(descriptor)

    def _close(self, descriptor: int) -> None:
        try:
            os.close(descriptor)
        except OSError as error:  # a network file system tells here that it is full
            if not is_gone(error):
                self.is_closed = True
                self._fail(error)


def _find_runs(
    rows: Sequence[int], positions: Sequence[int], n_bytes: int
) -> Iterator[list[int]]:
    """Yield the rows that follow one another, here and in the file, together."""
    run: list[int] = []
    for row in rows:
        last = run[-1] if run else -1
        if run and (row != last + 1 or positions[row] != positions[last] + n_bytes):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def write_fully(descriptor: int, left: memoryview, position: int) -> None:
    """Write bytes at a position of a file, all of them."""
    while left:
        n = os.pwrite(descriptor, left, position)
        left, position = left[n:], position + n
