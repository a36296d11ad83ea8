"""What one process has of a cache: its writing thread, its user file and its room."""

import os
import time
import warnings
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import Any

from ..io.fork_safe_lock import ForkSafeLock
from .entries import bytes_on_disk, entry_folders, list_entries, remove_entry
from .users import UserFile, names_in_use
from .writing import Writer

__all__ = ["CacheProcess", "process_of"]

# A full cache is looked at again after so many seconds.
FULL_S = 5.0
# The folder is listed again after so many seconds, to find what is out of date.
LISTED_S = 10.0
# A process may take this part of the room that is left before it looks again, and for
# no longer than so many seconds, so that several together do not exceed the limit. They
# write less than LAST_BYTES in these seconds, so the last ones are given out singly.
PART, ALLOWED_S = 64, 0.05
LAST_BYTES = 64 << 20
# At the end of a process, writing may go on so long.
LAST_S = 10.0


class CacheProcess:
    """One process's part in a cache.

    Parameters
    ----------
    folder
        The cache's folder.
    limit
        Most bytes that it may take; None: no limit.
    """

    def __init__(self, folder: Path, limit: int | None) -> None:
        self.folder, self.limit = folder, limit
        self._pid = os.getpid()
        self.lock = ForkSafeLock()
        self._user: UserFile | None = None
        self._used: Counter[str] = Counter()
        self._ended: deque[str] = deque()  # uses that ended and still count
        self._allowed, self._allowed_until = 0, 0.0
        self._full_until = 0.0
        self._problem: str | None = None
        self._listed: defaultdict[str, set[str]] = defaultdict(set)
        self._listed_until = 0.0
        self.writer = Writer(self._admit, self._admit_several, self._fail)
        from multiprocessing import util  # here, since it costs time to import

        # Children of multiprocessing end without atexit, but with these.
        util.Finalize(self, _end, (self.writer, self._remove_user), exitpriority=0)

    @property
    def user_path(self) -> Path | None:
        """The file that says what this process uses."""
        return None if self._user is None else self._user.path

    @property
    def is_full(self) -> bool:
        """Whether it is no use to offer chunks for now."""
        return self.writer.is_closed or time.monotonic() < self._full_until

    def begin_use(self, name: str) -> None:
        """Note that this process uses an array.

        Raises
        ------
        OSError
            If it cannot be noted; reading can go on.
        """
        with self.lock:
            self._count_ended()
            self._used[name] += 1
            if self._user is None or not self._user.path.exists():
                self._user = UserFile(self.folder)  # its folder may have been removed
                names_in_use(
                    self.folder, self._user.path
                )  # removes those of ended ones
                for used in +self._used:
                    self._user.note("+", used)
            elif self._used[name] == 1:
                self._user.note("+", name)

    def end_use(self, name: str) -> None:
        """Note that an object of this process does not use an array any more.

        The garbage collector calls it, in a thread that may hold the lock of HDF5. So
        it waits for no other one: where the lock is taken, who has it next counts this.
        """
        if self._pid != os.getpid():
            return
        self._ended.append(name)
        if self.lock.acquire_now():
            try:
                self._count_ended()
            finally:
                self.lock.release()

    def _count_ended(self) -> None:
        """Count the uses that have ended; the lock is held."""
        while self._ended:
            name = self._ended.popleft()
            self._used[name] -= 1
            if self._used[name] == 0 and self._user is not None:
                self._user.note("-", name)

    def report(self, problem: str) -> None:
        """Warn once of what keeps the cache from working.

        Parameters
        ----------
        problem
            What is wrong, and what to do.
        """
        key = os.getpid(), self.folder
        with self.lock:
            if key in _warned:
                return
            _warned.add(key)
        warnings.warn(
            f"the cache {self.folder}: {problem}; reading goes on without what is"
            " missing there",
            RuntimeWarning,
            stacklevel=2,
        )

    def report_failed_write(self) -> None:
        """Warn in this thread of what the writing thread met, if anything."""
        if self._problem is not None:
            problem, self._problem = self._problem, None
            self.report(problem)

    def make_room(self, n_bytes: int) -> bool:
        """Return whether so many bytes may be taken beside those that are written."""
        if self.limit is None:  # no need to wait until a chunk is written
            return True
        with self.writer.lock:
            return self._admit(n_bytes)

    def _fail(self, error: Exception) -> None:
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self._problem = f"nothing more can be kept ({what})"

    def _admit(self, n_bytes: int) -> bool:
        """Return whether so many bytes may be written; make room where that helps."""
        if self._is_allowed(n_bytes):
            return True
        assert self.limit is not None  # else all is allowed
        free = self.limit - bytes_on_disk(self.folder)
        while free < n_bytes:
            if not self._remove_one():
                self._full_until = time.monotonic() + FULL_S
                return False
            free = self.limit - bytes_on_disk(self.folder)
        self._allow(free - n_bytes)
        return True

    def _admit_several(self, n_bytes: int) -> bool:
        """Return whether so many bytes of several chunks may be written.

        They are on their way for longer than a chunk, when others write too.
        """
        if self._is_allowed(n_bytes):
            return True
        assert self.limit is not None  # else all is allowed
        left = self.limit - bytes_on_disk(self.folder) - n_bytes
        if left < LAST_BYTES:
            return False
        self._allow(left)
        return True

    def _is_allowed(self, n_bytes: int) -> bool:
        """Return whether there is no limit, or so much was allowed a moment ago."""
        if self.limit is None:
            return True
        if n_bytes <= self._allowed and time.monotonic() < self._allowed_until:
            self._allowed -= n_bytes
            return True
        return False

    def _allow(self, left: int) -> None:
        """Allow a part of the room that is left, for a moment."""
        self._allowed = max(left - LAST_BYTES, 0) // PART
        self._allowed_until = time.monotonic() + ALLOWED_S

    def _remove_one(self) -> bool:
        """Remove the array that was not opened for longest and is not in use."""
        used = self.names_in_use()
        for folder in entry_folders(self.folder):
            if folder.name not in used and bytes_on_disk(folder):
                remove_entry(folder)
                return True
        return False

    def names_in_use(self) -> set[str]:
        """Return the arrays that this and other processes use."""
        with self.lock:
            self._count_ended()
            mine = {name for name, n in self._used.items() if n > 0}
        return mine | names_in_use(self.folder, self.user_path)

    def remove_stale(self, name: str) -> None:
        """Remove what an array was before its file changed, unless that is in use.

        Parameters
        ----------
        name
            What the array is now.
        """
        place = name.partition("-")[0]
        with self.lock:
            if time.monotonic() > self._listed_until:  # not for each of many arrays
                self._listed_until = time.monotonic() + LISTED_S
                self._listed = defaultdict(set)
                for folder in list_entries(self.folder):
                    self._listed[folder.name.partition("-")[0]].add(folder.name)
            stale = self._listed[place] - {name}
            self._listed[place] = {name}
        if stale:
            used = self.names_in_use()
            for each in stale - used:
                remove_entry(self.folder / each)
            with self.lock:
                self._listed[place] |= stale & used

    def _remove_user(self) -> None:
        if self._user is not None:
            self._user.remove()


def _end(writer: Writer, remove_user: Any) -> None:
    writer.flush(LAST_S)
    writer.is_closed = True
    remove_user()


_lock = ForkSafeLock()
_warned: set[tuple[int, Path]] = set()
_processes: dict[tuple[int, Path, int | None], CacheProcess] = {}


def process_of(folder: Path, limit: int | None) -> CacheProcess:
    """Return this process's part in a cache; a forked child begins anew."""
    key = (os.getpid(), folder, limit)
    found = _processes.get(key)
    if found is None:
        with _lock:
            found = _processes.get(key)
            if found is None:
                for other in [k for k in _processes if k[0] != key[0]]:
                    # The parent's: its thread and its locks are not here.
                    _processes[other].writer.is_closed = True
                found = _processes[key] = CacheProcess(folder, limit)
    return found
