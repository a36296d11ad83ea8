"""`.h5ad` files: one, or several as one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...errors import FileFormatError
from ..genes.joins import join_genes
from ..genes.var_columns import TreePlace
from ..obs.joined_columns import join_obs
from ..options import OpenOptions
from ..ranged.cell_file import CellFile
from ..ranged.stored_source import StoredSource
from .data_frames import Table
from .file_tree import FileTree
from .hdf5_tree import Tree, opened
from .matrices import column_names, dense_x, locate_x

if TYPE_CHECKING:
    import h5py

__all__ = [
    "join_files",
    "open_h5ad",
    "open_handle",
    "read_layout",
]


def open_h5ad(files: Sequence[str], options: OpenOptions) -> StoredSource:
    """Return the source over `files`, in their order."""
    parts = []
    for file in files:
        with opened(file) as root:
            tree = Tree(root, file, allow_external=options.allow_external)
            parts.append(read_layout(tree, options))
    return join_files(parts, options)


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
    tree = Tree(root, file, allow_external=options.allow_external)
    if isinstance(handle, h5py.Dataset):
        return _open_rows(tree, handle, options)
    return join_files([read_layout(tree, options)], options)


def _open_rows(
    tree: Tree, dataset: "h5py.Dataset", options: OpenOptions
) -> StoredSource:
    """Return the source over a data set alone; its genes are ``"0"``, ``"1"``, ...."""
    if options.x != "X":
        raise ValueError(f'a data set has no "{options.x}"; open its file for that')
    if options.obs is not True and options.obs:
        raise ValueError(
            f"a data set has no obs, and obs names {list(options.obs)}; open its file"
        )
    tree.check_inside(dataset)
    x = dense_x(tree, dataset, str(dataset.name))
    names = np.array([str(i) for i in range(x.n_vars)], object)
    return join_files([CellFile(tree.file, x, names, {})], replace(options, obs=()))


def join_files(parts: Sequence[CellFile], options: OpenOptions) -> StoredSource:
    """Return the source over files whose layouts are known."""
    files = [part.file for part in parts]
    genes = join_genes(
        files, [part.var_names for part in parts], options.join, options.genes
    )
    obs = join_obs(files, [part.obs for part in parts], options.obs, options.categories)
    return StoredSource(parts, genes, obs, x=options.x)


def read_layout(tree: FileTree, options: OpenOptions) -> CellFile:
    """Return where the parts of one file lie, checked against each other."""
    x = locate_x(tree, options.x)
    var_names = column_names(tree, options.x, x.n_vars)
    table = Table(tree, "obs")
    names = table.index_text()
    if len(names) != x.n_obs:
        raise FileFormatError(
            f"{tree.file}: {options.x} has {x.n_obs} rows and obs names"
            f" {len(names)} cells"
        )
    columns = table.columns(options.obs, x.n_obs)
    return CellFile(
        tree.file,
        x,
        var_names,
        columns,
        names if options.obs_names else None,
        TreePlace(tree, options.x),
    )
