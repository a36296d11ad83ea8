"""Threads that do tasks together with those who ask for them."""

import os
import threading
from collections.abc import Callable, Sequence

from ...thread_ending import Ending, join_all, start_all

__all__ = ["Crew", "Task"]

Task = Callable[[], None]

_JOIN_S = 60.0  # longest wait for a task that is under way when a crew is closed


class _Job:
    """Tasks that were asked for together; guarded by the lock of its board."""

    def __init__(self, tasks: Sequence[Task], turn: int) -> None:
        # Taking the next item of a list's iterator is one step of the interpreter: a
        # lock for every task cost a tenth of a warm read.
        self.tasks = iter(tasks)
        self.turn = turn
        self.is_open = True
        self.working: set[int] = set()  # threads
        self.error: BaseException | None = None


class _Board:
    """Jobs that have tasks left, for whoever is free; it knows no crew."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: list[_Job] = []
        self._closed = False

    def do(self, job: _Job) -> None:
        """Do a job, and before it what is left of those begun before."""
        with self._changed:
            self._jobs.append(job)
            self._jobs.sort(key=lambda other: other.turn)
            self._changed.notify_all()
        try:
            while (first := self._first()) is not None and job.is_open:
                self._work(first)
        finally:
            with self._changed:
                self._close(job)  # after an interrupt
                job.working.discard(threading.get_ident())
                self._changed.wait_for(lambda: not job.working)

    def serve(self) -> None:
        """Do jobs until the board is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                job = self._jobs[0]
            self._work(job)
            del job  # nothing of it while there is nothing to do

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _first(self) -> _Job | None:
        with self._changed:
            return self._jobs[0] if self._jobs else None

    def _work(self, job: _Job) -> None:
        """Do tasks of a job until there are none left, or one has failed."""
        with self._changed:
            if not job.is_open:
                return
            job.working.add(threading.get_ident())
        error = None
        try:
            for task in job.tasks:
                task()
                if not job.is_open:
                    break
        except BaseException as raised:  # for the thread that asked for the job
            error = raised
        with self._changed:
            job.error = job.error or error
            self._close(job)
            job.working.discard(threading.get_ident())
            self._changed.notify_all()

    def _close(self, job: _Job) -> None:
        """Begin no more tasks of a job."""
        if job.is_open:
            job.is_open = False
            job.tasks = iter(())  # what was not begun holds buffers
            self._jobs.remove(job)


class Crew:
    """Does jobs on the threads that ask for them, and on some of its own.

    Its own threads are started by the first job, and end on :meth:`close` and when this
    object is collected. In a forked process they start again.

    Parameters
    ----------
    n_threads
        Threads of its own; none if not positive.
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._board: _Board | None = None
        self._threads: list[threading.Thread] = []
        self._dismiss: Ending | None = None

    def run(self, tasks: Sequence[Task], *, turn: int) -> None:
        """Do all tasks; raise the first error of one, when none runs any more.

        Parameters
        ----------
        tasks
            Functions of no arguments, begun in this order.
        turn
            Tasks of a lower number go first, whoever asked for them.
        """
        job = _Job(tasks, turn)
        self._started().do(job)
        if job.error is not None:
            raise job.error

    def _started(self) -> _Board:
        """Return the board, with threads that serve it in this process."""
        if self._pid != os.getpid():  # a thread of the parent may hold its lock
            self._lock = threading.Lock()
            self._pid, self._board, self._threads = os.getpid(), None, []
        with self._lock:
            if self._board is None:
                self._start(_Board())
                assert self._board is not None  # what it was started with
            return self._board

    def _start(self, board: _Board) -> None:
        threads = [
            threading.Thread(
                target=board.serve, name=f"scdataset-read-{number}", daemon=True
            )
            for number in range(1, self._n_threads + 1)
        ]
        dismiss = Ending(self, board.close)
        try:
            start_all(threads)
        except BaseException:
            dismiss()
            join_all(threads, limit_s=_JOIN_S)
            raise
        self._dismiss, self._threads, self._board = dismiss, threads, board

    def close(self) -> None:
        """End the threads. A later job starts them again."""
        if self._pid != os.getpid():
            return
        with self._lock:
            threads, self._threads = self._threads, []
            dismiss, self._dismiss = self._dismiss, None
            self._board = None
            if dismiss is not None:
                dismiss()
        join_all(threads, limit_s=_JOIN_S)
