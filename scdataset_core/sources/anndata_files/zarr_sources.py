"""Zarr stores of AnnData's schema: one, several as one, and annbatch's collections."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import FileFormatError, ScdatasetError
from ...optional import import_optional
from ...storage.formats.zarr import ZarrLibrary
from ...storage.formats.zarr_stores import close_when_dropped, reopen_group, store_name
from ...storage.remote.object_store import ObjectStore
from ..genes.shared_names import SharedNames
from ..options import OpenOptions
from ..ranged.cell_file import CellFile, SparseX
from ..ranged.stored_source import StoredSource, join_files
from .cell_files import locate_cells
from .zarr_completeness import check_whole, describe_lacking
from .zarr_tree import ZarrTree

if TYPE_CHECKING:
    import zarr

__all__ = ["list_groups", "open_group", "open_store", "open_zarr"]

_COLLECTION = "annbatch-preshuffled"
_MEMBER = re.compile(r"dataset_(\d+)")


def open_zarr(paths: Sequence[str], options: OpenOptions) -> StoredSource:
    """Return the source over stores, in their order."""
    import_optional("zarr", extra="zarr", needed_by="zarr stores")
    groups = [(path, open_store(path, options.store_of(path))) for path in paths]
    return _join(groups, options)


def open_group(group: "zarr.Group", options: OpenOptions) -> StoredSource:
    """Return the source over an open group, of any kind of store."""
    group = reopen_group(group)
    path = f"/{group.path}" if group.path else ""
    return _join([(f"{store_name(group)}{path}", group)], options)


def _join(
    groups: Sequence[tuple[str, "zarr.Group"]], options: OpenOptions
) -> StoredSource:
    cell_files: list[CellFile] = []
    lacking: list[str] = []
    shared = SharedNames()
    for path, outer in groups:
        for name, group in _iterate_groups(path, outer):
            tree = ZarrTree(group, name)
            cell_files.append(locate_cells(tree, options, shared))
            lacking += check_whole(cell_files[-1], tree)
    notices = (*_explain_slow_arrays(cell_files), *describe_lacking(lacking))
    return join_files(cell_files, options, notices=notices)


def _iterate_groups(
    path: str, group: "zarr.Group"
) -> Iterator[tuple[str, "zarr.Group"]]:
    """Yield a group of AnnData's schema; of a collection, its members by number."""
    if group.attrs.get("encoding-type") != _COLLECTION:
        yield path, group
        return
    names = [name for name in group if _MEMBER.fullmatch(name)]
    if not names:
        raise FileFormatError(f"{path}: the collection of annbatch is empty")
    for name in sorted(names, key=lambda name: int(name.removeprefix("dataset_"))):
        yield f"{path}/{name}", group[name]


def list_groups(path: str) -> list[str]:
    """Return the local folders of AnnData's schema in a store, which is a folder."""
    import_optional("zarr", extra="zarr", needed_by="zarr stores")
    return [name for name, _ in _iterate_groups(path, open_store(path))]


def open_store(path: str, objects: ObjectStore | None = None) -> "zarr.Group":
    """Open a store; errors name it.

    Parameters
    ----------
    path
        The folder or zip file, or the name of a folder of objects.
    objects
        The store that the folder is in; None: it is a local one.
    """
    import zarr
    from zarr.storage import ZipStore

    from ...storage.formats.zarr_folders import PlainFolder

    store: Any
    if objects is not None:
        from ...storage.formats.zarr_objects import ZarrObjects

        store = ZarrObjects(objects, path)
    else:
        store = PlainFolder(path) if Path(path).is_dir() else ZipStore(path, mode="r")
    # A consolidated list of members may be out of date, so it is used only where there
    # is no other.
    consolidated = None if not store.supports_listing else False
    try:
        found = zarr.open(store, mode="r", use_consolidated=consolidated)
    except ScdatasetError:
        raise
    except Exception as error:  # zarr raises what its parsers do
        raise FileFormatError(
            f"{path}: zarr cannot open it: {type(error).__name__}: {error}; if it was"
            " not copied whole, copy or download it again"
        ) from error
    finally:
        close_when_dropped(store)
    if not isinstance(found, zarr.Group):
        raise FileFormatError(f"{path}: it is a single zarr array, expected a group")
    return found


def _explain_slow_arrays(cell_files: Sequence[CellFile]) -> tuple[str, ...]:
    """Return one notice that says why zarr-python reads X, if it does anywhere."""
    reasons: dict[str, str] = {}
    for cell_file in cell_files:
        x = cell_file.x
        arrays = (x.data, x.indices) if isinstance(x, SparseX) else (x.values,)
        for array in arrays:
            if isinstance(array.library, ZarrLibrary):
                reasons.setdefault(array.library.why, f"{array.file}: {array.name}")
    if not reasons:
        return ()
    listed = "; ".join(f"{where}: {why}" for why, where in reasons.items())
    return (
        "X is read through zarr-python, which is slower than the reader for local"
        f" folders here: {listed}",
    )
