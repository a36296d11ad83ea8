"""Walks over all groups and arrays of a file, for tools that look at whole files."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ...errors import ScdatasetError
from ...storage.remote.object_store import ObjectStore
from ..format_declaration import FileNode
from .file_tree import FileTree

__all__ = ["walk_hdf5", "walk_zarr"]


def walk_hdf5(path: str, store: ObjectStore | None = None) -> Iterator[FileNode]:
    """Yield every group and array of an HDF5 file, without leaving the file.

    Parameters
    ----------
    path
        The file, or the name of an object.
    store
        The store that the object is in; None: it is a local file.

    Raises
    ------
    FileFormatError
        If the file cannot be opened.
    """
    from .hdf5_tree import Hdf5Tree, open_checked

    @contextmanager
    def open_tree() -> Iterator[FileTree]:
        with open_checked(path, store) as root:
            yield Hdf5Tree(root, path, allow_external=False, store=store)

    return _walk(open_tree())


def walk_zarr(path: str, store: ObjectStore | None = None) -> Iterator[FileNode]:
    """Yield every group and array of a zarr store, see :func:`walk_hdf5`."""
    from .zarr_sources import open_store
    from .zarr_tree import ZarrTree

    @contextmanager
    def open_tree() -> Iterator[FileTree]:
        yield ZarrTree(open_store(path, store), path)

    return _walk(open_tree())


def _walk(opened: AbstractContextManager[FileTree]) -> Iterator[FileNode]:
    # No recursion: groups may lie in each other deeper than functions may.
    seen: set[Any] = set()  # Any: what tells the nodes of h5py or zarr apart
    with opened as tree:
        yield FileNode("", tree.root)
        left = _members("", tree.root)
        while left:
            path = left.pop()
            try:
                node = tree.find(path)
            except ScdatasetError as error:
                yield FileNode(path, None, error=error)
                continue
            key = getattr(node, "id", None) or path
            if node is None or key in seen:  # a second link to it
                continue
            seen.add(key)
            if tree.is_array(node):
                yield FileNode(path, node, describe=tree.describe_array)
            else:
                yield FileNode(path, node)
                left += _members(path, node)


def _members(path: str, group: Any) -> list[str]:  # Any: a group of h5py or zarr
    """Return the paths of the members of a group, the first one last."""
    names = sorted(group, reverse=True)
    return [f"{path}/{name}" if path else name for name in names]
