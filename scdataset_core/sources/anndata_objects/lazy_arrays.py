"""The matrices of `anndata.experimental.read_lazy`, located in their files."""

from pathlib import Path
from typing import Any

from ...errors import FileFormatError
from ..anndata_files.hdf5_tree import Hdf5Tree, open_checked
from ..anndata_files.matrices import locate_x
from ..ranged.cell_file import DenseX, SparseX

__all__ = ["is_lazy", "locate_lazy"]


def is_lazy(matrix: object) -> bool:
    """Return whether a matrix is a dask array."""
    return type(matrix).__module__.partition(".")[0] == "dask"


def locate_lazy(
    matrix: Any, what: str, *, allow_external: bool
) -> tuple[str, SparseX | DenseX]:
    """Return the file that a dask array of `read_lazy` reads, and where X lies there.

    Raises
    ------
    FileFormatError
        If anything was computed on the array, so that the file has other values.
    """
    where, element = _origin(matrix, what)
    if isinstance(where, Path):
        where = where.absolute()  # so that it holds in any current directory
        with open_checked(str(where), external=allow_external) as root:
            tree = Hdf5Tree(root, str(where), allow_external=allow_external)
            return str(where), locate_x(tree, element)
    import zarr

    from ...storage.formats.zarr_stores import reopen_group, store_name
    from ..anndata_files.zarr_tree import ZarrTree

    root = reopen_group(zarr.open_group(where.store, mode="r", use_consolidated=False))
    file = store_name(root)
    return file, locate_x(ZarrTree(root, file), where.path)


def _origin(matrix: Any, what: str) -> tuple[Any, str]:
    """Return the file (or zarr group or array) and the path that dask reads."""
    layers = list(matrix.dask.layers.values())
    first = dict(layers[0]) if len(layers) == 2 else {}
    if len(first) == 1 and matrix.name.startswith("from-zarr-"):
        (array,) = first.values()
        if hasattr(array, "store"):
            return array, str(array.path)
    indices = getattr(layers[0], "indices", ()) if len(layers) == 1 else ()
    call: Any = indices[0][0] if indices else None
    if getattr(getattr(call, "func", None), "__name__", "") == "make_dask_chunk":
        where, element = call.args
        if isinstance(where, Path):
            return where, element.strip("/")
        group = getattr(where, "group", None)
        if hasattr(group, "store"):
            return group, element
    raise FileFormatError(
        f"{what} of the AnnData is a dask array that is not simply read from a file:"
        " something was computed on it; write the result to a file, or take it into"
        " memory with adata.to_memory()"
    )
