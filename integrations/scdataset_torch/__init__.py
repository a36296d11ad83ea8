"""PyTorch adapter: it hands a Loader's minibatches to a ``DataLoader``."""

from scdataset_core.optional import naming_extra as _naming_extra

with _naming_extra("torch", extra="torch", needed_by="The modules of scdataset_torch"):
    import torch  # noqa: F401  imported first so that its absence is named

from .collate import to_tensors
from .compat.scdataset import scDataset
from .dataset import LoaderDataset
from .device import to_device
from .states import merge_dataloader_states

__all__ = [
    "LoaderDataset",
    "merge_dataloader_states",
    "scDataset",
    "to_device",
    "to_tensors",
]
