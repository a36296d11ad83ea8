"""What is made when first needed, by whichever thread that is, and by one alone."""

import os
import threading

__all__ = ["making"]

_lock = threading.RLock()


def making() -> threading.RLock:
    """Return the lock to hold while making such a thing; one for all of them."""
    return _lock


def _renew() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may have held it, and does not live in the child.
    os.register_at_fork(after_in_child=_renew)
