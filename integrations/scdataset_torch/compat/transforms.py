"""The transforms of `scdataset` 0.3."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .multiindexable import MultiIndexable

__all__ = ["adata_to_mindex", "bionemo_to_tensor", "hf_tahoe_to_tensor"]


def adata_to_mindex(batch: Any, columns: Sequence[str] | None = None) -> MultiIndexable:
    """Return the dense X of an AnnData batch, and obs columns, as a MultiIndexable.

    Parameters
    ----------
    batch
        An AnnData object, backed or not, or a view of an AnnCollection.
    columns
        Names of the obs columns to take along.

    Returns
    -------
    batch
        A MultiIndexable with ``"X"`` and the columns as keys.
    """
    for load in ("to_adata", "to_memory"):
        if hasattr(batch, load):
            batch = getattr(batch, load)()
            break
    X = batch.X
    parts = {"X": X.toarray() if hasattr(X, "toarray") else X}
    for column in columns or ():
        parts[column] = batch.obs[column].values
    return MultiIndexable(parts)


def hf_tahoe_to_tensor(batch: Any, num_genes: int = 62713) -> torch.Tensor:
    """Return cells of the Tahoe-100M data set on Hugging Face as dense float32 rows.

    Parameters
    ----------
    batch
        A dict with the lists ``"genes"`` and ``"expressions"``, or a list of dicts with
        one cell each.
    num_genes
        Number of columns of the result.

    Returns
    -------
    x
        Tensor of shape ``(cells, num_genes)``.

    Raises
    ------
    ValueError
        If `batch` is neither a dict nor a list.
    """
    if isinstance(batch, Mapping):
        genes, values = batch["genes"], batch["expressions"]
    elif isinstance(batch, list):
        genes = [cell["genes"] for cell in batch]
        values = [cell["expressions"] for cell in batch]
    else:
        raise ValueError(
            "Batch must be a dictionary or a list of dictionaries, got"
            f" {type(batch).__name__}"
        )
    rows = np.repeat(np.arange(len(genes)), [len(cell) for cell in genes])
    dense = np.zeros((len(genes), num_genes), np.float32)
    dense[rows, np.concatenate(genes)] = np.concatenate(values)
    return torch.from_numpy(dense)


def bionemo_to_tensor(data_collection: Any, idx: Any) -> torch.Tensor:
    """Return cells of a BioNeMo SingleCellMemMapDataset as dense rows.

    Give this function to `scDataset` as `fetch_callback`.

    Parameters
    ----------
    data_collection
        The SingleCellMemMapDataset.
    idx
        A row, a slice, or a list, array or tensor of rows.

    Raises
    ------
    ImportError
        If `bionemo-scdl` is not installed.
    TypeError
        If `idx` is of another type.
    """
    try:
        from bionemo.scdl.util.torch_dataloader_utils import (
            collate_sparse_matrix_batch,
        )
    except ImportError as error:
        raise ImportError(
            "bionemo_to_tensor requires the bionemo-scdl package; install it with"
            " `pip install bionemo-scdl`"
        ) from error
    if isinstance(idx, int | np.integer):
        rows = [int(idx)]
    elif isinstance(idx, slice):
        rows = list(range(*idx.indices(len(data_collection))))
    elif isinstance(idx, list | np.ndarray | torch.Tensor):
        rows = [int(row) for row in idx]
    else:
        raise TypeError(f"Unsupported index type: {type(idx)}")
    cells = [data_collection[row] for row in rows]
    dense: torch.Tensor = collate_sparse_matrix_batch(cells).to_dense()
    return dense
