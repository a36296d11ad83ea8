"""The threads, buffers, open files and counters that one reader uses."""

import itertools
import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy.typing as npt

from .io.buffer_pool import BufferPool
from .io.byte_sources import ByteSource, Location
from .io.io_uring import Ring, is_available, new_ring
from .io.open_files import OpenSources
from .io.positional_reads import choose_reader
from .io.scratch_memory import Scratch
from .io.threads import Task, WorkerThreads
from .stats import ReadStats

__all__ = ["ReadContext", "default_context"]

# More threads than this never paid: decoding shares memory and the interpreter's lock.
MOST_THREADS = 8
# One-off reads leave the files that a process may open to the contexts of loaders.
FEW_OPEN = 64


class ReadContext:
    """Holds what one reader uses: threads, recycled buffers, files and counters.

    Parameters
    ----------
    threads
        How many threads read and decode, those that call :meth:`run` among them; None:
        one a core, at most 8.
    callers
        How many threads call :meth:`run` at a time, at most; the context starts the
        others itself.
    reader
        How bytes are read: "libc", "preadv", "pread" or "seek"; None: the fastest here,
        by io_uring where the system lets us.
    most_open
        How many files stay open; None: a share of what the process may open.
    stats
        Counters to go on with; None: new ones.

    Attributes
    ----------
    callers : int
        How many threads should call :meth:`run` at a time. It is 1 where each read
        waits for the interpreter's lock: two threads would hinder each other.
    stats : ReadStats
        Counts what was read so far, and what it cost.
    """

    def __init__(
        self,
        threads: int | None = None,
        *,
        callers: int = 1,
        reader: str | None = None,
        most_open: int | None = None,
        stats: ReadStats | None = None,
    ) -> None:
        if threads is None:
            threads = min(available_cores(), MOST_THREADS)
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.threads = threads = int(threads)  # int8 of NumPy would overflow
        self.stats = ReadStats() if stats is None else stats
        self.sources = OpenSources(
            most_open, reader=choose_reader(reader), stats=self.stats
        )
        self._rings = reader is None and is_available()
        self._buffers = BufferPool()
        self._local = threading.local()
        self._turns = itertools.count(1)
        self.callers = min(callers, threads) if self._rings else 1
        self._workers = WorkerThreads(threads - self.callers)

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

    def empty_together(
        self, n: int, dtypes: Sequence[npt.DTypeLike]
    ) -> list[npt.NDArray[Any]]:
        """Return an array as :meth:`empty` does of each type, for use together."""
        return self._buffers.empty_together(n, dtypes)

    @property
    def scratch(self) -> Scratch:
        """The calling thread's own memory for chunks."""
        scratch: Scratch | None = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = Scratch()
        return scratch

    @property
    def ring(self) -> Ring | None:
        """The calling thread's own ring for io_uring, or None.

        The main thread has none: Ctrl-C could interrupt it with reads under way.
        """
        ring: Ring | None = getattr(self._local, "ring", None)
        if ring is not None and ring.pid == os.getpid():
            return ring
        if not self._rings or threading.current_thread() is threading.main_thread():
            return None
        ring = self._local.ring = new_ring()
        self._rings = ring is not None
        return ring

    def open_source(self, location: Location) -> ByteSource:
        """Return a byte source opened in this process, checked to be as it was."""
        return self.sources.get(location)

    def join_queue(self) -> None:
        """Put the tasks of this thread before those of threads that call this later."""
        self._local.turn = next(self._turns)

    def run(self, tasks: Sequence[Task]) -> None:
        """Do all tasks, on this context's threads and on those that call this method.

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
        if self.threads == 1 or len(tasks) < 2:
            for task in tasks:
                task()
        else:
            self._workers.run(tasks, turn=getattr(self._local, "turn", 0))

    def close(self) -> None:
        """End the threads, close the files and drop idle buffers.

        Arrays that were handed out stay valid. A later read starts everything again.
        """
        try:
            self._workers.close()
        finally:  # after an interrupt too
            self.sources.close()
            self._buffers.close()
            self._local = threading.local()


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
        _default = (os.getpid(), ReadContext(1, most_open=FEW_OPEN))
    return _default[1]
