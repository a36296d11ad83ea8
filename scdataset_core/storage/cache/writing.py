"""Writes chunks beside the training: a queue, and one thread that ends when idle.

The queue has a limit in bytes. Where the disk falls behind it is full, and chunks go
unkept: nothing ever waits for the disk.
"""

import contextlib
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["ChunkWrite", "Writer"]

# So many bytes may wait to be written.
QUEUE_BYTES = 32 << 20
# The thread ends after so many seconds without work.
IDLE_S = 1.0
MOST_OPEN = 16
# A write takes whole pages of the disk, of the index too.
PAGES_BYTES = 16 << 10


class ChunkWrite(NamedTuple):
    """A chunk to be written.

    Parameters
    ----------
    data, position, kept
        File, first byte there, and the bytes.
    records, record_position, record
        The file of records, what to write there afterwards, and where; None: nothing
        yet.
    done
        Called with whether the chunk was written.
    """

    data: str
    position: int
    kept: npt.NDArray[np.generic]
    records: str
    record_position: int
    record: Callable[[], bytes] | None
    done: Callable[[bool], None]


class GoneError(Exception):
    """Says that a file to write to was removed."""


class Writer:
    """Writes chunks, in the order given, as long as there is room.

    Parameters
    ----------
    admit
        Returns whether so many bytes may be written.
    fail
        Called with the error of the disk, after which nothing more is written.
    """

    def __init__(
        self, admit: Callable[[int], bool], fail: Callable[[OSError], None]
    ) -> None:
        self._admit, self._fail = admit, fail
        self._queue: deque[ChunkWrite] = deque()
        self._n_queued = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._writing = threading.Lock()
        self._files: OrderedDict[str, int] = OrderedDict()
        self.is_closed = False

    def submit(self, write: ChunkWrite) -> bool:
        """Queue a chunk; return False where the queue is full."""
        n_bytes = write.kept.nbytes
        with self._changed:
            full = self._n_queued and self._n_queued + n_bytes > QUEUE_BYTES
            if full or self.is_closed:
                return False
            self._queue.append(write)
            self._n_queued += n_bytes
            if self._thread is None:
                thread = threading.Thread(
                    target=self._run, name="scdataset-cache", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter ends
                    self._queue.pop()
                    self._n_queued -= n_bytes
                    return False
                self._thread = thread
            self._changed.notify_all()
        return True

    def write(self, write: ChunkWrite) -> None:
        """Write a chunk now, in this thread."""
        done = False
        try:
            with self._writing:
                done = not self.is_closed and self._write(write)
        except OSError as error:
            self.is_closed = True
            self._fail(error)
        except GoneError:
            pass
        finally:
            write.done(done)

    def flush(self, seconds: float) -> None:
        """Wait until the queue is empty, but not longer than some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._n_queued, seconds)

    def close_files(self) -> None:
        """Close the files that are open."""
        with self._writing:
            while self._files:
                _close(self._files.popitem()[1])

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: bool(self._queue), IDLE_S):
                    self._thread = None
                    break
                write = self._queue.popleft()
            try:
                self.write(write)
            finally:
                with self._changed:
                    self._n_queued -= write.kept.nbytes
                    self._changed.notify_all()
        self.close_files()

    def _write(self, write: ChunkWrite) -> bool:
        if not self._admit(write.kept.nbytes + PAGES_BYTES):
            return False
        self._write_all(write.data, write.kept.view(np.uint8).data, write.position)
        if write.record is not None:
            record = memoryview(write.record())
            self._write_all(write.records, record, write.record_position)
        return True

    def _write_all(self, path: str, left: memoryview, position: int) -> None:
        descriptor = self._open(path)
        while left:
            n = os.pwrite(descriptor, left, position)
            left, position = left[n:], position + n

    def _open(self, path: str) -> int:
        """Return a descriptor of a file that is there; it never makes one."""
        descriptor = self._files.get(path)
        if descriptor is not None:
            if os.fstat(descriptor).st_nlink:
                self._files.move_to_end(path)
                return descriptor
            _close(self._files.pop(path))
        try:
            descriptor = os.open(path, os.O_WRONLY)
        except FileNotFoundError as error:
            raise GoneError from error
        self._files[path] = descriptor
        if len(self._files) > MOST_OPEN:
            _close(self._files.popitem(last=False)[1])
        return descriptor


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # a network file system reports late
        os.close(descriptor)
