"""The lock under which threads make what a process needs only once.

Chunk tables and the arrays that a source keeps in memory are made when a thread first
needs them. The thread holds this lock meanwhile, so that no other makes them too.
"""

from .io.fork_safe_lock import ForkSafeLock

__all__ = ["first_use_lock"]

_lock = ForkSafeLock()


def first_use_lock() -> ForkSafeLock:
    """Return the one lock to hold while something is made on its first use."""
    return _lock
