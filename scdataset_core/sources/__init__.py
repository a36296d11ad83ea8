"""Cells where they lie: `open` turns paths and objects into sources."""

import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Never

from ..foreign_keywords import check_keywords
from ..storage.cache import Cache
from ..storage.remote.object_store import ObjectStore
from .base import Source
from .formats import is_index, what_x_can_be
from .options import Genes, Join, OpenOptions, is_matrix_name
from .paths import paths_of
from .remote_data import find_remote, is_remote
from .reopening import Opening, Reopening

__all__ = ["Source", "open"]


def open(
    data: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | object",
    *,
    obs: Literal[True] | str | Sequence[str] | None = None,
    x: str | Sequence[str] = "X",
    join: Join = "exact",
    genes: Genes | None = None,
    categories: Mapping[str, Sequence[Any]] | None = None,
    allow_external: bool = False,
    obs_names: bool = False,
    vocabulary: Mapping[int, str] | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
    cache: "Cache | str | os.PathLike[str] | None" = None,
    storage_options: Mapping[str, Any] | None = None,
    isolated: bool = False,
    **unknown: Never,
) -> Source:
    """Open files, or an object in memory, as one source of cells.

    Nothing is converted or copied: rows are read from the files when asked for.

    Parameters
    ----------
    data
        A path, a glob (its matches sorted as strings), a list of paths and globs (their
        order kept); the same with URLs (``s3://``, ``gs://``, ``az://``, ``https://``,
        ``http://``) of ``.h5ad``, ``.h5mu`` and zarr; ``(store, path)`` with a store of
        obstore, a file object of fsspec or one like it, and lists of these; or an
        object in memory: a NumPy array or memmap ``(cells, genes)``, a SciPy CSR
        matrix or array, an `AnnData` (in memory, backed, a view, or read lazily), an
        `AnnCollection`, a `MuData`, an open `h5py.File`, a group of one laid out like
        it, or a data set, a `zarr.Group`, a Hugging Face `Dataset`, a TileDB-SOMA
        `Experiment` or `ExperimentAxisQuery`, a :class:`scdataset_core.MultiIndexable`
        of objects and sources of the same cells, or any object with ``len()`` whose
        ``obj[rows]`` is an array or CSR matrix.
    obs
        Names of the obs columns to carry; True for all that can be carried, with a
        warning that names the others; none by default.
    x
        Which matrix to read: ``"X"``, ``"raw/X"``, ``"layers/NAME"`` or
        ``"obsm/NAME"``, whose columns are called ``NAME1``, ``NAME2``, ... if it is no
        data frame; with TileDB-SOMA also ``"ms/MEASUREMENT/X"`` and the like. A list
        of these gives them side by side: ``batch["X"]`` is then a dict by these names,
        and ``source.parts`` has a source for each.
    join
        How the genes of several files are joined: ``"exact"`` demands the same genes
        in the same order, ``"inner"`` keeps those that all files have, in the order of
        the first, ``"outer"`` those that any has, in the order in which they first
        appear; where a file has none, its values are 0.
    genes
        Names or positions of the genes to keep, in the order wanted; all by default.
        Only these columns are kept in memory.
    categories
        A saved vocabulary, ``source.categories`` of another source: labels keep the
        codes they have there. Other labels get -1, with one warning that counts them.
    allow_external
        Whether to follow names in files that lead to other files: HDF5 external links
        and virtual data sets, members of TileDB-SOMA elsewhere, and paths in the list
        of a saved Hugging Face data set.
    obs_names
        Whether to carry the names of the cells into ``output="anndata"``.
    vocabulary
        For tables (Hugging Face, Parquet, Arrow), which hold genes by number: the name
        of each, ``{3: "TSPAN6", ...}``, or a list of names from gene 0 on. The genes
        come in the order of their numbers.
    columns
        For tables, the columns that hold X if they have names of their own: one of
        dense rows, two of gene ids and values, or three of cell, gene and value.
    cache
        For compressed ``.h5ad``, ``.h5mu`` and zarr, where to keep what was decoded,
        so that it is read like uncompressed data from then on: a folder, or a
        :class:`scdataset_core.Cache` with a limit. Batches are the same without it.
    storage_options
        For URLs, the keyword arguments of obstore's store class (``S3Store``,
        ``GCSStore``, ``AzureStore``, ``HTTPStore``): credentials, region, endpoint,
        headers, retries. They are shown and saved nowhere.
    isolated
        For ``.h5ad`` and ``.h5mu`` of doubtful origin: whether HDF5, which a damaged
        file may crash or send round for ever, runs in a child process alone. What the
        file says of itself and its text are read there; rows are read here, without
        HDF5. The child is started once in a process, for all files, in about 0.4 s.
        Arrow looks at footers of Parquet files there first, and TileDB at experiments,
        whose cells are read there too. Other formats are opened as without it; objects
        and URLs are refused.

    Returns
    -------
    source
        The cells of all files, one after the other.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or nothing matches the glob.
    FileFormatError
        If a file is not of a known format, is cut short, or has no such X.
    StoreError
        If an object store gives no answer, or refuses one.
    CorruptFileError
        If a file's bytes contradict its own description; with `isolated`, also if HDF5
        crashed, or did not come to an end.
    MissingNameError
        If there is no obs column, layer or gene of a name; it names the nearest.
    GeneMismatchError
        If files disagree in their genes.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> source = scd.open("plates/*.h5ad", obs=["cell_line", "drug"])
    >>> source.shape
    (1200, 300)
    >>> cells = source.read([0, 5, 1199])
    >>> cells["X"].shape
    (3, 300)
    >>> source.categories["drug"]
    ['Afatinib', 'Bortezomib', 'DMSO']
    """
    check_keywords(unknown, inspect.signature(open).parameters, of="open")
    for name in x if isinstance(x, list | tuple) else (x,):
        if not is_matrix_name(name):
            limits = {"allow_external": allow_external, "isolated": isolated}
            raise ValueError(what_x_can_be(name, data, storage_options, **limits))
    kept = None if cache is None else Cache.of(cache)
    paths, store = _find(data, storage_options, kept, allow_external=allow_external)
    options = OpenOptions.of(
        obs,
        x=x if isinstance(x, str) else "X",
        join=join,
        genes=genes,
        categories=categories,
        allow_external=allow_external,
        obs_names=obs_names,
        vocabulary=vocabulary,
        columns=columns,
        cache=kept,
        store=store,
        isolated=isolated,
        storage_options=None if store is not None else storage_options,
    )
    several = None if isinstance(x, str) else x
    opening = Opening(paths, None if store is not None else data, several)
    source = opening.open(options)
    source.reopened = Reopening(
        opening, options, () if source.indexed else source.files
    )
    for notice in source.notices:
        warnings.warn(notice, stacklevel=2)
    return source


def _find(
    data: object,
    storage_options: Mapping[str, Any] | None,
    cache: Cache | None,
    *,
    allow_external: bool,
) -> tuple[list[str] | None, ObjectStore | None]:
    """Return the paths that data stands for, if it does, and the store of URLs."""
    if storage_options is not None and not isinstance(storage_options, Mapping):
        raise TypeError(
            "storage_options must be a dict, the keyword arguments of obstore's store"
            f" class, got {type(storage_options).__name__}"
        )
    if is_remote(data):
        if allow_external:
            raise ValueError(
                "allow_external goes with local files: links of an object in a store"
                " lead nowhere; leave it out"
            )
        return find_remote(data, storage_options, cache)
    paths = paths_of(data)
    if storage_options and not is_index(data, paths):
        raise ValueError(
            "storage_options go with URLs (s3://, gs://, az://, https://, http://), and"
            " what is to be opened has none; leave them out"
        )
    return paths, None
