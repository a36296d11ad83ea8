"""`.h5ad` files: one, or several as one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...storage.isolation import call_isolated
from ..genes.shared_names import SharedNames
from ..opening_progress import show_opening
from ..options import OpenOptions
from ..ranged.cell_file import CellFile
from ..ranged.stored_source import StoredSource, join_files
from .cell_files import locate_cells
from .hdf5_tree import Hdf5Tree, open_checked
from .matrices import describe_dense
from .parsed_tree import ask_parsed

if TYPE_CHECKING:
    import h5py

__all__ = [
    "open_h5ad",
    "open_handle",
]


def open_h5ad(files: Sequence[str], options: OpenOptions) -> StoredSource:
    """Return the source over `files`, in their order."""
    shared = SharedNames()
    shown = show_opening(files)
    if options.isolated:
        what = options.for_one_file()
        cell_files = [
            replace(found, var_names=shared.share(found.var_names))
            for found in (
                call_isolated(_locate, file, what, file=file) for file in shown
            )
        ]
    else:
        cell_files = [_locate(file, options, shared) for file in shown]
    return join_files(cell_files, options)


def _locate(
    file: str, options: OpenOptions, shared: SharedNames | None = None
) -> CellFile:
    """Return where everything lies in a file."""
    external, store = options.allow_external, options.store_of(file)
    if store is None and not external:  # links are followed by HDF5
        parsed = ask_parsed(file, lambda tree: locate_cells(tree, options, shared))
        if parsed is not None:
            return parsed
    with open_checked(file, store, external=external) as root:
        tree = Hdf5Tree(root, file, allow_external=external, store=store)
        found = locate_cells(tree, options, shared)
        tree.forget()
        return found


def open_handle(
    handle: "h5py.Group | h5py.Dataset", options: OpenOptions
) -> StoredSource:
    """Return the source over an open file, a group laid out like one, or a data set.

    A file that only h5py can see (in memory, or behind a driver of its own) is read
    through h5py.
    """
    import h5py

    if not handle:
        raise ValueError(
            f"{handle!r}: it was closed; open it again, or give its path:"
            " scdataset_core.open(path)"
        )
    file = str(handle.file.filename)
    root = handle if isinstance(handle, h5py.Group) else handle.file
    tree = Hdf5Tree(root, file, allow_external=options.allow_external)
    if isinstance(handle, h5py.Dataset):
        return _open_rows(tree, handle, options)
    return join_files([locate_cells(tree, options)], options)


def _open_rows(
    tree: Hdf5Tree, dataset: "h5py.Dataset", options: OpenOptions
) -> StoredSource:
    """Return the source over a data set alone; its genes are ``"0"``, ``"1"``, ...."""
    if options.x != "X":
        raise ValueError(f'a data set has no "{options.x}"; open its file for that')
    if options.obs is not True and options.obs:
        raise ValueError(
            f"a data set has no obs, and obs names {list(options.obs)}; open its file"
        )
    tree.check_inside(dataset)
    x = describe_dense(tree, dataset, str(dataset.name))
    names = np.array([str(i) for i in range(x.n_vars)], object)
    return join_files([CellFile(tree.file, x, names, {})], replace(options, obs=()))
