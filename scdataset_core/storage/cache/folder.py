"""The folder of a cache: what it holds, what it may hold, and how it is cleared."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...amounts import parse_bytes
from .entries import (
    Entry,
    bytes_on_disk,
    entry_folders,
    name_of_file,
    read_facts,
    read_kinds,
    remove_entry,
)
from .process import CacheProcess, process_of

__all__ = ["Cache", "CacheEntry", "why_unusable"]

STAMP = "scdataset-cache.json"
FORMAT = 1
_STAMP_TEXT = json.dumps({"what": "a cache of scdataset-core", "format": FORMAT}) + "\n"


@dataclass(frozen=True)
class CacheEntry:
    """What a cache holds of one array.

    Parameters
    ----------
    file, array
        The file, and the array's name in it.
    nbytes
        Bytes on disk.
    n_chunks, n_kept
        Chunks of the array that are stored in the file, and those that are kept.
    opened
        When the array was last opened with the cache, in seconds since 1970.
    in_use
        Whether a living process has it open.
    """

    file: str
    array: str
    nbytes: int
    n_chunks: int
    n_kept: int
    opened: float
    in_use: bool

    @property
    def share(self) -> float:
        """Share of the stored chunks that are kept, 0.0 to 1.0."""
        return self.n_kept / self.n_chunks if self.n_chunks else 0.0


class Cache:
    """Keeps decoded chunks of compressed files in a folder, for later reads of them.

    Give it to :func:`scdataset_core.open` as ``cache=``. A chunk is kept when it is
    first decoded, in the narrowest type that holds it exactly, and read back as
    uncompressed data are. Batches are the same with and without a cache.

    The cache is a copy that can be thrown away: a chunk that fails its checksum is
    read from its file again. Where it cannot be read or written, it warns once, and
    reading goes on without it. Several processes and data sets may share a folder.

    Parameters
    ----------
    folder
        The folder, best on a local disk; made if it is not there, for this user alone
        (mode 700).
    limit
        Most bytes it may take on disk, or text such as ``"200GiB"``; None: as much as
        the disk has. When it is full, arrays that were not opened for longest are
        removed, but none that is in use. If that frees nothing, no more is kept.

    Raises
    ------
    FileExistsError
        If the folder has other content and is no cache.
    NotADirectoryError
        If it is a file.
    ValueError
        If `limit` is not a positive number of bytes.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> cache = scd.Cache("cached", limit="1GiB")
    >>> source = scd.open("plates/*.h5ad", cache=cache)
    >>> source.fill_cache() == source.cached  # 1.0 for these, if they are compressed
    True
    """

    def __init__(
        self, folder: "str | os.PathLike[str]", limit: int | str | None = None
    ) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"folder must be a path, got {type(folder).__name__}")
        self.folder = Path(os.path.abspath(os.path.expanduser(folder)))  # noqa: PTH100, PTH111  # symbolic links stay
        self.limit = None if limit is None else parse_bytes(limit, name="limit")
        prepare_folder(self.folder)

    @classmethod
    def of(cls, cache: "Cache | str | os.PathLike[str]") -> "Cache":
        """Return a cache that may be given as its folder."""
        return cache if isinstance(cache, Cache) else cls(cache)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with contextlib.suppress(OSError):  # the first use says what is wrong
            prepare_folder(self.folder)

    def __repr__(self) -> str:
        limit = "" if self.limit is None else f", limit={self.limit:,}"
        return f"Cache({str(self.folder)!r}{limit}): {self.nbytes:,} bytes"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cache):
            return NotImplemented
        return (self.folder, self.limit) == (other.folder, other.limit)

    def __hash__(self) -> int:
        return hash((self.folder, self.limit))

    @property
    def nbytes(self) -> int:
        """Bytes that the folder takes on disk."""
        self.process.writer.flush(5.0)
        return bytes_on_disk(self.folder)

    @property
    def process(self) -> CacheProcess:
        """What this process has of the cache: its thread, its user file, its room."""
        return process_of(self.folder, self.limit)

    def entries(self) -> list[CacheEntry]:
        """Return what the cache holds, the array opened last at the end."""
        self.process.writer.flush(5.0)
        used = self.process.names_in_use()
        found = [_read_entry(folder, used) for folder in entry_folders(self.folder)]
        return [entry for entry in found if entry is not None]

    def clear(
        self, files: "str | os.PathLike[str] | Iterable[Any] | None" = None
    ) -> int:
        """Remove what is kept, of some files or of all; return the bytes freed.

        A process that uses what is removed reads its files again.

        Parameters
        ----------
        files
            Paths or URLs of files; None: all. Nothing is removed that the cache did not
            write.
        """
        self.process.writer.flush(5.0)
        wanted = None
        if files is not None:
            paths = [files] if isinstance(files, str | os.PathLike) else files
            wanted = {name_of_file(path) for path in paths}
        before = bytes_on_disk(self.folder)
        for folder in entry_folders(self.folder):
            if wanted is not None:
                try:
                    facts = read_facts(folder)
                except (OSError, ValueError):
                    continue
                if not _is_of(facts["file"], wanted):
                    continue
            remove_entry(folder)
        return max(before - bytes_on_disk(self.folder), 0)


def _is_of(file: str, wanted: set[str]) -> bool:
    """Return whether an entry's file is one of those wanted, or lies in one.

    A zarr store's entries may be those of groups in it.
    """
    return any(file == path or file.startswith(path + os.sep) for path in wanted)


def prepare_folder(folder: Path) -> None:
    """Make the folder of a cache; leave one that cannot be written as it is.

    Raises
    ------
    FileExistsError
        If it has other content and is no cache.
    NotADirectoryError
        If it is a file.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        usable = not is_cache(folder) and not _is_anothers(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            f"{folder} is a file, or lies in one; give the cache a folder"
        ) from error
    except OSError:  # read-only, or out of reach: the first use says so
        return
    if usable:
        _stamp(folder)


