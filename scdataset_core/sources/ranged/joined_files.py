"""The source over files whose parts are known: their genes and labels are joined."""

from collections.abc import Sequence

from ..genes.joins import join_genes
from ..obs.joined_columns import join_obs
from ..options import OpenOptions
from .cell_file import CellFile
from .stored_source import StoredSource

__all__ = ["join_files"]


def join_files(
    parts: Sequence[CellFile], options: OpenOptions, *, notices: Sequence[str] = ()
) -> StoredSource:
    """Return the source over files, one after the other.

    Parameters
    ----------
    parts
        Where everything lies in each file.
    options
        How genes are joined, and which genes and labels are kept.
    notices
        What the user is warned of, besides what is noticed of the labels.
    """
    files = [part.file for part in parts]
    genes = join_genes(
        files, [part.var_names for part in parts], options.join, options.genes
    )
    obs = join_obs(files, [part.obs for part in parts], options.obs, options.categories)
    return StoredSource(
        parts, genes, obs, x=options.x, notices=notices, cache=options.cache
    )
