"""One array of a cache: the folder that holds its kept chunks and their index."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..chunks import ABSENT, ChunkTable
from ..io.identities import Identity
from ..layout import ArrayLayout
from ..remote.urls import is_url
from .narrowing import N_KINDS
from .records import RECORD_BYTES, kinds_of, read_records

__all__ = [
    "Entry",
    "bytes_on_disk",
    "count_elements",
    "describe",
    "entry_folders",
    "index_bytes",
    "list_entries",
    "name_of",
    "name_of_file",
    "open_entry",
    "read_facts",
    "read_kinds",
    "remove_entry",
]

FORMAT = 1
FACTS = "array.json"
# Room that an entry without chunks takes, at most.
FACTS_BYTES = 8 << 10
# Files that belong to no entry, and are as old, were left by a process that was killed.
LEFT_S = 3600.0
# Nothing else is ever removed, so other files in the folder are safe.
_OURS = re.compile(r"array\.json(\.[0-9a-f]{16})?|[0-9a-f]{16}\.(index|data[1-9])")
_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{24}")


@dataclass(frozen=True)
class Entry:
    """The files that keep the chunks of one array.

    Parameters
    ----------
    folder
        Their folder.
    generation
        Random text in their names: an array that was removed and begun anew has other
        files, so that no process takes the new ones for those it has checked.
    """

    folder: Path
    generation: str

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @cached_property
    def index(self) -> str:
        """Path of the file of records."""
        return str(self.folder / f"{self.generation}.index")

    @cached_property
    def data(self) -> tuple[str, ...]:
        """Paths of the files of the chunks that are kept in each type, from kind 1."""
        start = str(self.folder / self.generation)
        return tuple(f"{start}.data{kind}" for kind in range(1, N_KINDS))

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the index and of the files of chunks."""
        return (self.index, *self.data)


def name_of_file(file: str | os.PathLike[str]) -> str:
    """Return how entries call a file: by its real path, or by its URL."""
    text = os.fspath(file)
    return text if is_url(text) else os.path.realpath(text)


def index_bytes(array: ArrayLayout) -> int:
    """Return the bytes of an array's index."""
    return _count_chunks(array) * RECORD_BYTES


