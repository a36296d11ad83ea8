"""A lock that every forked process gets anew, and the one that guards first uses."""

import os
import threading
from types import TracebackType

__all__ = ["ForkSafeLock", "first_use_lock"]


class ForkSafeLock:
    """A reentrant lock of a whole process, which no fork leaves locked.

    Another thread of the parent may hold the lock when the process forks, and that
    thread does not live in the child. So the child begins with a lock of its own,
    unless the thread that forks holds it, which goes on in the child.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        if not self._lock._is_owned():  # type: ignore[attr-defined]  # threading's own
            self._lock = threading.RLock()

    def acquire_now(self) -> bool:
        """Take the lock if nobody has it, this thread too; return whether that was so.

        :meth:`release` must follow.
        """
        mine = self._lock._is_owned()  # type: ignore[attr-defined]  # threading's own
        return not mine and self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Let go of the lock."""
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


_first_use = ForkSafeLock()


def first_use_lock() -> ForkSafeLock:
    """Return the one lock to hold while something is made on its first use.

    Chunk tables and the arrays that a source keeps in memory are made when a thread
    first needs them. The thread holds this lock meanwhile, so that no other makes them
    too.
    """
    return _first_use
