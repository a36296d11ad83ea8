"""`.h5ad` files: one, or several as one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import FileFormatError
from .genes import join_genes
from .h5ad_obs import Table
from .h5ad_x import column_names, locate_x
from .hdf5 import Tree, is_hdf5, opened
from .layout import CellFile
from .obs import join_obs
from .options import OpenOptions
from .stored import StoredSource
from .trees import FileTree

if TYPE_CHECKING:
    import h5py

__all__ = [
    "is_handle",
    "join_files",
    "open_h5ad",
    "open_handle",
    "read_layout",
    "recognise",
]


def recognise(path: str) -> bool:
    """Return whether a file is HDF5, by its content."""
    return is_hdf5(path)


def open_h5ad(files: Sequence[str], options: OpenOptions) -> StoredSource:
    """Return the source over `files`, in their order."""
    parts = []
    for file in files:
        with opened(file) as root:
            tree = Tree(root, file, allow_external=options.allow_external)
            parts.append(read_layout(tree, options))
    return join_files(parts, options)


def is_handle(obj: object) -> bool:
    """Return whether an object is an HDF5 file, or a group of one, open in h5py."""
    import h5py

    return isinstance(obj, h5py.Group)


def open_handle(handle: "h5py.Group", options: OpenOptions) -> StoredSource:
    """Return the source over an open file, or a group that is laid out like one.

    A file that only h5py can see (in memory, or behind a driver of its own) is read
    through h5py.
    """
    file = str(handle.file.filename)
    tree = Tree(handle, file, allow_external=options.allow_external)
    return join_files([read_layout(tree, options)], options)


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
        tree.file, x, var_names, columns, names if options.obs_names else None
    )
