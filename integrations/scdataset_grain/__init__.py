"""Grain and JAX adapter: it hands a Loader's minibatches to Grain pipelines."""

from scdataset_core.optional import naming_extra as _naming_extra

with _naming_extra(
    "grain", "jax", extra="grain", needed_by="The modules of scdataset_grain"
):
    import grain  # noqa: F401  imported first so that its absence is named
    import jax  # noqa: F401

from .batches import BatchIterDataset
from .cell_source import CellSource
from .device import device_prefetch
from .fetches import FetchDataset, SplitFetches
from .matrices import densify, to_sparse
from .states import loader_states

__all__ = [
    "BatchIterDataset",
    "CellSource",
    "FetchDataset",
    "SplitFetches",
    "densify",
    "device_prefetch",
    "loader_states",
    "to_sparse",
]
