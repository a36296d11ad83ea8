"""Drop and load the benchmark's files in the system's page cache, and look into it."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

READ_SIZE = 8 << 20


def files_under(paths: Iterable[str | Path]) -> list[Path]:
    """Return every regular file named by, or below, `paths` (a zarr store is many)."""
    files: list[Path] = []
    for path in map(Path, paths):
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        files.extend(file for file in found if file.is_file())
    return files


def load(paths: Iterable[str | Path]) -> None:
    """Read every file once, so that the next measurement is a warm one."""
    buffer = bytearray(READ_SIZE)
    for file in files_under(paths):
        with file.open("rb", buffering=0) as handle:
            while handle.readinto(buffer):
                pass


def drop(paths: Iterable[str | Path]) -> None:
    """Ask the system to forget the files' pages; unwritten ones are written first."""
    for file in files_under(paths):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def resident_share(paths: Iterable[str | Path]) -> float:
    """Return the share of the files' pages that lie in memory, from 0 to 1."""
    library = ctypes.CDLL(None, use_errno=True)
    resident = total = 0
    for file in files_under(paths):
        size = file.stat().st_size
        if not size:
            continue
        n_pages = -(-size // mmap.PAGESIZE)
        seen = (ctypes.c_ubyte * n_pages)()
        with file.open("rb") as handle:
            view = mmap.mmap(handle.fileno(), size, access=mmap.ACCESS_COPY)
            start = ctypes.c_char.from_buffer(view)
            try:
                failed = library.mincore(
                    ctypes.c_void_p(ctypes.addressof(start)),
                    ctypes.c_size_t(size),
                    seen,
                )
            finally:
                del start
                view.close()
        if failed:
            raise OSError(ctypes.get_errno(), f"mincore failed for {file}")
        resident += bytes(seen).translate(_ODD).count(1)
        total += n_pages
    return resident / total if total else 0.0


_ODD = bytes(value & 1 for value in range(256))
