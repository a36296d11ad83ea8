"""Reading ahead: a few fetches made on a thread before they are wanted."""

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["ReadAhead"]

Item = TypeVar("Item")

_JOIN_S = 60.0  # longest wait for a read that is under way when an iterator is dropped


class _Channel(Generic[Item]):
    """What the reading thread and the consumer share; it knows neither of them."""

    def __init__(self, depth: int) -> None:
        self.changed = threading.Condition()
        self.ready: deque[Item] = deque()
        self.depth = depth
        self.stopped = False
        self.ended = False
        self.error: BaseException | None = None

    def wait_for_room(self) -> bool:
        """Wait until another item may be made; False when the consumer has gone."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or len(self.ready) < self.depth)
            return not self.stopped

    def put(self, item: Item) -> None:
        with self.changed:
            if not self.stopped:
                self.ready.append(item)
                self.changed.notify_all()

    def end(self, error: BaseException | None) -> None:
        with self.changed:
            self.ended, self.error = True, error
            self.changed.notify_all()

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.ready.clear()
            self.changed.notify_all()

    def take(self) -> Item:
        """Return the next item; raise what ended the thread, or StopIteration."""
        with self.changed:
            self.changed.wait_for(lambda: self.ready or self.ended or self.stopped)
            if self.ready:
                item = self.ready.popleft()
                self.changed.notify_all()
                return item
            error, self.error = self.error, None
        if error is not None:
            raise error
        raise StopIteration


def _fill(channel: _Channel[Item], items: Generator[Item, None, None]) -> None:
    """Run on the thread: make items while there is room for them."""
    error: BaseException | None = None
    try:
        with contextlib.closing(items):
            while channel.wait_for_room():
                try:
                    item = next(items)
                except StopIteration:
                    break
                channel.put(item)
                del item  # the consumer's alone from here on
    except BaseException as raised:  # handed to the consumer, see take()
        error = raised
    channel.end(error)


def _end(channel: _Channel[Item], thread: threading.Thread) -> None:
    """Stop the thread, after the read that is under way."""
    channel.stop()
    if thread is not threading.current_thread():
        thread.join(_JOIN_S)


class ReadAhead(Iterator[Item]):
    """Iterate over `items`, made on a thread up to `depth` ahead of the consumer.

    At most `depth` items are ready or being made. An error of the thread is raised
    where the item was wanted, with its own traceback. The thread ends when the items
    do, on :meth:`close`, and when this object is collected.

    Parameters
    ----------
    items
        What to iterate over; touched by the thread alone.
    depth
        How many items to make ahead; 0 makes each when it is asked for, on no thread.
    """

    def __init__(self, items: Generator[Item, None, None], *, depth: int) -> None:
        self._items = items
        self._channel: _Channel[Item] | None = None
        self._end: Callable[[], object]
        if depth == 0:
            self._end = weakref.finalize(self, items.close)
            return
        self._channel = _Channel(depth)
        thread = threading.Thread(
            target=_fill,
            args=(self._channel, items),
            name="scdataset-read-ahead",
            daemon=True,
        )
        thread.start()
        # Not __del__: at the end of the interpreter this runs while threads still do.
        self._end = weakref.finalize(self, _end, self._channel, thread)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        if self._channel is None:
            return next(self._items)
        return self._channel.take()

    def close(self) -> None:
        """Stop the thread, after the read that is under way, and drop what is ready."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
