"""Files that a later run goes on with, where the one that wrote them was killed.

HDF5 changes what it wrote before: a file that is cut off in the middle of that is lost.
So while such a file is written, its state is noted down now and then (a checkpoint),
and what is overwritten afterwards is first copied to a log beside it. A later run puts
that back, cuts the file to its length at the checkpoint, and goes on from there.
"""

from __future__ import annotations

import json
import os
import re
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .safe_file import (
    Buffer,
    DiskFile,
    explain_failure,
    fill_file,
    hold_signals,
    name_unfinished,
    unfinished_start,
    write_all,
)

__all__ = ["ResumableFile", "write_resumably"]

CHECKPOINT_S = 30.0
_ENTRY = struct.Struct("<QQ")  # of the log: where bytes stood, and how many
_PARTS = ("", ".state", ".log0", ".log1")  # what lies beside an unfinished file

Facts = dict[str, Any]


class ResumableFile(DiskFile):
    """A file whose state is noted down now and then.

    Parameters
    ----------
    path
        The unfinished file, which is made, or was found.
    stopped
        Says whether the file is no longer wanted.
    key
        What it is made from; a later run goes on with it if it has the same. None: none
        may, so no checkpoint is due.
    found
        What the last checkpoint noted, of a file that was found; it is as it was then.

    Attributes
    ----------
    facts
        The facts that were given at that checkpoint; None of a new file.
    """

    def __init__(
        self,
        path: Path,
        *,
        stopped: Callable[[], bool],
        key: str | None,
        found: Facts | None = None,
    ) -> None:
        super().__init__(path, stopped=stopped, is_new=found is None)
        self._path, self._key = path, key
        self._kept = 0 if found is None else int(found["size"])
        self._turn = 0 if found is None else int(found["turn"])
        self._log = _beside(path, f".log{self._turn}").open("w+b", buffering=0)
        self._next = time.monotonic() + CHECKPOINT_S
        self.facts: Facts | None = None if found is None else found["facts"]

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._key is not None and time.monotonic() >= self._next

    def write(self, data: Buffer) -> int:
        """Write all of `data`; what a checkpoint needs of the old bytes is kept."""
        size = memoryview(data).nbytes
        self._attempt(lambda: self._save(self._file.tell(), size))
        return super().write(data)

    def truncate(self, size: int) -> int:
        """Set the file's length."""
        at = self._file.tell()
        self._attempt(lambda: self._save(size, max(self._kept - size, 0)))
        self._attempt(lambda: self._file.seek(at))
        return super().truncate(size)

    def _save(self, start: int, size: int) -> None:
        """Copy bytes to the log that lie before the end of the last checkpoint."""
        n = min(start + size, self._kept) - start
        if n <= 0:
            return
        at = self._file.tell()
        self._file.seek(start)
        old = bytearray(n)
        self.readinto(old)
        self._file.seek(at)
        write_all(self._log, _ENTRY.pack(start, n) + old)

    def restart(self) -> None:
        """Make the file empty: what was found in it is of no use."""
        _beside(self._path, ".state").unlink(missing_ok=True)
        self.facts, self._kept = None, 0
        self._file.seek(0)
        self._attempt(lambda: self._file.truncate(0))

    def checkpoint(self, facts: Facts) -> None:
        """Note down the state of the file, all of which HDF5 has written."""
        self._attempt(lambda: self._checkpoint(facts))
        self._next = time.monotonic() + CHECKPOINT_S

    def _checkpoint(self, facts: Facts) -> None:
        os.fsync(self._file.fileno())
        turn = 1 - self._turn
        log = _beside(self._path, f".log{turn}").open("w+b", buffering=0)
        size = os.fstat(self._file.fileno()).st_size
        state = {"key": self._key, "size": size, "turn": turn, "facts": facts}
        text = _beside(self._path, ".state.new")
        with text.open("w") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        text.replace(_beside(self._path, ".state"))
        self._log.close()
        self._log, self._turn, self._kept = log, turn, size

    def close(self) -> None:
        """Close the file."""
        self._log.close()
        super().close()


def write_resumably(
    path: Path, key: str | None, write: Callable[[ResumableFile], object]
) -> None:
    """Write a file beside `path` and give it that name once it is complete.

    A run that is killed, or ended by a signal, leaves the unfinished file, with which
    the next one of the same `key` goes on; other such files are removed.

    Parameters
    ----------
    path
        The file; replaced if it is there.
    key
        What the file is made from, and how; None if a later run cannot tell.
    write
        Called with the file to write to; it returns early once that has failed.

    Raises
    ------
    OSError
        If the file cannot be written; the message names it and the reason.
    """
    unfinished = name_unfinished(path)
    found = _take_over(path, unfinished, key)
    with hold_signals() as signals:
        is_wanted = False
        try:
            disk = ResumableFile(
                unfinished, stopped=lambda: bool(signals), key=key, found=found
            )
            fill_file(disk, write)
            is_wanted = bool(signals) and _beside(unfinished, ".state").exists()
            if not disk.failed:
                unfinished.replace(path)
        except OSError as error:
            raise OSError(error.errno, explain_failure(error, path)) from error
        finally:
            if not is_wanted:
                _remove(unfinished)


def _take_over(path: Path, unfinished: Path, key: str | None) -> Facts | None:
    """Make the file of a run that was killed this run's; remove what is of no use."""
    start = unfinished_start(path)  # who lives on other hosts cannot be told
    pattern = re.compile(re.escape(start) + r"(\d+)\.partial(\..*)?")
    left = {
        path.with_name(f"{start}{match[1]}.partial")
        for other in path.parent.iterdir()
        if (match := pattern.fullmatch(other.name)) and not _is_alive(int(match[1]))
    }
    taken = None
    for other in sorted(left):
        found = None if taken else _read_state(other, key)
        if found is not None:
            # Of several runs that find it, one can rename its state.
            with suppress(OSError):
                state = _beside(unfinished, ".state")
                if other != unfinished:
                    _beside(other, ".state").rename(state)
                    for part in ("", f".log{found['turn']}"):
                        _beside(other, part).rename(_beside(unfinished, part))
                _put_back(unfinished, found)
                taken = found
        if other != unfinished:
            _remove(other)
    if taken is None:
        _remove(unfinished)
    return taken


def _read_state(unfinished: Path, key: str | None) -> Facts | None:
    if key is None:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        state: Facts = json.loads(_beside(unfinished, ".state").read_text())
        if state["key"] == key and state["turn"] in (0, 1):
            return state
    return None


def _put_back(unfinished: Path, found: Facts) -> None:
    """Bring a file back to what it was at its last checkpoint."""
    log = _beside(unfinished, f".log{found['turn']}").read_bytes()
    entries: list[tuple[int, bytes]] = []
    at = 0
    while at + _ENTRY.size <= len(log):
        start, n = _ENTRY.unpack_from(log, at)
        at += _ENTRY.size + n
        if at > len(log):  # it was cut off, so what it is of was not overwritten
            break
        entries.append((start, log[at - n : at]))
    with unfinished.open("r+b") as file:
        for start, old in reversed(entries):  # the oldest bytes last
            file.seek(start)
            file.write(old)
        size = int(found["size"])
        if file.seek(0, os.SEEK_END) < size:
            raise OSError(f"{unfinished} was cut off")
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())


def _beside(unfinished: Path, part: str) -> Path:
    return unfinished.with_name(f"{unfinished.name}{part}")


def _remove(unfinished: Path) -> None:
    for part in (*_PARTS, ".state.new"):
        with suppress(OSError):
            _beside(unfinished, part).unlink()


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
