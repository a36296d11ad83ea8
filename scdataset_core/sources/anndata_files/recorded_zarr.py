"""Arrays of local zarr stores in plain values, and what tells that a store changed."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import FileChangedError, FileFormatError
from ...storage.formats.zarr import ZarrLibrary
from ...storage.formats.zarr_chunks import ShardIndex, ZarrTableMaker
from ...storage.formats.zarr_late import LateZarrLibrary
from ...storage.io.byte_sources import SourceIdentity
from ...storage.io.identities import Identity

__all__ = [
    "StoreIdentity",
    "check_store",
    "identify_store",
    "make_library",
    "make_table",
    "record_library",
    "record_table",
]

Slot = Callable[..., int]
Sizes = Callable[[int, int], tuple[int, ...]]

_DESCRIBE = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
# What a node has if values of the array are in the record.
_KEPT_VALUES = ("values", "distinct", "any", "last")


@dataclass(frozen=True)
class StoreIdentity:
    """Tells a zarr store from what it was when it was recorded.

    Parameters
    ----------
    n_bytes
        Size of the files that the record says more of than where they lie: all
        descriptions of groups and arrays, and the names and labels that it holds.
    version
        A digest of their paths, sizes and times.
    """

    n_bytes: int
    version: str

    def __str__(self) -> str:
        return f"{self.n_bytes} bytes of descriptions, names and labels"


def identify_store(path: str, skeleton: Mapping[str, Any]) -> StoreIdentity:
    """Return what a store is now, by the files that its record relies on."""
    n_bytes, lines = 0, []
    for file in _files(path, skeleton):
        try:
            status = os.stat(file)  # noqa: PTH116  # asked for every file
        except OSError:
            continue
        n_bytes += status.st_size
        lines.append(f"{file[len(path) :]} {status.st_size} {status.st_mtime_ns}")
    return StoreIdentity(n_bytes, _digest(sorted(lines)))


def check_store(
    path: str, identity: SourceIdentity, skeleton: Mapping[str, Any]
) -> None:
    """Raise if a store is not what it was when it was recorded.

    Raises
    ------
    FileChangedError
        If a group or an array was described, or names and labels were written, anew.
    """
    if identity != identify_store(path, skeleton):
        raise FileChangedError(
            f"{path} changed since it was recorded in an index: groups or arrays were"
            " written anew; bring the index up to date (Index.update, scdataset index)"
        )


def _files(path: str, node: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{path}/{name}" for name in _DESCRIBE)
    if any(kind in node for kind in _KEPT_VALUES):
        for folder, folders, names in os.walk(path):
            folders.sort()
            yield from (f"{folder}/{name}" for name in sorted(names))
    for name, member in node.get("members", {}).items():
        yield from _files(f"{path}/{name}", member)


def record_table(table: ZarrTableMaker, slot: Slot) -> dict[str, Any]:
    """Return where the chunks of an array are looked for, its integers in slots."""
    shards = table.shards
    return {
        "file_shape": slot(*table.file_shape),
        "names": [table.prefix, table.separator],
        "shards": shards
        and [slot(*shards.chunk_shape), shards.at_start, shards.has_checksum],
        "metadata": _record_metadata(table.metadata, slot, table.store),
    }


def make_table(
    found: Mapping[str, Any],
    sizes: Sizes,
    *,
    store: str,
    name: str,
    shape: tuple[int, ...],
) -> ZarrTableMaker:
    """Return what :func:`record_table` got."""
    shards = found["shards"]
    if shards is not None:
        shards = ShardIndex(sizes(shards[0], len(shape)), *shards[1:])
    folder = f"{store}/{name}"
    prefix, separator = found["names"]
    return ZarrTableMaker(
        store,
        name,
        folder,
        _make_metadata(found["metadata"], sizes, folder),
        shape,
        sizes(found["file_shape"], len(shape)),
        prefix,
        separator,
        shards,
    )


def record_library(library: ZarrLibrary, slot: Slot, where: str) -> dict[str, Any]:
    """Return how zarr-python reads an array, its integers in slots."""
    metadata = _record_metadata(library.metadata, slot, where)
    return {"why": library.why, "metadata": metadata}


def make_library(
    found: Mapping[str, Any], sizes: Sizes, *, store: str, name: str
) -> LateZarrLibrary:
    """Return what reads an array that :func:`record_library` recorded."""
    metadata = _make_metadata(found["metadata"], sizes, f"{store}/{name}")
    return LateZarrLibrary(store, name, found["why"], metadata)


def _record_metadata(
    metadata: tuple[str, SourceIdentity] | None, slot: Slot, where: str
) -> list[Any]:
    path, was = metadata or ("", None)
    if not isinstance(was, Identity):
        raise FileFormatError(
            f"{where}: an index holds zarr stores that are folders; open this one"
            " without an index"
        )
    name = os.path.basename(path)  # noqa: PTH119
    return [name, slot(was.n_bytes, was.mtime_ns, was.ctime_ns)]


def _make_metadata(
    found: list[Any], sizes: Sizes, folder: str
) -> tuple[str, SourceIdentity]:
    name, first = found
    return f"{folder}/{name}", Identity(*sizes(first, 3))


def _digest(lines: list[str]) -> str:
    text = "\n".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:32]
