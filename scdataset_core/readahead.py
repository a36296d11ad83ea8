"""Reading ahead: threads make a few items, such as fetches, before they are wanted."""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from .thread_ending import Ending, join_all, start_all

__all__ = ["ReadAhead", "make_item"]

Task = TypeVar("Task")
Item = TypeVar("Item")

_JOIN_S = 60.0  # longest wait for a read that is under way when an iterator is dropped


def make_item(make: Callable[[Task], Item], task: Task) -> Item:
    """Return ``make(task)``, which may run a user's hooks.

    Raises
    ------
    RuntimeError
        In place of StopIteration, which an iterator would take for its end.
    """
    try:
        return make(task)
    except StopIteration as error:
        raise RuntimeError(
            "StopIteration was raised where a minibatch is made, by next() in a hook"
            " perhaps; the data are not at their end"
        ) from error


def _make_in_turn(
    tasks: Generator[Task, None, None], make: Callable[[Task], Item]
) -> Generator[Item, None, None]:
    """Yield the item of each task; make it when it is asked for."""
    with contextlib.closing(tasks):
        for task in tasks:
            yield make_item(make, task)


class _Channel(Generic[Task, Item]):
    """What the reading threads and the consumer share.

    It holds a reference to neither, so that a dropped iterator is collected. Items are
    numbered in the order of their tasks and handed out in that order, whichever thread
    finishes first.
    """

    def __init__(self, tasks: Generator[Task, None, None], depth: int) -> None:
        self._tasks = tasks
        self._depth = depth
        self._drawing = threading.Lock()  # held while the next task is drawn
        # Entered itself, as in a Condition's own `with` an interrupt can come between
        # the lock and the block, and leave it locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._made: dict[int, Item] = {}
        self._n_begun = 0
        self._n_taken = 0
        self._end: int | None = None  # number of the first item that is not made
        self._error: BaseException | None = None
        self._stopped = False

    def draw(self) -> tuple[int, Task] | None:
        """Wait for room; return the next task and its number, or None at the end."""
        with self._drawing:
            with self._lock:
                self._changed.wait_for(self._may_begin)
                if self._stopped or self._end is not None:
                    return None
                number = self._n_begun
                self._n_begun += 1
            try:
                return number, next(self._tasks)
            except StopIteration:
                self.end(number, None)
            except BaseException as error:  # handed to the consumer, see take()
                self.end(number, error)
            return None

    def _may_begin(self) -> bool:
        has_room = self._n_begun - self._n_taken < self._depth
        return has_room or self._stopped or self._end is not None

    def put(self, number: int, item: Item) -> None:
        with self._lock:
            if not self._stopped:
                self._made[number] = item
                self._changed.notify_all()

    def end(self, number: int, error: BaseException | None) -> None:
        """End the items before `number`, with the error that ended them if any."""
        with self._lock:
            if self._end is None or number < self._end:
                self._end, self._error = number, error
            self._changed.notify_all()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._made.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Close the tasks, unless a thread that has not ended is drawing one."""
        if self._drawing.acquire(blocking=False):
            self._tasks.close()
            self._drawing.release()

    def take(self) -> Item:
        """Wait for the next item and return it; at the end raise the error, if any."""
        with self._lock:
            self._changed.wait_for(self._may_take)
            if self._n_taken in self._made:
                item = self._made.pop(self._n_taken)
                self._n_taken += 1
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
            if error is None or self._stopped:
                raise StopIteration
        raise error

    def _may_take(self) -> bool:
        return (
            self._n_taken in self._made or self._n_taken == self._end or self._stopped
        )


def _fill(channel: _Channel[Task, Item], make: Callable[[Task], Item]) -> None:
    """Make items while there is room for them; each reading thread runs this."""
    while (drawn := channel.draw()) is not None:
        number, task = drawn
        try:
            channel.put(number, make_item(make, task))
        except BaseException as error:  # handed to the consumer, see take()
            channel.end(number, error)
        del drawn, task  # frees the memory while this thread waits for room


def _end(channel: _Channel[Task, Item], threads: list[threading.Thread]) -> None:
    """Stop the threads once the reads that are under way have ended."""
    channel.stop()
    try:
        join_all(threads, limit_s=_JOIN_S)
    finally:
        channel.close()


class ReadAhead(Iterator[Item]):
    """Iterate over ``make(task)`` of each task; threads make items ahead of time.

    At most `depth` items are ready or being made, and they come in the order of their
    tasks. An error is raised where its item was wanted, with its own traceback. The
    threads end when the tasks do, on :meth:`close`, and when this object is collected.

    Parameters
    ----------
    tasks
        What items are made of. One thread at a time draws a task.
    make
        Makes an item. Up to `n_threads` threads call it at a time.
    depth
        How many items to make ahead; with 0 the consumer makes each item itself.
    n_threads
        Threads that make items.
    """

    def __init__(
        self,
        tasks: Generator[Task, None, None],
        make: Callable[[Task], Item],
        *,
        depth: int,
        n_threads: int = 1,
    ) -> None:
        self._take: Callable[[], Item]
        if depth == 0:
            items = _make_in_turn(tasks, make)
            self._take = items.__next__
            self._end = Ending(self, items.close)
            return
        channel: _Channel[Task, Item] = _Channel(tasks, depth)
        threads = [
            threading.Thread(
                target=_fill,
                args=(channel, make),
                name=f"scdataset-read-ahead-{number}",
                daemon=True,
            )
            for number in range(n_threads)
        ]
        self._take = channel.take
        self._end = Ending(self, _end, channel, threads)
        try:
            start_all(threads)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        self.check_process()
        return self._take()

    def check_process(self) -> None:
        """Raise in a forked child.

        Raises
        ------
        RuntimeError
            If the iterator began in another process, which has its threads.
        """
        if not self._end.is_here:
            raise RuntimeError(
                "this iterator began before the process was forked, and its reading"
                " threads are in the parent; begin a new one in the child:"
                " iter(loader)"
            )

    def close(self) -> None:
        """Stop the threads once their reads have ended, and drop what is ready."""
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
