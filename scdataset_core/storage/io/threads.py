"""Threads that work on tasks together with the threads that ask for them."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from ...thread_ending import Ending, join_all, start_all

__all__ = ["Task", "WorkerThreads"]

Task = Callable[[], None]

_JOIN_S = 60.0  # longest wait for a task that is under way when threads are to end


class _InTurn(Iterator[Task]):
    """Gives each task to one of the threads that take from it, under a lock."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = iter(tasks)
        self._lock = threading.Lock()

    def __next__(self) -> Task:
        with self._lock:
            return next(self._tasks)


def _share(tasks: Sequence[Task]) -> Iterator[Task]:
    """Return an iterator from which several threads take each task once."""
    # Taking the next item of a list's iterator is one step of an interpreter with a
    # global lock. Without that (free-threaded Python), two threads may get one item; a
    # lock for every task would cost a tenth of a warm read.
    is_enabled = getattr(sys, "_is_gil_enabled", None)
    return iter(tasks) if is_enabled is None or is_enabled() else _InTurn(tasks)


class _TaskSet:
    """Tasks that one thread asks for; the lock of the queue guards them."""

    def __init__(self, tasks: Sequence[Task], turn: int) -> None:
        self.tasks = _share(tasks)
        self.turn = turn
        self.is_open = True
        self.working: set[int] = set()  # threads
        self.error: BaseException | None = None


class _TaskQueue:
    """The task sets that have tasks left, by turn, for every thread that is free.

    It does not refer to the `WorkerThreads` that it belongs to, so that these can be
    collected while threads wait here.
    """

    def __init__(self) -> None:
        # Entered itself, as in a Condition's own `with` an interrupt can come between
        # the lock and the block, and leave it locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting: list[_TaskSet] = []
        self._closed = False
        self._local = threading.local()

    @property
    def is_in_task(self) -> bool:
        """Whether a task of this queue is under way in the calling thread."""
        return getattr(self._local, "is_in_task", False)

    def do(self, tasks: _TaskSet) -> None:
        """Work until all tasks are done, first on those whose turn is earlier."""
        with self._lock:
            self._waiting.append(tasks)
            self._waiting.sort(key=lambda other: other.turn)
            self._changed.notify_all()
        try:
            while (first := self._first()) is not None and tasks.is_open:
                self._work(first)
        finally:
            with self._lock:
                self._close(tasks)  # after an interrupt
                tasks.working.discard(threading.get_ident())
                self._changed.wait_for(lambda: not tasks.working)

    def serve(self) -> None:
        """Work on whatever is asked for, until the queue is closed."""
        while True:
            with self._lock:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                tasks = self._waiting[0]
            self._work(tasks)
            del tasks  # an idle thread must not keep the buffers of old tasks

    def close(self) -> None:
        """Let the threads that serve the queue end."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def _first(self) -> _TaskSet | None:
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def _work(self, tasks: _TaskSet) -> None:
        """Do tasks of a set until none is left, or one has failed."""
        with self._lock:
            if not tasks.is_open:
                return
            tasks.working.add(threading.get_ident())
        error = None
        try:
            self._local.is_in_task = True
            for task in tasks.tasks:
                task()
                if not tasks.is_open:
                    break
        except BaseException as raised:  # for the thread that asked for the tasks
            error = raised
        finally:
            self._local.is_in_task = False
        with self._lock:
            tasks.error = tasks.error or error
            self._close(tasks)
            tasks.working.discard(threading.get_ident())
            self._changed.notify_all()

    def _close(self, tasks: _TaskSet) -> None:
        """Begin no more tasks of a set."""
        if tasks.is_open:
            tasks.is_open = False
            tasks.tasks = iter(())  # tasks that were not begun hold buffers
            self._waiting.remove(tasks)


class WorkerThreads:
    """Do tasks together with the threads that ask for them.

    The first call of :meth:`run` starts the threads. They end on :meth:`close`, and
    when this object is collected. A forked process starts threads of its own.

    Parameters
    ----------
    n_threads
        How many threads there are besides those that call :meth:`run`; none if not
        positive.
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        # A thread that starts others may collect the iterator that it works for.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._queue: _TaskQueue | None = None
        self._threads: list[threading.Thread] = []
        self._ending: Ending | None = None

    def run(self, tasks: Sequence[Task], *, turn: int) -> None:
        """Do all tasks; raise the first error of one, when none runs any more.

        A task that asks for others does them itself: meanwhile it must not begin tasks
        like itself, one inside the other.

        Parameters
        ----------
        tasks
            Functions of no arguments, begun in this order.
        turn
            Tasks of a lower number go first, whoever asked for them.
        """
        queue = self._start_once()
        if queue.is_in_task:
            for task in tasks:
                task()
            return
        asked = _TaskSet(tasks, turn)
        queue.do(asked)
        if asked.error is not None:
            raise asked.error

    def _start_once(self) -> _TaskQueue:
        """Return the queue, with threads that serve it in this process."""
        if self._pid != os.getpid():  # a thread of the parent may hold its lock
            self._lock = threading.RLock()
            self._pid, self._queue, self._threads = os.getpid(), None, []
        with self._lock:
            if self._queue is None:
                self._start(_TaskQueue())
                assert self._queue is not None  # the one it was started with
            return self._queue

    def _start(self, queue: _TaskQueue) -> None:
        threads = [
            threading.Thread(
                target=queue.serve, name=f"scdataset-read-{number}", daemon=True
            )
            for number in range(1, self._n_threads + 1)
        ]
        ending = Ending(self, queue.close)
        try:
            start_all(threads)
        except BaseException:
            ending()
            join_all(threads, limit_s=_JOIN_S)
            raise
        self._ending, self._threads, self._queue = ending, threads, queue

    def close(self) -> None:
        """End the threads. A later call of :meth:`run` starts them again."""
        if self._pid != os.getpid():
            return
        with self._lock:
            threads, self._threads = self._threads, []
            ending, self._ending = self._ending, None
            self._queue = None
            if ending is not None:
                ending()
        join_all(threads, limit_s=_JOIN_S)