def is_cache(folder: Path) -> bool:
    """Return whether a folder is stamped as a cache."""
    try:
        return (folder / STAMP).is_file()
    except OSError:
        return False


def _is_anothers(folder: Path) -> bool:
    """Return whether a folder belongs to another user."""
    return hasattr(os, "geteuid") and folder.stat().st_uid != os.geteuid()


def _stamp(folder: Path) -> None:
    # Another process may be stamping it: its unfinished files are no other content.
    try:
        found = [path.name for path in folder.iterdir()]
    except OSError:
        return
    others = sorted(name for name in found if not name.startswith(STAMP))
    if others and not is_cache(folder):
        raise FileExistsError(
            f"{folder} has other content ({', '.join(others[:3])}) and is no"
            " cache of scdataset-core; give the cache a folder of its own"
        )
    unfinished = folder / f"{STAMP}.{secrets.token_hex(8)}"
    try:
        unfinished.write_text(_STAMP_TEXT)
        # One that was there, empty, is private from now on.
        folder.chmod(folder.stat().st_mode & 0o700)
        unfinished.replace(folder / STAMP)
    except OSError:  # full or read-only: the first use says so
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _has_other_format(folder: Path) -> bool:
    """Return whether a stamp says that the cache is of another format."""
    try:
        stamp = json.loads((folder / STAMP).read_text("utf-8"))
        return bool(stamp["format"] != FORMAT)
    except (OSError, ValueError, TypeError, LookupError):
        return False  # it was cut short when a machine went down: the name is enough


def _read_entry(folder: Path, used: set[str]) -> CacheEntry | None:
    try:
        facts = read_facts(folder)
        kinds = read_kinds(Entry(folder, facts["generation"]))
        opened = (folder / "array.json").stat().st_mtime
    except (OSError, ValueError):
        return None
    return CacheEntry(
        file=facts["file"],
        array=facts["array"],
        nbytes=bytes_on_disk(folder),
        n_chunks=facts["n_stored"],
        n_kept=int(np.count_nonzero(kinds)),
        opened=opened,
        in_use=folder.name in used,
    )


def why_unusable(folder: Path) -> str | None:
    """Return what keeps this process from using a cache's folder; None: nothing."""
    try:
        if _is_anothers(folder):
            return (
                "it belongs to another user, who could change what is kept; give the"
                " cache a folder of your own"
            )
    except OSError as error:
        return f"it cannot be used ({error.strerror})"
    if not is_cache(folder):
        return "it has no stamp of a cache, and none can be written there"
    if _has_other_format(folder):
        return "another version of scdataset-core made it; give this one its own"
    if not hasattr(os, "pwrite"):
        return "this system cannot write at a position of a file"
    return None
