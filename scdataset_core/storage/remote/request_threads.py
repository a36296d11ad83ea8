"""Threads that send requests, as many at a time as a store far away needs.

One request takes tens of milliseconds, whatever it asks for. So many are under way at
once, over all that this process reads.
"""

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from ...thread_ending import Ending, join_all, start_all

__all__ = [
    "RequestThreads",
    "Work",
    "most_in_flight",
    "request_in_flight",
    "shared_threads",
]

# Requests under way in one process, at most. With 50 ms a request, 64 threads gave as
# much as a server on the same two cores had; obstore's own get_ranges has 10 (512
# ranges of 124 kB, November 2026).
MOST_IN_FLIGHT = 64
ENVIRONMENT = "SCDATASET_REQUESTS"
IDLE_S = 1.0  # a thread without work ends after so long
_JOIN_S = 60.0


def most_in_flight() -> int:
    """Return how many requests may be under way in this process.

    The environment variable ``SCDATASET_REQUESTS`` sets it, from 1 on.
    """
    given = os.environ.get(ENVIRONMENT, "")
    if not given:
        return MOST_IN_FLIGHT
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(
            f"the environment variable {ENVIRONMENT} must be a whole number of"
            f' requests, from 1 on, got "{given}"'
        )
    return int(given)


class _InFlight:
    """The requests that are under way in this process, on whatever threads."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.n = 0


_in_flight = _InFlight()


@contextmanager
def request_in_flight() -> Iterator[None]:
    """Wait until one more request may be under way, and count it meanwhile.

    Besides the threads here, whoever waits for bytes that nobody has asked for yet
    sends the request.
    """
    mine = _in_flight
    with mine.changed:
        mine.changed.wait_for(lambda: mine.n < most_in_flight())
        mine.n += 1
    try:
        yield
    finally:
        with mine.changed:
            mine.n -= 1
            mine.changed.notify()


class Work(Protocol):
    """Requests that threads are to send."""

    def next_request(self) -> Callable[[], None] | None:
        """Return a function that sends the next one; None: for now there is none."""
        ...


class _Queue:
    """The work there is. It does not refer to the `RequestThreads` it belongs to."""

    def __init__(self) -> None:
        # Who waits for bytes is told of each request that ends, and who waits for work
        # of more work alone: told of both, a fetch of 450 requests on 128 threads took
        # a third more processor time (gzip, b=16 f=64, November 2026).
        lock = threading.RLock()
        self.changed = threading.Condition(lock)
        self.more = threading.Condition(lock)
        self.work: list[weakref.ref[Work]] = []
        self.n_threads = 0
        self.closed = False

    def serve(self) -> None:
        """Send requests until there were none for a while, or the queue is closed."""
        try:
            while (request := self._wait()) is not None:
                request()
                del request  # an idle thread must not keep buffers
        finally:
            with self.changed:
                self.n_threads -= 1

    def _wait(self) -> Callable[[], None] | None:
        end = monotonic() + IDLE_S
        with self.more:
            while not self.closed:
                request = self._next()
                if request is not None:
                    return request
                left = end - monotonic()
                if left <= 0:
                    return None
                self.more.wait(left)
        return None

    def _next(self) -> Callable[[], None] | None:
        """Return the next request of the work that was asked for first."""
        for reference in list(self.work):
            work = reference()
            request = None if work is None else work.next_request()
            if request is not None:
                return request
            if work is None:
                self.work.remove(reference)
        return None

    def close(self) -> None:
        """Let the threads end."""
        with self.changed:
            self.closed = True
            self.more.notify_all()


class RequestThreads:
    """Send the requests of all work that lives, the earliest first.

    The threads end on :meth:`close`, when this object is collected, and when they have
    had nothing to do for a while.

    Parameters
    ----------
    most
        How many requests are under way at a time.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.pid = os.getpid()
        self._queue = _Queue()
        self.changed, self.more = self._queue.changed, self._queue.more
        self._threads: list[threading.Thread] = []
        self._ending = Ending(self, _end, self._queue, self._threads)

    def add(self, work: Work, n_requests: int) -> None:
        """Begin to send requests; they are given up when nothing holds `work`."""
        with self.changed:
            self._queue.work.append(weakref.ref(work))
            missing = min(self.most, n_requests) - self._queue.n_threads
            threads = [
                threading.Thread(
                    target=self._queue.serve, name="scdataset-request", daemon=True
                )
                for _ in range(max(missing, 0))
            ]
            self._queue.n_threads += len(threads)
            self._threads[:] = [t for t in self._threads if t.is_alive()]
            self._threads += threads
            self.more.notify(n_requests)
        try:
            start_all(threads)
        except BaseException:
            with self.changed:
                begun = [thread for thread in threads if thread.ident is not None]
                self._queue.n_threads -= len(threads) - len(begun)
            if not begun:
                raise

    def close(self) -> None:
        """End the threads, once the requests that are under way have ended."""
        self._ending()


def _end(queue: _Queue, threads: list[threading.Thread]) -> None:
    queue.close()
    me = threading.current_thread()
    others = [t for t in threads if t is not me and t.ident is not None]
    join_all(others, limit_s=_JOIN_S)


_shared: "weakref.ref[RequestThreads] | None" = None
_lock = threading.Lock()


def shared_threads() -> RequestThreads:
    """Return the threads that all work of this process shares; hold on to them."""
    global _shared
    with _lock:
        threads = None if _shared is None else _shared()
        most = most_in_flight()
        if threads is None or threads.pid != os.getpid() or threads.most != most:
            threads = RequestThreads(most)
            _shared = weakref.ref(threads)
        return threads


def _renew_lock() -> None:
    global _lock, _shared, _in_flight
    _lock, _shared, _in_flight = threading.Lock(), None, _InFlight()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
