"""Notes which arrays of a cache this process uses, for others that want to make room.

Each process keeps a file of its own in ``users/``, and holds a lock on it as long as it
lives. Its lines say which arrays it has begun (``+name``) and ceased (``-name``) to
use. Nothing that is right depends on the lock: where it cannot be trusted, an array
that is removed in use is read from its source again.
"""

import contextlib
import os
import secrets
from collections import Counter
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["UserFile", "names_in_use"]

FOLDER = "users"


class UserFile:
    """The file of this process; made when the first array is used.

    Parameters
    ----------
    folder
        The cache's folder.

    Raises
    ------
    OSError
        If the file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._pid = os.getpid()
        users = folder / FOLDER
        users.mkdir(mode=0o700, exist_ok=True)
        self.path = users / f"{self._pid}-{secrets.token_hex(8)}"
        self._descriptor = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def note(self, sign: str, name: str) -> None:
        """Note that this process begins (``+``) or ceases (``-``) to use an array."""
        if self._pid != os.getpid():
            return
        with contextlib.suppress(OSError):  # a full disk: the array may be removed
            os.write(self._descriptor, f"{sign}{name}\n".encode())

    def remove(self) -> None:
        """Remove the file when the process ends in order."""
        if self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self.path.unlink()
            with contextlib.suppress(OSError):
                os.close(self._descriptor)


def names_in_use(folder: Path, own: Path | None) -> set[str]:
    """Return the arrays that processes use; files of ended processes are removed.

    Parameters
    ----------
    folder
        The cache's folder.
    own
        The file of this process, which is alive.
    """
    used: set[str] = set()
    with contextlib.suppress(OSError):
        for path in (folder / FOLDER).iterdir():
            if path != own and _has_ended(path):
                path.unlink(missing_ok=True)
            else:
                used |= _names(path)
    return used


def _names(path: Path) -> set[str]:
    """Return the arrays that were begun more often than they were ceased."""
    counts: Counter[str] = Counter()
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            counts[line[1:]] += 1 if line[:1] == "+" else -1
    return {name for name, n in counts.items() if n > 0}


def _has_ended(path: Path) -> bool:
    """Return whether the process whose file this is has certainly ended."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it lives, or this file system has no locks
        return False
    finally:
        os.close(descriptor)
    return True
