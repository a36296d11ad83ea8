"""Finds which files of a zarr array are there, by listing its folder once.

A few bytes of metadata claim any number of chunks, each a file of its own.
"""

import os
import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..io.identities import Identity
from ..remote.object_store import ObjectStore
from .declared_sizes import MOST_ABSENT, check_present
from .zarr_stores import archive_of, folder_of, objects_of, store_name

if TYPE_CHECKING:
    import zarr

__all__ = [
    "check_files",
    "count_levels",
    "list_below",
    "list_names",
    "parse_numbers",
]

Integers = npt.NDArray[np.int64]


def count_levels(prefix: str, separator: str, n_axes: int) -> int:
    """Return how deep in folders files lie whose names are made of these."""
    return (prefix + separator * (n_axes - 1)).count("/")


def list_names(array: "zarr.Array", n_levels: int) -> Iterable[str] | None:
    """Return the names of all files of an array, below its folder.

    Parameters
    ----------
    array
        The array.
    n_levels
        How deep in folders of its own folder its files lie.

    Returns
    -------
    names
        None where they cannot be listed.
    """
    folder, archive, place = folder_of(array), archive_of(array), objects_of(array)
    if place is not None:
        return _list_objects(*place)
    if folder is not None:
        return list_below(folder, n_levels)
    if archive is None:
        return None
    every = _list_entries(archive, Identity.of(archive))
    inside = f"{array.path}/"
    start = bisect_left(every, inside)
    stop = bisect_left(every, f"{inside}\U0010ffff")
    return [name[len(inside) :] for name in every[start:stop]]


def check_files(
    array: "zarr.Array", prefix: str, separator: str, grid: Sequence[int]
) -> None:
    """Raise if an array has far fewer files than its grid of them, where they are many.

    Zarr makes some objects for each file that it reads, also where there is none.
    """
    n_files = prod(grid)
    if n_files > MOST_ABSENT:
        names = list_names(array, count_levels(prefix, separator, len(grid)))
        there = parse_numbers(names or (), prefix, separator, grid)
        label = f"{store_name(array)}: data set {array.path}"
        check_present(label, n_chunks=n_files, n_there=len(there))


def list_below(folder: str, n_levels: int, before: str = "") -> Iterator[str]:
    """Yield what lies so deep in a local folder; it may have links that lead back."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if not n_levels:
                yield before + entry.name
            elif entry.is_dir():
                name = f"{before}{entry.name}/"
                yield from list_below(entry.path, n_levels - 1, name)


def _list_objects(store: ObjectStore, folder: str) -> list[str] | None:
    if not store.lists(folder):
        return None
    return [one.key[len(folder) + 1 :] for one in store.list_objects(folder)]


@lru_cache(maxsize=1)
def _list_entries(archive: str, identity: Identity) -> list[str]:
    """Return the names in a zip file, sorted."""
    with zipfile.ZipFile(archive) as held:
        return sorted(held.namelist())


def parse_numbers(
    names: Iterable[str], prefix: str, separator: str, grid: Sequence[int]
) -> Integers:
    """Return the numbers in a grid of the files of these names, increasing."""
    corners = []
    for name in names:
        if name.startswith(prefix):
            parts = name[len(prefix) :].split(separator)
            if len(parts) == len(grid) and all(map(_is_number, parts)):
                corners.append([int(part) for part in parts])
    if not corners or not prod(grid):
        return np.empty(0, np.int64)
    found = np.array(corners, np.int64)
    found = found[(found < np.array(grid)).all(axis=1)]
    return np.unique(np.ravel_multi_index(tuple(found.T), tuple(grid)))


def _is_number(name: str) -> bool:
    return name.isdecimal() and len(name) < 19  # so that int64 holds it
