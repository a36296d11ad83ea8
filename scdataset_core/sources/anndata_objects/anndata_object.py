"""`AnnData` objects: in memory, or backed by a file that is then read."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FileFormatError, MissingNameError, nearest
from ...storage.formats.hdf5_files import check_path
from ..anndata_files.hdf5_tree import Hdf5Tree, open_checked
from ..anndata_files.matrices import locate_x
from ..base import Source
from ..combined.chosen_rows import ChosenRowsSource
from ..contents import Contents
from ..genes.joins import join_genes
from ..memory.array_source import as_row_matrix, make_source
from ..obs.columns import (
    Column,
    LabelColumn,
    NumberColumn,
    Unreadable,
    text_column,
)
from ..obs.joined_columns import join_obs
from ..obs.obs_readers import FileObs, ObsReader
from ..obs.text import MemoryText
from ..options import OpenOptions
from ..ranged.cell_file import CellFile, DenseX, SparseX
from ..ranged.row_arrays import MemoryArray
from ..ranged.stored_source import join_files
from .held_contents import HeldContents
from .lazy_arrays import is_lazy, locate_lazy

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData

__all__ = [
    "columns_of",
    "is_in_file",
    "locate_in_file",
    "open_anndata",
    "open_with",
    "text_of_names",
]


def open_anndata(adata: "AnnData", options: OpenOptions) -> Source:
    """Return the source over an `AnnData`.

    X and ``raw/X`` of a backed object are read from its file; all else is taken from
    the object. A view gives its own rows and genes.
    """
    return open_with(adata, adata.obs, adata.obs_names, options)


def _obs_in_memory(obs: Any, options: OpenOptions) -> "pd.DataFrame":
    """Return obs in memory; where it is read lazily, only the columns asked for."""
    if not hasattr(obs, "to_memory"):
        return obs
    names = [str(name) for name in obs.columns]
    if options.obs is not True:
        names = [name for name in names if name in options.obs]
    held = obs[names].to_memory()
    return held.reindex(columns=[str(name) for name in obs.columns], copy=False)


def open_with(
    adata: "AnnData", obs: "pd.DataFrame", names: "pd.Index[Any]", options: OpenOptions
) -> Source:
    """Return the source over an `AnnData` with the given labels and names of cells."""
    columns = columns_of(_obs_in_memory(obs, options), options)
    text = text_of_names(names)
    folder, _, key = options.x.partition("/")
    if not is_in_file(adata, options):
        matrix, var_names = _find_matrix(adata, folder, key)
        own = np.array([str(name) for name in var_names], object)
        x, container = as_row_matrix(matrix, options.x), _contents_of(adata, options)
        return make_source(x, own, columns, text, options, container)
    if not adata.is_view:
        return join_files([locate_in_file(adata, columns, text, options)], options)
    table = join_obs(["memory"], [columns], options.obs, options.categories)
    starts = np.array([0, adata.n_obs], np.int64)
    reader = FileObs(table, [text] if options.obs_names else None, starts)
    return _open_view(adata, reader, options)


def is_in_file(adata: "AnnData", options: OpenOptions) -> bool:
    """Return whether the matrix asked for lies in a file: backed, or read lazily."""
    if adata.isbacked:
        return options.x in ("X", "raw/X")
    folder, _, key = options.x.partition("/")
    whole = adata._adata_ref if adata.is_view else adata
    # Looking at X of a view in memory would copy it.
    return is_lazy(_find_matrix(whole, folder, key)[0])


def locate_in_file(
    adata: "AnnData",
    columns: dict[str, Column],
    names: MemoryText,
    options: OpenOptions,
) -> CellFile:
    """Return where X of a backed or lazy `AnnData` lies, with the given labels."""
    folder, _, key = options.x.partition("/")
    if adata.isbacked:
        file, x = _file_of(adata), _locate_backed(adata, options)
        holder = adata.raw if folder == "raw" else adata
        var_names = holder.var_names
    else:
        matrix, var_names = _find_matrix(adata, folder, key)
        file, x = locate_lazy(matrix, options.x, allow_external=options.allow_external)
    genes = np.array([str(name) for name in var_names], object)
    if (x.n_obs, x.n_vars) != (adata.n_obs, len(genes)):
        raise FileFormatError(
            f"{file} has {x.n_obs} cells x {x.n_vars} genes in {options.x}, and the"
            f" AnnData {adata.n_obs} x {len(genes)}: it was changed since, write it"
        )
    given = names if options.obs_names else None
    return CellFile(file, x, genes, columns, given, _contents_of(adata, options))


def _contents_of(adata: "AnnData", options: OpenOptions) -> HeldContents:
    """Return the names of what an object holds, and the data frame of its genes."""
    import pandas as pd

    folder = options.x.partition("/")[0]
    var = pd.DataFrame() if folder == "obsm" else adata.var
    if folder == "raw":
        var = adata.raw.var
    if hasattr(var, "to_memory"):
        var = var.to_memory()  # one that is read lazily
    contents = Contents(
        options.x,
        obs=tuple(map(str, adata.obs.columns)),
        var=tuple(map(str, var.columns)),
        layers=tuple(map(str, adata.layers)),
        obsm=tuple(map(str, adata.obsm)),
        has_raw=adata.raw is not None,
    )
    return HeldContents(contents, var)


def _file_of(adata: "AnnData") -> str:
    """Return the absolute path of the file of a backed `AnnData`."""
    return str(Path(str(adata.filename)).absolute())


def _locate_backed(adata: "AnnData", options: OpenOptions) -> SparseX | DenseX:
    file = _file_of(adata)
    handle = adata.file._file  # HDF5 refuses a second handle beside a writer's
    if handle is not None and handle.id.valid:
        again = 'read it again: adata = anndata.read_h5ad(path, backed="r")'
        check_path(handle.file, file, again=again)
        if handle.file.mode != "r":
            handle.file.flush()  # so that what the object wrote is read here
        return _locate_under(handle, adata, options)
    with open_checked(file, external=options.allow_external) as root:
        return _locate_under(root, adata, options)


def _locate_under(
    root: "h5py.Group", adata: "AnnData", options: OpenOptions
) -> SparseX | DenseX:
    """Return where X lies, in the whole file or in a modality's group of one."""
    file = _file_of(adata)
    tree = Hdf5Tree(root, file, allow_external=options.allow_external)
    modality = getattr(adata.file, "_mod", None)  # which MuData's file manager has
    if modality is not None and (group := tree.group(f"mod/{modality}")) is not None:
        tree = Hdf5Tree(group, file, allow_external=options.allow_external)
    return locate_x(tree, options.x)


