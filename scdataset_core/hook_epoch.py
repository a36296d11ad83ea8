"""The epoch of the minibatch that is being made, for hooks that draw random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["find_hook_epoch", "in_epoch"]

_epoch: ContextVar[int] = ContextVar("scdataset_core_hook_epoch", default=0)


def find_hook_epoch() -> int:
    """Return the epoch that the calling hook works for; 0 outside of a Loader."""
    return _epoch.get()


@contextmanager
def in_epoch(epoch: int) -> Iterator[None]:
    """Let the hooks that this thread runs inside the block work for `epoch`.

    A hook that is wrapped in a function of the user's finds its epoch too.

    Examples
    --------
    >>> with in_epoch(3):
    ...     find_hook_epoch()
    3
    """
    token = _epoch.set(int(epoch))
    try:
        yield
    finally:
        _epoch.reset(token)
