"""One array of a cache: the folder that holds its kept chunks and their index."""

import contextlib
import hashlib
import json
import os
import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..chunks import ABSENT, ChunkTable
from ..layout import ArrayLayout
from .narrowing import N_KINDS
from .records import RECORD_BYTES, kinds_of, read_records

__all__ = [
    "Entry",
    "bytes_on_disk",
    "count_elements",
    "entry_folders",
    "index_bytes",
    "open_entry",
    "read_facts",
    "read_kinds",
    "remove_entry",
    "stale_entries",
]

FORMAT = 1
FACTS = "array.json"
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


def index_bytes(array: ArrayLayout) -> int:
    """Return the bytes of an array's index."""
    return _count_chunks(array) * RECORD_BYTES


def _count_chunks(array: ArrayLayout) -> int:
    steps = array.needed_grid.chunk_shape
    return prod(-(-n // step) for n, step in zip(array.shape, steps, strict=True))


def open_entry(cache_folder: Path, array: ArrayLayout) -> Entry:
    """Return the entry of an array, made where there is none yet.

    Entries of what the same array was before its file changed are never used: this
    one's name says what the file is now.

    Raises
    ------
    OSError
        If it is not there and cannot be made.
    """
    facts = _describe(array)
    folder = cache_folder / _name_of(facts)
    with contextlib.suppress(OSError, ValueError, KeyError):
        generation = read_facts(folder)["generation"]
        os.utime(folder / FACTS)
        return Entry(folder, generation)
    with contextlib.suppress(PermissionError):  # it may be there, for reading only
        folder.mkdir(mode=0o700, exist_ok=True)
    return _make(folder, facts)


def stale_entries(cache_folder: Path, entry: Entry) -> list[Path]:
    """Return the folders of what the array of an entry was before its file changed."""
    place, _, _ = entry.name.partition("-")
    return [
        folder
        for folder in entry_folders(cache_folder)
        if folder.name.startswith(f"{place}-") and folder.name != entry.name
    ]


def _make(folder: Path, facts: dict[str, Any]) -> Entry:
    """Make the files of an entry; of two processes that do, both use the first's."""
    generation = secrets.token_hex(8)
    made = Entry(folder, generation)
    for path in (made.index, *made.data):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if path == made.index:
                os.ftruncate(descriptor, facts["n_chunks"] * RECORD_BYTES)
        finally:
            os.close(descriptor)
    text = json.dumps(facts | {"generation": generation}, indent=1)
    if _write_once(folder / FACTS, text, generation):
        return made
    for path in (made.index, *made.data):
        Path(path).unlink(missing_ok=True)
    return Entry(folder, read_facts(folder)["generation"])


def _write_once(path: Path, text: str, suffix: str) -> bool:
    """Write a file whole, unless there is one; return whether it was written."""
    unfinished = path.with_name(f"{path.name}.{suffix}")
    unfinished.write_text(text)
    try:
        os.link(unfinished, path)
    except FileExistsError:
        try:
            read_facts(path.parent)
        except (ValueError, KeyError):  # it is damaged
            unfinished.replace(path)
            return True
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        unfinished.replace(path)
        return True
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what an entry says of its array.

    Raises
    ------
    OSError, ValueError, KeyError
        If there is no such file, or it is damaged or of another format.
    """
    found = json.loads((folder / FACTS).read_text())
    if not isinstance(found, dict) or found["format"] != FORMAT:
        raise ValueError("the entry is of another format")
    facts: dict[str, Any] = found
    if not re.fullmatch(r"[0-9a-f]{16}", str(facts["generation"])):
        raise ValueError("the entry is damaged")
    return facts


def read_kinds(entry: Entry, n_chunks: int) -> npt.NDArray[np.uint8]:
    """Return in which type each chunk is kept, 0 where it is not.

    Raises
    ------
    OSError
        If the index cannot be read.
    """
    kinds = np.zeros(n_chunks, np.uint8)
    found = kinds_of(read_records(Path(entry.index).read_bytes()))[:n_chunks]
    kinds[: len(found)] = found
    return kinds


def _describe(array: ArrayLayout) -> dict[str, Any]:
    """Return what names an array: its file as it is now, and its chunks."""
    grid, table = array.needed_grid, array.table
    file = os.path.realpath(array.file)
    return {
        "format": FORMAT,
        "file": file,
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
    """Return what the files of an array are now.

    Besides size and time of the last change it has the time of the last change of
    status, which no program can set back.
    """
    if len(table.files) == 1 and (known := table.identities[0]) is not None:
        name = table.files[0]
        facts: dict[str, Any] = {"size": known.n_bytes}
        if table.store is None:
            status = Path(name).stat()
            facts |= {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
        return facts | {"version": str(known)}
    every: Any = table.identities  # Any: of many files, some sequences have a digest
    if hasattr(every, "digest"):
        version = every.digest()
    else:
        version = hashlib.sha256("\n".join(map(str, every)).encode()).hexdigest()
    return {"n_files": len(table.files), "version": version}


def _name_of(facts: dict[str, Any]) -> str:
    """Return the name of an entry's folder: where its array lies, and what it is."""
    place = f"{facts['file']}\n{facts['array']}"
    known = json.dumps(facts, sort_keys=True)
    return (
        f"{hashlib.sha256(place.encode()).hexdigest()[:16]}"
        f"-{hashlib.sha256(known.encode()).hexdigest()[:24]}"
    )


def entry_folders(cache_folder: Path) -> list[Path]:
    """Return the folders of all entries, the one not opened for longest first."""
    found = []
    with contextlib.suppress(OSError), os.scandir(cache_folder) as items:
        for item in items:
            if _NAME.fullmatch(item.name) and item.is_dir(follow_symlinks=False):
                found.append(Path(item.path))

    def opened(folder: Path) -> float:
        try:
            return (folder / FACTS).stat().st_mtime
        except OSError:  # it is being made, or half removed
            return 0.0

    return sorted(found, key=opened)


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

    The indices go first, so that no record outlives the bytes it tells of.
    """
    with contextlib.suppress(OSError):
        ours = [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
        for path in sorted(ours, key=lambda path: path.suffix != ".index"):
            with contextlib.suppress(OSError):
                path.unlink()
        folder.rmdir()


def count_elements(array: ArrayLayout) -> int:
    """Return the number of elements in a chunk."""
    grid = array.needed_grid
    return grid.n_bytes // grid.stored_dtype.itemsize
