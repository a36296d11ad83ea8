"""The formats of AnnData's files: `.h5mu`, `.h5ad`, zarr, and open files of these."""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import RawIOBase
from pathlib import Path
from typing import IO, Any

from ...errors import FileFormatError, ObjectMissingError, StoreAccessError
from ...storage.io.open_files import check_plain
from ...storage.remote.object_store import ObjectStore
from ..base import Source
from ..format_declaration import FileNode, Format, comes_from
from ..options import OpenOptions

__all__ = [
    "H5AD_FILES",
    "H5MU_FILES",
    "HDF5_HANDLES",
    "INDEXES",
    "SAVED_INDEXES",
    "ZARR_GROUPS",
    "ZARR_STORES",
]

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_USER_BLOCK = 1 << 26
_ZARR_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")


def _is_hdf5(path: str) -> bool:
    """Return whether a file has HDF5's signature, at its head or after a user block."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return _has_signature(file)


def _is_hdf5_object(store: ObjectStore, name: str) -> bool:
    """Return whether an object has HDF5's signature, see :func:`_is_hdf5`."""
    try:
        return _has_signature(store.open_reader(name))
    except ObjectMissingError:
        return False


def _has_signature(file: IO[bytes] | RawIOBase) -> bool:
    size, at = file.seek(0, 2), 0
    while at + len(_HDF5_SIGNATURE) <= size and at <= _MAX_USER_BLOCK:
        file.seek(at)
        if file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
            return True
        at = at * 2 or 512
    return False


def _is_h5mu(path: str) -> bool:
    """Return whether a file is HDF5 of MuData's schema."""
    return _is_hdf5(path) and _has_modalities(path)


def _is_h5mu_object(store: ObjectStore, name: str) -> bool:
    """Return whether an object is HDF5 of MuData's schema."""
    return _is_hdf5_object(store, name) and _has_modalities(name, store)


def _has_modalities(path: str, store: ObjectStore | None = None) -> bool:
    from .parsed_tree import ask_parsed

    has = None if store else ask_parsed(path, lambda tree: tree.find("mod") is not None)
    if has is not None:
        return has
    import h5py

    from .hdf5_tree import open_checked

    with open_checked(path, store) as root:
        link = root.get("mod", getlink=True)
        # Links are followed, or refused, when it is opened.
        return isinstance(link, h5py.HardLink) or (link is not None and "X" not in root)


def _is_zarr(path: str) -> bool:
    """Return whether a folder or zip file is a zarr store, by its content."""
    if Path(path).is_dir():
        for name in _ZARR_METADATA:
            check_plain(str(Path(path, name)))
        return any(Path(path, name).is_file() for name in _ZARR_METADATA)
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    # Besides its own error, zipfile raises these for versions and names of no sense.
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise FileFormatError(
            f"{path}: its list of files cannot be read: {error}; the zip file is"
            " damaged or was cut short, copy or download it again"
        ) from error
    return not set(_ZARR_METADATA).isdisjoint(names)


def _is_zarr_folder(store: ObjectStore, name: str) -> bool:
    """Return whether a folder of objects is a zarr store, by what it holds."""
    if store.lists(name):
        with suppress(StoreAccessError):  # who may read may not be let list
            _, names = store.list_folder(name)
            known = {one.rpartition("/")[2] for one in names}
            return not known.isdisjoint(_ZARR_METADATA)
    for inner in _ZARR_METADATA:
        with suppress(ObjectMissingError, StoreAccessError):
            store.identify(f"{name}/{inner}")
            return True
    return False


def _is_handle(obj: object) -> bool:
    """Return whether an object is an HDF5 file, or a part of one, open in h5py."""
    if not comes_from(obj, "h5py"):
        return False
    import h5py

    return isinstance(obj, h5py.Group | h5py.Dataset)


def _is_group(obj: object) -> bool:
    """Return whether an object is a group of a zarr store."""
    if not comes_from(obj, "zarr"):
        return False
    import zarr

    return isinstance(obj, zarr.Group)


def _open_h5mu(paths: Sequence[str], options: OpenOptions) -> Source:
    from .h5mu import open_h5mu

    return open_h5mu(paths, options)


def _open_h5ad(paths: Sequence[str], options: OpenOptions) -> Source:
    from .h5ad import open_h5ad

    return open_h5ad(paths, options)


def _open_zarr(paths: Sequence[str], options: OpenOptions) -> Source:
    from .zarr_sources import open_zarr

    return open_zarr(paths, options)


def _open_handle(handle: Any, options: OpenOptions) -> Source:  # Any: h5py's objects
    from .h5ad import open_handle

    return open_handle(handle, options)


def _open_group(group: Any, options: OpenOptions) -> Source:  # Any: a zarr.Group
    from .zarr_sources import open_group

    return open_group(group, options)


def _is_saved_index(path: str) -> bool:
    """Return whether a file is an index that was saved."""
    if not Path(path).is_file():
        return False
    from .index_files import MAGIC

    with Path(path).open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _is_index(obj: object) -> bool:
    """Return whether an object is an index."""
    return type(obj).__name__ == "Index" and comes_from(obj, "scdataset_core")


def _open_saved_index(paths: Sequence[str], options: OpenOptions) -> Source:
    from .indexed_files import open_records
    from .records import Records

    return open_records([Records.load(path) for path in paths], options)


def _open_index(index: Any, options: OpenOptions) -> Source:  # Any: an Index
    from .indexed_files import open_records

    return open_records([index.records], options)


def _walk_hdf5(path: str, store: ObjectStore | None = None) -> Iterator[FileNode]:
    from .walking import walk_hdf5

    return walk_hdf5(path, store)


def _walk_zarr(path: str, store: ObjectStore | None = None) -> Iterator[FileNode]:
    from .walking import walk_zarr

    return walk_zarr(path, store)


_OWN = frozenset({"cache"})
H5MU_FILES = Format(
    "an .h5mu file",
    _is_h5mu,
    _open_h5mu,
    ("h5mu",),
    _OWN,
    _is_h5mu_object,
    walk=_walk_hdf5,
    isolates=True,
)
H5AD_FILES = Format(
    "an .h5ad file",
    _is_hdf5,
    _open_h5ad,
    ("h5ad", "h5"),
    _OWN,
    _is_hdf5_object,
    walk=_walk_hdf5,
    isolates=True,
)
ZARR_STORES = Format(
    "a zarr store",
    _is_zarr,
    _open_zarr,
    ("zarr",),
    _OWN,
    _is_zarr_folder,
    walk=_walk_zarr,
)
SAVED_INDEXES = Format(
    "an index of .h5ad files",
    _is_saved_index,
    _open_saved_index,
    ("scdindex",),
    _OWN,
)
INDEXES = Format("an index", _is_index, _open_index, own_options=_OWN)
HDF5_HANDLES = Format("an open HDF5 file", _is_handle, _open_handle, own_options=_OWN)
ZARR_GROUPS = Format("a zarr group", _is_group, _open_group, own_options=_OWN)
