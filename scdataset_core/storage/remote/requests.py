"""Ranges of objects that are asked for early, and handed out when they are wanted."""

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..stats import ReadStats
from .request_threads import RequestThreads, request_in_flight, shared_threads

__all__ = ["GAP_BYTES", "ExpectedReads", "RangedObject", "TakenError", "WantedRanges"]

Integers = npt.NDArray[np.int64]
# Ranges this near each other are asked for in one request: to have the bytes between
# them sent takes less than a request does.
GAP_BYTES = 64 << 10
# One request asks for so much at most, so that a long range comes by several.
MOST_BYTES = 2 << 20
# So much is held or under way for one fetch, before what came first was taken.
HELD_BYTES = 64 << 20

_WAITING, _SENT, _HERE, _TAKEN, _FAILED = range(5)


class RangedObject(Protocol):
    """An object whose bytes can be asked for."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def fetch(self, start: int, stop: int) -> Any:  # Any: an object with a buffer
        """Return bytes ``[start, stop)``, in one request."""
        ...


class _Part:
    """One request: a range of an object, and what came of it."""

    __slots__ = ("data", "error", "left", "source", "start", "state", "stop")

    def __init__(self, source: RangedObject, start: int, stop: int) -> None:
        self.source, self.start, self.stop = source, start, stop
        self.state = _WAITING
        self.left = 0  # bytes that are still to be taken
        self.data: npt.NDArray[np.uint8] | None = None
        self.error: BaseException | None = None


class TakenError(Exception):
    """What was asked for was taken before, by another reader."""


class WantedRanges:
    """Ranges of objects that one read wants: merged, and asked for in their order.

    What was not taken when nothing holds this object any more is given up.

    Parameters
    ----------
    sources
        The objects, by number.
    source_of
        The number of the object that each range lies in.
    position, n_bytes
        First byte of each range, and its length.
    stats
        Counts requests and bytes; None: nothing does.

    Attributes
    ----------
    has_failed : bool
        Whether a request failed.
    """

    def __init__(
        self,
        sources: Sequence[RangedObject] | Mapping[int, RangedObject],
        source_of: Integers,
        position: Integers,
        n_bytes: Integers,
        stats: ReadStats | None = None,
    ) -> None:
        self.stats = stats
        self.parts: list[_Part] = []
        self._by_source: dict[RangedObject, tuple[list[_Part], Integers]] = {}
        self._threads: RequestThreads | None = None
        self._changed = threading.Condition()
        self._next = 0
        self._held = 0
        self.has_failed = False
        some = n_bytes > 0
        for number in np.unique(source_of[some]).tolist():
            here = some & (source_of == number)
            self._add(sources[number], position[here], n_bytes[here])

    def _add(self, source: RangedObject, position: Integers, n_bytes: Integers) -> None:
        """Make the parts of one object's ranges, sorted by position."""
        order = np.argsort(position, kind="stable")
        starts = position[order]
        ends = starts + n_bytes[order]
        reached = np.maximum.accumulate(ends)
        new = np.flatnonzero(starts[1:] > reached[:-1] + GAP_BYTES) + 1
        first = np.concatenate([[0], new])
        last = np.append(first[1:], len(starts)) - 1
        parts: list[_Part] = []
        for low, high in zip(
            starts[first].tolist(), reached[last].tolist(), strict=True
        ):
            n = -(-(high - low) // MOST_BYTES)
            step = -(-(high - low) // n)
            parts += [
                _Part(source, at, min(at + step, high)) for at in range(low, high, step)
            ]
        begins = np.array([part.start for part in parts], np.int64)
        a = np.searchsorted(begins, starts, side="right") - 1
        for start, end, number in zip(
            starts.tolist(), ends.tolist(), a.tolist(), strict=True
        ):
            while start < end:
                part = parts[number]
                n = min(end, part.stop) - start
                part.left += n
                start, number = start + n, number + 1
        self.parts += parts
        self._by_source[source] = parts, begins

    def share(self, threads: RequestThreads) -> None:
        """Take the lock of threads, which are to send requests."""
        self._threads, self._changed = threads, threads.changed

    def next_request(self) -> Callable[[], None] | None:
        """Return what sends the next request, see :class:`~.request_threads.Work`.

        The caller holds the lock of the threads.
        """
        while self._next < len(self.parts):
            part = self.parts[self._next]
            if part.state == _WAITING:
                n = part.stop - part.start
                if self._held and self._held + n > HELD_BYTES:
                    return None
                self._next += 1
                self._mark_sent(part)
                return partial(self._send, part)
            self._next += 1
        return None

    def _mark_sent(self, part: _Part) -> None:
        part.state = _SENT
        self._held += part.stop - part.start

    def _send(self, part: _Part) -> None:
        """Send a request, and keep what it brings."""
        begun = perf_counter()
        data, failure = None, None
        try:
            with request_in_flight():
                begun = perf_counter()
                found = part.source.fetch(part.start, part.stop)
            data = np.frombuffer(found, np.uint8)
        except BaseException as error:  # raised where the bytes are wanted
            failure = error
        n = part.stop - part.start
        if self.stats is not None:
            self.stats.add(
                requests=1, bytes_requested=n, request_s=perf_counter() - begun
            )
        with self._changed:
            part.data, part.error = data, failure
            part.state = _HERE if failure is None else _FAILED
            if failure is not None:
                self.has_failed = True
                self._next = len(self.parts)  # no use to ask for the rest
            self._changed.notify_all()

    def find(self, source: RangedObject, start: int, n_bytes: int) -> bool:
        """Return whether a range is here or will be."""
        known = self._by_source.get(source)
        if known is None or not n_bytes:
            return False
        parts, begins = known
        number = int(np.searchsorted(begins, start, side="right")) - 1
        stop = start + n_bytes
        while number >= 0 and number < len(parts):
            part = parts[number]
            if not part.start <= start < part.stop or part.state == _TAKEN:
                return False
            if part.stop >= stop:
                return True
            start, number = part.stop, number + 1
        return False

    def take(
        self, source: RangedObject, start: int, n_bytes: int
    ) -> list[npt.NDArray[np.uint8]]:
        """Wait for a range, and return its bytes, in pieces that follow one another.

        Raises
        ------
        TakenError
            If it was taken before.
        """
        parts, begins = self._by_source[source]
        number = int(np.searchsorted(begins, start, side="right")) - 1
        stop, pieces = start + n_bytes, []
        while start < stop:
            part = parts[number]
            end = min(stop, part.stop)
            data = self._wait(part)
            pieces.append(data[start - part.start : end - part.start])
            self._let_go(part, end - start)
            start, number = end, number + 1
        return pieces

    def _wait(self, part: _Part) -> npt.NDArray[np.uint8]:
        """Return the bytes of a part; ask for them if nobody has."""
        with self._changed:
            mine = part.state == _WAITING
            if mine:
                self._mark_sent(part)
        if mine:
            self._send(part)
        with self._changed:
            self._changed.wait_for(lambda: part.state != _SENT)
            data = part.data
            if part.state == _FAILED:
                assert part.error is not None
                raise part.error
        if data is None:
            raise TakenError
        return data

    def _let_go(self, part: _Part, n_bytes: int) -> None:
        """Count bytes as taken; the memory of a part goes when all of it was."""
        with self._changed:
            part.left -= n_bytes
            if part.left <= 0 and part.state == _HERE:
                part.state, part.data = _TAKEN, None
                self._held -= part.stop - part.start
                if self._threads is not None and self._next < len(self.parts):
                    self._threads.more.notify()  # there is room for the next one


class ExpectedReads:
    """What the reads of one reading context have asked for early.

    Parameters
    ----------
    stats
        Counts requests and bytes; None: nothing does.
    """

    def __init__(self, stats: ReadStats | None = None) -> None:
        self.stats = stats
        self._wanted: list[weakref.ref[WantedRanges]] = []
        self._threads: RequestThreads | None = None
        self._lock = threading.Lock()  # not for `close`, which a collector may call

    def begin(self, wanted: WantedRanges) -> None:
        """Have ranges asked for; the caller holds `wanted` until all is taken."""
        threads = self._prepare(wanted)
        if threads is not None:
            threads.add(wanted, len(wanted.parts))

    def _prepare(self, wanted: WantedRanges) -> RequestThreads | None:
        """Return the threads that send the requests; None: whoever takes the range."""
        wanted.stats = self.stats
        if len(wanted.parts) < 2:
            return None
        threads = self._threads = self._threads or shared_threads()
        wanted.share(threads)
        return threads

    def expect(self, wanted: WantedRanges) -> None:
        """Have ranges asked for that sources of this context will be read of."""
        threads = self._prepare(wanted)
        with self._lock:
            # A traceback may hold what failed; it is asked for anew.
            live = [
                reference
                for reference in self._wanted
                if (known := reference()) is not None and not known.has_failed
            ]
            self._wanted = [*live, weakref.ref(wanted)]
        if threads is not None:
            threads.add(wanted, len(wanted.parts))

    def find(
        self, source: RangedObject, start: int, n_bytes: int
    ) -> WantedRanges | None:
        """Return what has a range, or will have it; None: nobody asked for it."""
        for reference in self._wanted:
            wanted = reference()
            if wanted is not None and wanted.find(source, start, n_bytes):
                return wanted
        return None

    def close(self) -> None:
        """Let the threads go."""
        self._threads = None
        self._wanted = []
