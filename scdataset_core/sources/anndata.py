"""AnnData objects: those in memory, and backed ones through their file."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileFormatError, MissingNameError, nearest
from .arrays import rows_matrix, source_of
from .base import Source
from .columns import (
    Column,
    LabelColumn,
    NumberColumn,
    Unreadable,
    text_column,
)
from .h5ad import join_files
from .h5ad_x import locate_x
from .hdf5 import Tree, opened
from .layout import CellFile
from .options import OpenOptions
from .ranges import MemoryArray
from .text import MemoryText

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["is_anndata", "open_anndata"]


def is_anndata(obj: object) -> bool:
    """Return whether an object is an `AnnData`."""
    from anndata import AnnData

    return isinstance(obj, AnnData)


def open_anndata(adata: "AnnData", options: OpenOptions) -> Source:
    """Return the source over an `AnnData`.

    Of a backed one, X and ``raw/X`` are read from its file, all else is taken from the
    object.
    """
    columns = _columns(adata, options)
    names = MemoryText([str(name) for name in adata.obs_names], "obs_names")
    folder, _, key = options.x.partition("/")
    if adata.isbacked and folder in ("X", "raw"):
        return _open_backed(adata, columns, names, options)
    matrix, var_names = _matrix(adata, folder, key)
    return source_of(
        rows_matrix(matrix, options.x),
        np.array([str(name) for name in var_names], object),
        columns,
        names,
        options,
    )


def _open_backed(
    adata: "AnnData",
    columns: dict[str, Column],
    names: MemoryText,
    options: OpenOptions,
) -> Source:
    file = str(adata.filename)
    if adata.is_view:
        raise FileFormatError(
            f"the AnnData is a view of rows or genes of {file}; open the file itself,"
            " and give the rows to the strategy as indices, the genes as genes="
        )
    handle = adata.file._file  # its own: HDF5 refuses a second one beside a writer's
    if handle is not None and handle.id.valid:
        x = locate_x(
            Tree(handle, file, allow_external=options.allow_external), options.x
        )
    else:
        with opened(file) as root:
            tree = Tree(root, file, allow_external=options.allow_external)
            x = locate_x(tree, options.x)
    holder = adata.raw if options.x == "raw/X" else adata
    var_names = np.array([str(name) for name in holder.var_names], object)
    if (x.n_obs, x.n_vars) != (adata.n_obs, len(var_names)):
        raise FileFormatError(
            f"{file} has {x.n_obs} cells x {x.n_vars} genes in {options.x}, and the"
            f" AnnData {adata.n_obs} x {len(var_names)}: it was changed since, write it"
        )
    kept_names = names if options.obs_names else None
    return join_files([CellFile(file, x, var_names, columns, kept_names)], options)


def _matrix(adata: "AnnData", folder: str, key: str) -> tuple[Any, Any]:
    """Return the matrix asked for and the names of its columns."""
    if folder == "raw":
        if adata.raw is None:
            raise MissingNameError('the AnnData has no "raw/X"')
        return adata.raw.X, adata.raw.var_names
    if folder == "X":
        if adata.X is None:
            raise FileFormatError(
                f"the AnnData has no X; layers: {', '.join(adata.layers) or 'none'}"
            )
        return adata.X, adata.var_names
    held = getattr(adata, folder)
    if key not in held:
        raise MissingNameError(
            f'the AnnData has no "{folder}/{key}"; {nearest(key, held.keys())}'
        )
    matrix = held[key]
    if folder == "layers":
        return matrix, adata.var_names
    if hasattr(matrix, "columns"):  # a table: its columns have names
        return matrix.to_numpy(), matrix.columns
    return matrix, [f"{key}{i + 1}" for i in range(matrix.shape[1])]


def _columns(adata: "AnnData", options: OpenOptions) -> dict[str, Column]:
    known = list(adata.obs.columns)
    for name in () if options.obs is True else options.obs:
        if name not in known:
            raise MissingNameError(
                f'the AnnData has no obs column "{name}"; {nearest(name, known)}'
            )
    names = known if options.obs is True else options.obs
    return {name: _column(adata.obs[name], name) for name in names}


def _column(series: "pd.Series[Any]", name: str) -> Column:
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy()
        labels = series.cat.categories.tolist()
        return LabelColumn(MemoryArray(codes, name), labels, bool(series.cat.ordered))
    if isinstance(dtype, np.dtype) and dtype.kind in "biufc":
        return NumberColumn(MemoryArray(series.to_numpy(), name))
    missing = series.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(dtype) and hasattr(dtype, "numpy_dtype"):
        values = series.to_numpy(dtype=dtype.numpy_dtype, na_value=0)
        return NumberColumn(MemoryArray(values, name), MemoryArray(missing, name))
    values = series.to_numpy(object)
    text = [None if gone else x for x, gone in zip(values, missing, strict=True)]
    if all(x is None or isinstance(x, str) for x in text):
        return text_column(MemoryText(text, name))
    return Unreadable(f"it is {dtype}")
