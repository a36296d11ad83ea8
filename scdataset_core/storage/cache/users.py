"""Notes which arrays of a cache this process uses, for others that want to make room.

Each process keeps a file of its own in ``users/``, whose name says which process of
which machine it is. Its lines say which arrays it has begun (``+name``) and ceased
(``-name``) to use. A process of this machine has ended when the system says so; one of
another machine, or another container, when the lock on its file is gone. Nothing that
is right depends on the lock: where it cannot be trusted, an array that is removed in
use is read from its source again.
"""

import contextlib
import hashlib
import os
import platform
import re
import secrets
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["UserFile", "names_in_use"]

FOLDER = "users"
# host, process, the time when it began, and random text
_NAME = re.compile(r"([0-9a-f]{12})-([0-9]+)-([0-9]+)-[0-9a-f]{16}")
# Where no lock can be had, the file of another machine's process counts so long.
OLD_S = 7 * 24 * 3600.0


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
        if users.is_symlink():
            raise OSError(f"{users} is a symbolic link")
        began = _began(self._pid) or 0
        self.path = users / f"{_host()}-{self._pid}-{began}-{secrets.token_hex(8)}"
        self._descriptor = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600
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

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", -1)
        if descriptor >= 0:
            os.close(descriptor)


def names_in_use(folder: Path, own: Path | None) -> set[str]:
    """Return the arrays that other processes use; files of ended ones are removed.

    Parameters
    ----------
    folder
        The cache's folder.
    own
        The file of this process, which is left out.
    """
    used: set[str] = set()
    users = folder / FOLDER
    with contextlib.suppress(OSError):
        if users.is_symlink():
            return used
        for path in users.iterdir():
            match = _NAME.fullmatch(path.name)
            if match is None or path == own or not path.is_file():
                continue
            if _has_ended(path, match[1], int(match[2]), int(match[3])):
                with contextlib.suppress(OSError):
                    path.unlink()
            else:
                used |= _names(path)
    return used


def _names(path: Path) -> set[str]:
    """Return the arrays that were begun more often than they were ceased."""
    counts: Counter[str] = Counter()
    with contextlib.suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            counts[line[1:]] += 1 if line[:1] == "+" else -1
    return {name for name, n in counts.items() if n > 0}


def _has_ended(path: Path, host: str, pid: int, began: int) -> bool:
    """Return whether the process whose file this is has certainly ended."""
    if host == _host():
        return _began(pid) != began
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it lives, or this file system has no locks
        return time.time() - os.fstat(descriptor).st_mtime > OLD_S
    finally:
        os.close(descriptor)
    return True


@lru_cache
def _host() -> str:
    """Return a name for all processes whose numbers this one can look up."""
    known = [platform.node()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            link = path.endswith("pid")
            known.append(str(Path(path).readlink()) if link else Path(path).read_text())
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]


def _began(pid: int) -> int | None:
    """Return when a process of this machine began; None: there is none.

    The time tells it from one that had the same number before; 0 where the system does
    not say.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        state, *rest = fields.rpartition(")")[2].split()
        return None if state in "ZX" else int(rest[18])
    except (OSError, ValueError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return 0