def _open_view(view: "AnnData", obs: ObsReader, options: OpenOptions) -> Source:
    """Return the rows and genes of a view of a backed or lazy `AnnData`."""
    whole = view._adata_ref
    rows = np.arange(whole.n_obs, dtype=np.int64)[view._oidx]
    genes = options.genes
    if options.x == "X" or options.x.startswith("layers/"):
        columns = np.arange(whole.n_vars)[view._vidx]
        if len(np.unique(columns)) != len(columns):
            raise FileFormatError(
                f"the AnnData is a view of {view.filename} that repeats genes; repeat"
                " them in batches, with a batch_transform"
            )
        names = np.array([str(name) for name in view.var_names], object)
        if genes is not None:
            picked = join_genes(["the view"], [names], "exact", genes)
            columns = columns[picked.stored_columns(0)]
        genes = columns if len(columns) < whole.n_vars or genes is not None else None
        if genes is None and np.any(columns[1:] < columns[:-1]):
            genes = columns
    own = replace(options, genes=genes, obs=(), categories=None, obs_names=False)
    nameless = MemoryText([], "obs_names")
    source = join_files([locate_in_file(whole, {}, nameless, own)], own)
    return ChosenRowsSource(source, rows, obs)


def text_of_names(names: "pd.Index[Any]") -> MemoryText:
    """Return the names of cells as text."""
    return MemoryText([str(name) for name in names], "obs_names")


def _find_matrix(adata: "AnnData", folder: str, key: str) -> tuple[Any, Any]:
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
        if not hasattr(matrix, "to_numpy"):
            matrix = matrix.to_memory()  # one that is read lazily
        return matrix.to_numpy(), matrix.columns
    return matrix, [f"{key}{i + 1}" for i in range(matrix.shape[1])]


def columns_of(obs: "pd.DataFrame", options: OpenOptions) -> dict[str, Column]:
    """Return the columns of a data frame that were asked for."""
    known = list(obs.columns)
    for name in () if options.obs is True else options.obs:
        if name not in known:
            raise MissingNameError(
                f'the AnnData has no obs column "{name}"; {nearest(name, known)}'
            )
    names = known if options.obs is True else options.obs
    return {name: _column(obs[name], name) for name in names}


def _column(series: "pd.Series[Any]", name: str) -> Column:
    import pandas as pd

    if series.ndim != 1:
        return Unreadable(f"there are {series.shape[1]} columns of this name")
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy()
        labels = series.cat.categories.tolist()
        return LabelColumn(MemoryArray(codes, name), labels, bool(series.cat.ordered))
    if isinstance(dtype, np.dtype) and dtype.kind in "biufc":
        return NumberColumn(MemoryArray(series.to_numpy(), name))
    missing = series.isna().to_numpy()
    kinds = pd.api.types
    is_number = kinds.is_numeric_dtype(dtype) or kinds.is_bool_dtype(dtype)
    if is_number and hasattr(dtype, "numpy_dtype"):
        own = np.dtype(dtype.numpy_dtype)
        values = series.to_numpy(dtype=own, na_value=own.type(0))
        return NumberColumn(MemoryArray(values, name), MemoryArray(missing, name))
    values = series.to_numpy(object)
    text = [None if gone else x for x, gone in zip(values, missing, strict=True)]
    if all(x is None or isinstance(x, str) for x in text):
        return text_column(MemoryText(text, name))
    return Unreadable(f"it is {dtype}")