def _count_chunks(array: ArrayLayout) -> int:
    steps = array.needed_grid.chunk_shape
    return prod(-(-n // step) for n, step in zip(array.shape, steps, strict=True))


def open_entry(
    cache_folder: Path, facts: dict[str, Any], make_room: Callable[[int], bool]
) -> Entry | None:
    """Return the entry of an array, made where there is none yet that is sound.

    Entries of what the same array was before its file changed are never used: this
    one's name says what the file is now.

    Parameters
    ----------
    cache_folder
        The cache's folder.
    facts
        What names the array, from :func:`describe`.
    make_room
        Returns whether so many bytes may be taken on disk.

    Returns
    -------
    entry
        None where it is not there and the cache is full.

    Raises
    ------
    OSError
        If it is not there and cannot be made.
    """
    folder = cache_folder / name_of(facts)
    entry = _find(folder, facts)
    if entry is not None:
        with contextlib.suppress(OSError):  # it may be there for reading only
            os.utime(folder / FACTS)
            _remove_leftovers(entry)
        return entry
    if not make_room(FACTS_BYTES):
        return None
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink():
        raise OSError(errno.ELOOP, f"{folder} is a symbolic link", str(folder))
    return _make(folder, facts)


def _find(folder: Path, facts: dict[str, Any]) -> Entry | None:
    """Return the entry of a folder if it is that of an array, and whole."""
    try:
        found = read_facts(folder)
        entry = Entry(folder, found.pop("generation"))
        # Compared whole, so that folders that were swapped are not taken for another.
        sound = found == facts and not folder.is_symlink()
        sound = sound and all(
            stat.S_ISREG(Path(path).lstat().st_mode) for path in entry.files
        )
    except (OSError, ValueError):
        return None
    return entry if sound else None


def _make(folder: Path, facts: dict[str, Any]) -> Entry:
    """Make the files of an entry; of two processes that do, both use the first's."""
    made = Entry(folder, secrets.token_hex(8))
    unfinished = folder / f"{FACTS}.{made.generation}"
    kept = False
    try:
        for path in made.files:
            Path(path).touch(mode=0o600, exist_ok=False)
        os.truncate(made.index, facts["n_chunks"] * RECORD_BYTES)
        text = json.dumps(facts | {"generation": made.generation}, indent=1)
        unfinished.touch(mode=0o600)
        unfinished.write_text(text)
        _publish(unfinished, facts)
        entry = _find(folder, facts)
        kept = entry == made
    finally:
        for path in [str(unfinished), *(() if kept else made.files)]:
            with contextlib.suppress(OSError):
                Path(path).unlink(missing_ok=True)
    if entry is None:
        raise FileNotFoundError(errno.ENOENT, "its files were removed", str(folder))
    return entry


def _publish(unfinished: Path, facts: dict[str, Any]) -> None:
    """Give an entry its file of facts, unless another process has made a sound one."""
    path = unfinished.with_name(FACTS)
    try:
        os.link(unfinished, path)
    except OSError:  # there is one, or this file system has no hard links
        if _find(path.parent, facts) is None:
            unfinished.replace(path)


def _remove_leftovers(entry: Entry) -> None:
    """Remove what processes that were killed left beside the files of an entry."""
    mine = {FACTS, *(Path(path).name for path in entry.files)}
    with os.scandir(entry.folder) as items:
        for item in items:
            if item.name not in mine and _OURS.fullmatch(item.name):
                status = item.stat(follow_symlinks=False)
                if time.time() - status.st_mtime > LEFT_S:
                    Path(item.path).unlink(missing_ok=True)


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what an entry says of its array.

    Raises
    ------
    OSError, ValueError
        If there is no such file, or it is damaged or of another format.
    """
    if not stat.S_ISREG((folder / FACTS).stat().st_mode):
        raise ValueError("a pipe or the like lies where the entry is described")
    facts: Any = json.loads((folder / FACTS).read_text("utf-8"))
    sound = (
        isinstance(facts, dict)
        and facts.get("format") == FORMAT
        and all(isinstance(facts.get(name), str) for name in ("file", "array"))
        and all(isinstance(facts.get(name), int) for name in ("n_chunks", "n_stored"))
        and re.fullmatch(r"[0-9a-f]{16}", str(facts.get("generation")))
    )
    if not sound:
        raise ValueError("the entry is damaged, or of another format")
    return facts  # type: ignore[no-any-return]  # it was checked


def read_kinds(entry: Entry, n_chunks: int | None = None) -> npt.NDArray[np.uint8]:
    """Return in which type each chunk is kept by the index, 0 where it is not.

    Parameters
    ----------
    entry
        The entry.
    n_chunks
        Chunks of its array; None: as many as the index has.

    Raises
    ------
    OSError
        If the index cannot be read.
    """
    data = Path(entry.index).read_bytes()
    found = kinds_of(read_records(data[: len(data) // RECORD_BYTES * RECORD_BYTES]))
    if n_chunks is None:
        return found
    kinds = np.zeros(n_chunks, np.uint8)
    kinds[: len(found)] = found[:n_chunks]
    return kinds


def describe(array: ArrayLayout) -> dict[str, Any]:
    """Return what names an array: its file as it was opened, and its chunks."""
    grid, table = array.needed_grid, array.table
    return {
        "format": FORMAT,
        "file": name_of_file(array.file),
        "array": array.name,
        "shape": list(array.shape),
        "dtype": array.dtype.str,
        "stored_dtype": grid.stored_dtype.str,
        "chunk_shape": list(grid.chunk_shape),
        "filters": str(grid.pipeline),
        "n_chunks": _count_chunks(array),
        "n_stored": int(np.count_nonzero(table.offsets != ABSENT)),
        "source": _identify(table),
    }


def _identify(table: ChunkTable) -> dict[str, Any]:
    """Return what the files of an array were when they were opened.

    Of a local file that is its size, the time of its last change, and that of the last
    change of its status, which no program can set back.
    """
    every: Any = table.identities  # Any: of many files, some sequences have a digest
    if len(table.files) == 1 and isinstance(known := every[0], Identity):
        return {
            "size": known.n_bytes,
            "mtime_ns": known.mtime_ns,
            "ctime_ns": known.ctime_ns,
        }
    if hasattr(every, "digest"):
        version = every.digest()
    else:
        version = hashlib.sha256("\n".join(map(str, every)).encode()).hexdigest()
    return {"n_files": len(table.files), "version": version}


def name_of(facts: dict[str, Any]) -> str:
    """Return the name of an entry's folder: where its array lies, and what it is."""
    place = json.dumps([facts["file"], facts["array"]])
    known = json.dumps(facts, sort_keys=True)
    return (
        f"{hashlib.sha256(place.encode()).hexdigest()[:16]}"
        f"-{hashlib.sha256(known.encode()).hexdigest()[:24]}"
    )


def list_entries(cache_folder: Path) -> list[Path]:
    """Return the folders of all entries."""
    with contextlib.suppress(OSError), os.scandir(cache_folder) as items:
        return [
            Path(item.path)
            for item in items
            if _NAME.fullmatch(item.name) and item.is_dir(follow_symlinks=False)
        ]
    return []


def entry_folders(cache_folder: Path) -> list[Path]:
    """Return the folders of all entries, the one not opened for longest first."""

    def opened(folder: Path) -> float:
        try:
            return (folder / FACTS).stat().st_mtime
        except OSError:  # it is being made, or half removed
            return 0.0

    return sorted(list_entries(cache_folder), key=opened)


def bytes_on_disk(folder: Path) -> int:
    """Return the bytes that the files of a folder take; files of chunks have holes."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as items:
        for item in items:
            with contextlib.suppress(OSError):
                if item.is_dir(follow_symlinks=False):
                    total += bytes_on_disk(Path(item.path))
                    continue
                status = item.stat(follow_symlinks=False)
                blocks = getattr(status, "st_blocks", None)
                total += status.st_size if blocks is None else 512 * blocks
    return total


def remove_entry(folder: Path) -> None:
    """Remove the files of an entry, and its folder if nothing else is in it.

    The facts go first, so that no process finds an entry of which a part is gone, and
    the indices before the chunks that they tell of.
    """
    order = {".json": 0, ".index": 1}
    with contextlib.suppress(OSError):
        ours = [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
        for path in sorted(ours, key=lambda path: order.get(path.suffix, 2)):
            with contextlib.suppress(OSError):
                path.unlink()
        folder.rmdir()


def count_elements(array: ArrayLayout) -> int:
    """Return the number of elements in a chunk."""
    grid = array.needed_grid
    return grid.n_bytes // grid.stored_dtype.itemsize
