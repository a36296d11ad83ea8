"""`MuData` objects: the modalities of the same cells side by side."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..anndata_files.cell_names import CellNames
from ..anndata_files.modalities import (
    check_mudata,
    columns_of_modality,
    order_of_rows,
    row_order,
    without_labels,
)
from ..base import Source
from ..combined.chosen_rows import ChosenRowsSource
from ..combined.side_by_side import SideBySideSource
from ..obs.joined_columns import join_obs
from ..obs.obs_readers import FileObs
from ..options import OpenOptions
from ..rows import Rows
from .anndata_object import columns_of, open_anndata, text_of_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["open_mudata"]


def open_mudata(mdata: Any, options: OpenOptions) -> SideBySideSource:
    """Return the modalities of a `MuData` side by side."""
    check_mudata(options, getattr(mdata, "axis", 0), "the MuData")
    own = without_labels(options)
    parts: dict[str, Source] = {}
    frame = mdata.obs
    for name, adata in mdata.mod.items():
        at = _row_order(mdata, name, adata.obs_names)
        source = open_anndata(adata, own)
        parts[name] = source if at is None else ChosenRowsSource(source, at)
        rows = np.arange(adata.n_obs) if at is None else at
        for column in columns_of_modality(options, name):
            if f"{name}:{column}" not in frame and column in adata.obs:
                values = adata.obs[column].iloc[rows].set_axis(frame.index)
                frame = frame.assign(**{f"{name}:{column}": values})
    names = text_of_names(mdata.obs_names) if options.obs_names else None
    columns = [columns_of(frame, options)]
    table = join_obs(["the MuData"], columns, options.obs, options.categories)
    starts = np.array([0, mdata.n_obs], np.int64)
    return SideBySideSource(
        parts, FileObs(table, None if names is None else [names], starts)
    )


def _row_order(mdata: Any, name: str, own: "pd.Index[Any]") -> Rows | None:
    """Return each cell's row in a modality; None if the order is the same."""
    cells: pd.Index[Any] = mdata.obs_names
    if cells.is_unique and own.is_unique:
        # By name: the map is stale where a modality was changed since update().
        at = None if cells.equals(own) else own.get_indexer(cells).astype(np.int64)
        return at if at is None else order_of_rows(at, len(own), name, "the MuData")
    names = CellNames(text_of_names(cells)), CellNames(text_of_names(own))
    return row_order(np.asarray(mdata.obsmap[name]), *names, name, "the MuData")
