"""Tells files from what they were when their layout was taken."""

import os
from dataclasses import dataclass, field

from ...errors import FileChangedError
from .byte_sources import SourceIdentity

__all__ = ["Identity", "check_unchanged", "error_for_missing"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Tells a local file from what it was before it changed.

    Parameters
    ----------
    n_bytes
        Size of the file.
    mtime_ns
        Time of its last change, in nanoseconds.
    ctime_ns
        Time of the last change of its status, which no program can set back. A new
        link or another mode changes it too, so it makes no difference to equality: it
        is for those who keep what they have read, see :meth:`is_that_of`.
    """

    n_bytes: int
    mtime_ns: int
    ctime_ns: int = field(default=0, compare=False)

    @classmethod
    def of(cls, file: str | int) -> "Identity":
        """Return the identity that a path or an open file has now."""
        status = os.stat(file)  # noqa: PTH116  # asked for every file
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def is_that_of(self, path: str) -> bool:
        """Return whether the file at a path is this one, and nothing touched it."""
        try:
            status = os.stat(path)  # noqa: PTH116  # asked for every file of a fetch
        except OSError:
            return False
        return (
            self.ctime_ns == status.st_ctime_ns
            and self.mtime_ns == status.st_mtime_ns
            and self.n_bytes == status.st_size
        )

    def __str__(self) -> str:
        return f"{self.n_bytes} bytes, last changed at {self.mtime_ns / 1e9:.6f} s"


def check_unchanged(
    name: str, expected: SourceIdentity, now: SourceIdentity | None = None
) -> SourceIdentity:
    """Raise if a file or another source is not what it was when its layout was taken.

    Parameters
    ----------
    name
        Path of the file, or name of the source.
    expected
        Its identity then.
    now
        Its identity now; None: that of the file at this path.

    Returns
    -------
    now
        Its identity now.
    """
    if now is None:
        try:
            now = Identity.of(name)
        except FileNotFoundError as error:
            raise error_for_missing(name) from error
    if now != expected:
        raise FileChangedError(
            f"{name} changed since it was opened: it had {expected}, and now has {now};"
            " open the source again once nothing writes to it"
        )
    return now


def error_for_missing(name: str) -> FileChangedError:
    """Return the error that says that a file is gone."""
    return FileChangedError(
        f"{name} is not there any more; open the source again once nothing writes to it"
    )
