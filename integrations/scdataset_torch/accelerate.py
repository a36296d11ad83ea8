"""Hugging Face accelerate, and transformers' Trainer: each rank reads its own share.

By itself ``accelerator.prepare`` reads an iterable data set on rank 0 alone and deals
its batches out, in pieces. What this makes is prepared already: every rank reads what
the data set has taken as its share.
"""

from typing import Any

import torch

from scdataset_core.checks import install_command

from .dataset import ShardedDataset
from .misuse import check_dataloader_options

try:
    from accelerate import PartialState
    from accelerate.data_loader import DataLoaderShard
except ModuleNotFoundError as err:
    if err.name != "accelerate":
        raise
    raise ModuleNotFoundError(
        "scdataset_torch.accelerate needs accelerate; "
        f"install it with `{install_command('accelerate')}`",
        name="accelerate",
    ) from err

__all__ = ["rank_dataloader"]


def rank_dataloader(
    dataset: ShardedDataset,
    device: torch.device | str | int | None = None,
    **options: Any,
) -> Any:
    """Return accelerate's own DataLoader over this rank's share of a data set.

    ``accelerator.prepare`` leaves it as it is. It moves batches to the device, tells
    accelerate where an epoch ends, and starts each iteration at its own epoch, also
    where ``accelerate.skip_first_batches`` or a resumed ``Trainer`` goes on.

    Parameters
    ----------
    dataset
        A :class:`scdataset_torch.LoaderDataset`, made once accelerate has set up its
        processes (after ``Accelerator()``, or within the ``Trainer``).
    device
        Where batches go, as ``accelerator.device`` or ``args.device``; by default they
        stay on the CPU.
    **options
        Of ``DataLoader``: num_workers, pin_memory, persistent_workers, ...

    Returns
    -------
    batches
        An ``accelerate.data_loader.DataLoaderShard``.

    Raises
    ------
    TypeError
        If `dataset` is none of this package, or an option would make batches of
        batches.
    ValueError
        If it was made for another number of ranks than accelerate has.

    Examples
    --------
    >>> import numpy as np
    >>> from scdataset_core import Loader
    >>> from scdataset_torch import LoaderDataset
    >>> dataset = LoaderDataset(Loader(np.arange(10), batch_size=4))
    >>> [len(batch) for batch in rank_dataloader(dataset)]
    [4, 4, 2]
    """
    if not isinstance(dataset, ShardedDataset):
        raise TypeError(
            f"dataset must be a LoaderDataset, got {type(dataset).__name__}; wrap the"
            " Loader, LoaderDataset(loader)"
        )
    check_dataloader_options(options)
    n_ranks = PartialState().num_processes
    if dataset.world_size != n_ranks:
        raise ValueError(
            f"the data set is divided among {dataset.world_size} ranks, and accelerate"
            f" has {n_ranks}; make the LoaderDataset after Accelerator(), without"
            " ranks=False"
        )
    batches = DataLoaderShard(
        dataset,
        device=None if device is None else torch.device(device),
        batch_size=None,
        iteration=dataset.next_epoch,
        **options,
    )
    # What accelerate sets itself; `prepare` returns as it is what has it.
    batches._is_accelerate_prepared = True
    return batches
