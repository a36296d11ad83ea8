"""`AnnCollection` objects, several AnnData as one, and their views."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FileFormatError
from ..base import Source
from ..combined.chosen_rows import ChosenRowsSource
from ..combined.one_after_another import concat
from ..options import OpenOptions
from ..ranged.stored_source import join_files
from .anndata_object import (
    columns_of,
    is_in_file,
    locate_in_file,
    open_with,
    text_of_names,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata.experimental import AnnCollection

__all__ = ["open_collection"]


def open_collection(obj: Any, options: OpenOptions) -> Source:
    """Return the source over an `AnnCollection` or a view of one.

    Labels are taken from the collection; X is read from the files of backed members
    and from the memory of the others.
    """
    whole = getattr(obj, "reference", obj)
    if obj.convert is not None:
        raise FileFormatError(
            "the AnnCollection has convert functions, which are not applied to what is"
            " read here; set convert=None, and give them to the Loader as"
            " batch_transform"
        )
    source = _open_whole(whole, _with_genes(obj, whole, options))
    if whole is obj:
        return source
    return ChosenRowsSource(source, np.arange(len(whole), dtype=np.int64)[obj.oidx])


def _with_genes(obj: Any, whole: "AnnCollection", options: OpenOptions) -> OpenOptions:
    """Return options that name the genes of the collection or view."""
    names = [str(name) for name in obj.var_names]
    same = all(vidx is None for vidx in whole.adatas_vidx)
    join = replace(options, join="exact" if same else "inner")
    of_genes = options.x == "X" or options.x.startswith("layers/")
    if not of_genes or (same and names == [str(name) for name in whole.var_names]):
        return join
    genes = options.genes
    if genes is None:
        return replace(join, genes=names)
    wanted = np.asarray(genes)
    if wanted.dtype.kind in "iu":
        return replace(join, genes=[names[position] for position in wanted.tolist()])
    missing = [name for name in wanted.tolist() if name not in set(names)]
    if missing:
        raise FileFormatError(
            f"{len(missing)} of genes are not in the AnnCollection, the first is"
            f' "{missing[0]}"'
        )
    return join


def _open_whole(collection: "AnnCollection", options: OpenOptions) -> Source:
    frame = _obs_of(collection)
    stops = collection.limits
    slices = [slice(a, b) for a, b in zip([0, *stops[:-1]], stops, strict=True)]
    members = list(zip(collection.adatas, slices, strict=True))
    if all(is_in_file(adata, options) and not adata.is_view for adata, _ in members):
        cell_files = [
            locate_in_file(
                adata,
                columns_of(frame.iloc[rows], options),
                text_of_names(collection.obs_names[rows]),
                options,
            )
            for adata, rows in members
        ]
        return join_files(cell_files, options)
    sources = [
        open_with(adata, frame.iloc[rows], collection.obs_names[rows], options)
        for adata, rows in members
    ]
    return concat(sources, join=options.join)


def _obs_of(collection: "AnnCollection") -> "pd.DataFrame":
    """Return the labels of a collection, also those that only its views have."""
    import pandas as pd

    lazy = collection._view_attrs_keys.get("obs", ())
    if not lazy:
        return collection.obs
    held = [adata.obs[list(lazy)] for adata in collection.adatas]
    joined = pd.concat([*held], ignore_index=True)
    for name in collection.obs.columns:
        joined[name] = collection.obs[name].to_numpy()
    return joined
