"""PyTorch adapter: it hands a Loader's minibatches to a ``DataLoader``."""

try:
    import torch  # noqa: F401  imported for its absence
except ModuleNotFoundError as err:
    if err.name != "torch":
        raise
    from scdataset_core.checks import install_command

    raise ModuleNotFoundError(
        f"scdataset_torch needs PyTorch; install it with `{install_command('torch')}`",
        name="torch",
    ) from err

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
