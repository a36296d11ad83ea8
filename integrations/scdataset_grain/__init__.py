"""Grain and JAX adapter: it hands a Loader's minibatches to Grain pipelines."""

try:
    import grain  # noqa: F401  imported for its absence
    import jax  # noqa: F401
except ModuleNotFoundError as err:
    if err.name not in ("grain", "jax"):
        raise
    from scdataset_core.checks import install_command

    raise ModuleNotFoundError(
        "scdataset_grain needs Grain and JAX; "
        f"install them with `{install_command('grain')}`",
        name=err.name,
    ) from err

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
