"""Opens zarr stores by absolute path, and once for each process."""

import pickle
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import FileChangedError, FileFormatError
from ..remote.object_store import ObjectStore

if TYPE_CHECKING:
    import zarr

__all__ = [
    "archive_of",
    "close_when_dropped",
    "folder_of",
    "objects_of",
    "reopen_array",
    "reopen_group",
    "store_name",
]


def store_name(node: "zarr.Array | zarr.Group") -> str:
    """Return what the store of an array or group is called in messages."""
    root = getattr(node.store, "root", None) or getattr(node.store, "path", None)
    return str(node.store) if root is None else str(root)


def folder_of(node: "zarr.Array | zarr.Group") -> str | None:
    """Return the local folder of an array or group, or None where there is none."""
    from zarr.storage import LocalStore

    if not isinstance(node.store, LocalStore):
        return None
    return str(Path(node.store.root, node.path).absolute())


def objects_of(
    node: "zarr.Array | zarr.Group",
) -> "tuple[ObjectStore, str] | None":
    """Return the object store of an array or group and its folder there, or None."""
    from .zarr_objects import ZarrObjects

    if not isinstance(node.store, ZarrObjects):
        return None
    root = node.store.root
    return node.store.objects, f"{root}/{node.path}" if node.path else root


def archive_of(node: "zarr.Array | zarr.Group") -> str | None:
    """Return the zip file of an array or group, or None where there is none."""
    from zarr.storage import ZipStore

    if not isinstance(node.store, ZipStore):
        return None
    return str(Path(node.store.path).absolute())


def close_when_dropped(store: Any) -> None:
    """Have a store's zip file, if it is one and open, closed as soon as it is dropped.

    zarr leaves that to the collector, which may take the file before the archive around
    it, and then Python warns of a file that nobody closed.
    """
    archive = getattr(store, "_zf", None)
    if archive is not None:
        weakref.finalize(store, archive.close).atexit = False


def reopen_group(group: "zarr.Group") -> "zarr.Group":
    """Return a group opened anew: by the absolute path of its store, and as it is now.

    The list of members that a store may have (consolidated metadata) is not read: it
    may name members that are gone, and lack others that were added. Where a store
    cannot be listed, there is no other list, and the group is returned as it came.

    Raises
    ------
    FileFormatError
        If it is in a zip file that is open for writing: another process that opens
        such a store would write the file anew.
    """
    import zarr
    from zarr.storage import LocalStore, ZipStore

    from .zarr_folders import PlainFolder

    store: Any = group.store
    if isinstance(store, LocalStore):
        store = PlainFolder(Path(store.root).absolute(), read_only=True)
    elif isinstance(store, ZipStore):
        if not store.read_only:
            raise FileFormatError(
                f"{store.path}: the zip store is open for writing; close it"
                " (store.close()), and open its path"
            )
        store = ZipStore(Path(store.path).absolute(), mode="r")
    elif not store.supports_listing:
        return group
    reopened = zarr.open_group(
        store,
        path=group.path,
        mode="r",
        zarr_format=group.metadata.zarr_format,
        use_consolidated=False,
    )
    if store is not group.store:
        close_when_dropped(store)
    return reopened


# The stores that this process opened in place of those of the process it was forked
# from, by the identity of these, which are held so that it stays theirs.
_reopened: dict[int, tuple[Any, Any]] = {}


def reopen_array(array: "zarr.Array", *, forked: bool) -> "zarr.Array":
    """Return an array of another process, opened in this one.

    Forked processes share the position in an open zip file, and the connections to
    other machines: each would read what another one asked for. And several threads may
    not use a store that has just been unpickled: fsspec's zip files fill their list of
    names then, and files that are not in it yet count as zeros. So the description is
    read before anything else. The caller holds the lock of first use.

    Parameters
    ----------
    array
        The array.
    forked
        Whether the other process was this one's parent; else the array was pickled.

    Raises
    ------
    FileChangedError
        If it is described in another way now.
    """
    import zarr
    from zarr.storage import LocalStore, MemoryStore

    from .zarr_objects import ZarrObjects

    store: Any = array.store
    if isinstance(store, LocalStore | MemoryStore | ZarrObjects):
        return array
    if forked:
        if id(store) not in _reopened:
            _reopened[id(store)] = (store, pickle.loads(pickle.dumps(store)))
        store = _reopened[id(store)][1]
    version = array.metadata.zarr_format
    found = zarr.open_array(store, path=array.path, mode="r", zarr_format=version)
    if found.metadata.to_dict() != array.metadata.to_dict():
        raise FileChangedError(
            f"{store_name(array)}: {array.path} changed since it was opened; open the"
            " source again once nothing writes to it"
        )
    return found
