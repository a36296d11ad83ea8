"""Finds the files and chunks of a zarr array that are missing.

Zarr reads a missing chunk as the fill value, and does not write chunks that hold only
that. So a file that was lost looks like one that was never written.
"""

import os
import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..chunks import ABSENT
from ..io.open_files import Identity
from ..remote.object_store import ObjectStore
from .zarr import FileGrid, list_chunks, read_file_grid
from .zarr_chunks import grid_shape
from .zarr_stores import archive_of, folder_of, objects_of

if TYPE_CHECKING:
    import zarr

__all__ = ["Missing", "find_missing"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Missing:
    """Says which parts of an array are missing.

    Parameters
    ----------
    n_files
        How many files the array may have.
    n_lost
        How many of them are missing.
    first
        The name of the first of these; empty if there is none.
    lost
        Rows that lie in missing files: where runs of them start and stop, shape
        ``(n, 2)``. In a matrix in columns of chunks, all rows that lack any chunk.
    absent
        The same, with the chunks that shards leave out; found in vectors only.
    """

    n_files: int
    n_lost: int
    first: str
    lost: Integers
    absent: Integers


def find_missing(array: "zarr.Array") -> Missing | None:
    """Return which parts of an array are missing; None if none is, or none is known.

    They are found in local folders, zip files and stores that list their objects.
    """
    grid, shape = read_file_grid(array), tuple(int(size) for size in array.shape)
    if grid is None or not prod(shape):
        return None
    names = _list_names(array)
    if names is None:
        return None
    files = grid_shape(shape, grid.file_shape)
    there = _parse_numbers(names, grid, files)
    runs = _find_gaps(there, prod(files))
    per_row = prod(files[1:])
    bands = np.stack([runs[:, 0] // per_row, -(-runs[:, 1] // per_row)], axis=1)
    lost = np.minimum(bands * grid.file_shape[0], shape[0])
    absent = lost
    if grid.shards is not None and len(shape) == 1:
        table = list_chunks(array, grid)
        if table is not None:
            written = np.flatnonzero(table.offsets != ABSENT)
            rows = _find_gaps(written, len(table)) * grid.chunk_shape[0]
            absent = np.minimum(rows, shape[0])
    if not len(absent):
        return None
    first = ""
    if len(runs):
        corner = np.unravel_index(int(runs[0, 0]), files)
        first = grid.prefix + grid.separator.join(map(str, map(int, corner)))
    n_lost = int((runs[:, 1] - runs[:, 0]).sum())
    return Missing(prod(files), n_lost, first, lost, absent)


def _find_gaps(there: Integers, n: int) -> Integers:
    """Return the runs of ``range(n)`` that increasing numbers lack, ``(k, 2)``."""
    starts = np.concatenate([[0], there + 1])
    stops = np.append(there, n)
    return np.stack([starts, stops], axis=1)[starts < stops]


def _parse_numbers(
    names: Iterable[str], grid: FileGrid, files: Sequence[int]
) -> Integers:
    """Return the numbers of the files of these names, increasing."""
    corners = []
    for name in names:
        if name.startswith(grid.prefix):
            parts = name[len(grid.prefix) :].split(grid.separator)
            if len(parts) == len(files) and all(map(_is_number, parts)):
                corners.append([int(part) for part in parts])
    found = np.array(corners, np.int64).reshape(-1, len(files))
    found = found[(found < np.array(files)).all(axis=1)]
    return np.unique(np.ravel_multi_index(tuple(found.T), tuple(files)))


def _is_number(name: str) -> bool:
    return name.isdecimal() and len(name) < 19  # so that int64 holds it


def _list_names(array: "zarr.Array") -> Iterable[str] | None:
    """Return the names of all files of an array, below its folder."""
    folder, archive, place = folder_of(array), archive_of(array), objects_of(array)
    if place is not None:
        return _list_objects(*place)
    if folder is not None:
        return _list_below(folder, "")
    if archive is None:
        return None
    every = _list_entries(archive, Identity.of(archive))
    inside = f"{array.path}/"
    start = bisect_left(every, inside)
    stop = bisect_left(every, f"{inside}\U0010ffff")
    return [name[len(inside) :] for name in every[start:stop]]


def _list_objects(store: ObjectStore, folder: str) -> list[str] | None:
    if not store.lists(folder):
        return None
    return [one.key[len(folder) + 1 :] for one in store.list_objects(folder)]


def _list_below(folder: str, before: str) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name = before + entry.name
            if entry.is_dir():
                yield from _list_below(entry.path, f"{name}/")
            else:
                yield name


@lru_cache(maxsize=1)
def _list_entries(archive: str, identity: Identity) -> list[str]:
    """Return the names in a zip file, sorted."""
    with zipfile.ZipFile(archive) as held:
        return sorted(held.namelist())
