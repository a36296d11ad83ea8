"""A lock that every forked process gets anew, and the one that guards first uses."""

import _thread
import os

__all__ = ["ForkSafeLock", "first_use_lock"]


class ForkSafeLock(_thread.RLock):  # type: ignore[misc]  # final in the stubs alone
    """A reentrant lock of a whole process, which no fork leaves locked.

    Another thread of the parent may hold the lock when the process forks, and that
    thread does not live in the child. So the child begins with a lock of its own,
    unless the thread that forks holds it, which goes on in the child.

    ``with`` takes and lets go of it outside Python code, where no interrupt can come
    between the lock and the block that it guards.
    """

    def __init__(self) -> None:
        super().__init__()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        # Methods that threading itself calls, and the stubs of `_thread` leave out.
        if not self._is_owned():  # type: ignore[attr-defined]
            self._at_fork_reinit()  # type: ignore[attr-defined]

    def acquire_now(self) -> bool:
        """Take the lock if nobody has it, this thread too; return whether that was so.

        :meth:`release` must follow.
        """
        mine = self._is_owned()  # type: ignore[attr-defined]  # as in _renew
        return not mine and self.acquire(blocking=False)


_first_use = ForkSafeLock()


def first_use_lock() -> ForkSafeLock:
    """Return the one lock to hold while something is made on its first use.

    Chunk tables and the arrays that a source keeps in memory are made when a thread
    first needs them. The thread holds this lock meanwhile, so that no other makes them
    too.
    """
    return _first_use
