"""Finds the objects and folders of a store that match a glob."""

import fnmatch
import re
from collections.abc import Iterator

from .object_store import ObjectStore

__all__ = ["find_matches", "has_magic"]

_MAGIC = re.compile(r"[*?\[]")


def has_magic(text: str) -> bool:
    """Return whether text has characters of a glob."""
    return _MAGIC.search(text) is not None


def find_matches(store: ObjectStore, root: str, pattern: str) -> list[str]:
    """Return the names of objects and folders that match, sorted.

    Each level of folders is listed for itself, so that folders of many objects, as zarr
    stores are, are not.

    Parameters
    ----------
    store
        The store.
    root
        What all names in the bucket begin with.
    pattern
        The glob below it. ``*``, ``?`` and ``[...]`` stand for parts of one name,
        ``**`` for any folders.
    """
    parts = [part for part in pattern.split("/") if part]
    return sorted(set(_walk(store, root, parts)))


def _walk(store: ObjectStore, folder: str, parts: list[str]) -> Iterator[str]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        if rest:
            yield from _walk(store, folder, rest)
        folders, objects = store.list_folder(folder)
        for inner in folders:
            if not rest:
                yield inner
            yield from _walk(store, inner, parts)
        if not rest:
            yield from objects
        return
    if rest and not has_magic(part):
        yield from _walk(store, f"{folder}/{part}", rest)
        return
    folders, objects = store.list_folder(folder)
    for name in folders if rest else [*folders, *objects]:
        if fnmatch.fnmatchcase(name.rpartition("/")[2], part):
            if rest:
                yield from _walk(store, name, rest)
            else:
                yield name
