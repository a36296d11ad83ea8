"""Threads, buffers, open files and counters of one reader."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import numpy.typing as npt

from .buffers import BufferPool
from .files import Identity, OpenFile, OpenFiles
from .readers import Reader, reader_named
from .scratch import Scratch
from .stats import ReadStats

__all__ = ["ReadContext", "default_context"]

Task = Callable[[], None]
# More threads than this never paid: decoding shares memory and the interpreter's lock.
MOST_THREADS = 8


class _Job:
    """Tasks that several threads take from one after another."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks: Iterator[Task] = iter(tasks)
        self._lock = threading.Lock()
        self._working = 0
        self._idle = threading.Condition(self._lock)
        self._stopped = False
        self.error: BaseException | None = None

    def work(self) -> None:
        """Do tasks until there are none left, or one has failed."""
        with self._lock:
            if self._stopped:
                return
            self._working += 1
        try:
            # Taking the next item of a list's iterator is one step of the interpreter.
            for task in self._tasks:
                task()
                if self._stopped:
                    break
        except BaseException as error:
            with self._lock:
                self._stopped = True
                if self.error is None:
                    self.error = error
        finally:
            with self._lock:
                self._working -= 1
                self._idle.notify_all()

    def finish(self) -> None:
        """Take no more tasks, and wait for those that run."""
        with self._lock:
            self._stopped = True
            self._tasks = iter(())  # what was not begun holds buffers
            while self._working:
                self._idle.wait()


def _serve(queue: "SimpleQueue[_Job | None]") -> None:
    while (job := queue.get()) is not None:
        job.work()
        del job


class ReadContext:
    """What one reader uses to read: threads, recycled buffers, files, counters.

    Parameters
    ----------
    threads
        Threads that read and decode, the caller's among them; None: one a core, at
        most 8.
    reader
        How bytes are read: "libc", "preadv", "pread" or "seek"; None: the fastest here.

    Attributes
    ----------
    stats : ReadStats
        What was read so far, and what it cost.
    """

    def __init__(
        self, threads: int | None = None, *, reader: str | None = None
    ) -> None:
        if threads is None:
            threads = min(available_cores(), MOST_THREADS)
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.threads = threads
        self.stats = ReadStats()
        self.files = OpenFiles()
        self.reader: Reader = reader_named(reader)
        self._buffers = BufferPool()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Job | None] | None = None
        self._workers: list[threading.Thread] = []
        self._pid = os.getpid()
        self._stop: Callable[[], Any] = lambda: None

    def __enter__(self) -> "ReadContext":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def empty(self, n: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array of shape ``(n,)`` with arbitrary contents.

        Its memory is used again only when no view of it is alive any more.
        """
        return self._buffers.empty(n, dtype)

    @property
    def scratch(self) -> Scratch:
        """The calling thread's own memory for chunks."""
        scratch: Scratch | None = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = Scratch()
        return scratch

    def open_file(self, path: str, expected: Identity | None = None) -> OpenFile:
        """Return a file opened in this process, checked to be as it was."""
        return self.files.get(path, expected)

    def run(self, tasks: Sequence[Task]) -> None:
        """Do all tasks, on this context's threads and the caller's.

        Parameters
        ----------
        tasks
            Functions of no arguments, begun in this order.

        Raises
        ------
        BaseException
            The first error of a task, as it was raised there. Tasks that have not
            begun by then are not done; none runs any more when this returns.
        """
        n_helpers = min(self.threads, len(tasks)) - 1
        if n_helpers < 1:
            for task in tasks:
                task()
            return
        job = _Job(tasks)
        queue = self._start()
        for _ in range(n_helpers):
            queue.put(job)
        try:
            job.work()
        finally:
            job.finish()
        if job.error is not None:
            raise job.error

    def _start(self) -> "SimpleQueue[_Job | None]":
        """Return the queue of the helping threads, started in this process."""
        with self._lock:
            if self._queue is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._queue = SimpleQueue()
                self._workers = [
                    threading.Thread(
                        target=_serve,
                        args=(self._queue,),
                        name=f"scdataset-read-{number}",
                        daemon=True,
                    )
                    for number in range(1, self.threads)
                ]
                for worker in self._workers:
                    worker.start()
                self._stop = weakref.finalize(
                    self, _dismiss, self._queue, len(self._workers)
                )
            return self._queue

    def close(self) -> None:
        """End the threads, close the files and drop idle buffers.

        Arrays that were handed out stay valid. A later read starts everything again.
        """
        with self._lock:
            workers, self._workers = self._workers, []
            self._queue = None
            self._stop()
        if self._pid == os.getpid():
            for worker in workers:
                if worker is not threading.current_thread():
                    worker.join()
        self.files.close()
        self._buffers.close()
        self._local = threading.local()


def _dismiss(queue: "SimpleQueue[_Job | None]", n_workers: int) -> None:
    for _ in range(n_workers):
        queue.put(None)


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_default: tuple[int, ReadContext] | None = None


def default_context() -> ReadContext:
    """Return the context of one-off reads in this process; it starts no thread."""
    global _default
    if _default is None or _default[0] != os.getpid():
        _default = (os.getpid(), ReadContext(1))
    return _default[1]
