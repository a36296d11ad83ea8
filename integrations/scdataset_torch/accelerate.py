"""Make a DataLoader for Hugging Face accelerate and transformers' Trainer.

``accelerator.prepare`` by itself reads an iterable dataset on rank 0 alone, and sends
each rank a piece of every batch. The DataLoader made here counts as prepared already,
and on every rank it reads that rank's own share.
"""

from typing import Any

import torch

from scdataset_core.optional import naming_extra

from .dataset import ShardedDataset
from .misuse import check_dataloader_options

with naming_extra(
    "accelerate",
    extra="accelerate",
    needed_by="The functions of scdataset_torch.accelerate",
):
    from accelerate import PartialState
    from accelerate.data_loader import DataLoaderShard

__all__ = ["rank_dataloader"]


def rank_dataloader(
    dataset: ShardedDataset,
    device: torch.device | str | int | None = None,
    **options: Any,
) -> Any:
    """Return accelerate's own DataLoader over this rank's share of a dataset.

    ``accelerator.prepare`` leaves this DataLoader as it is. It moves batches to the
    device, tells accelerate where an epoch ends, and starts each iteration at its own
    epoch, also when ``accelerate.skip_first_batches`` or a resumed ``Trainer`` goes on.

    Parameters
    ----------
    dataset
        A :class:`scdataset_torch.LoaderDataset`. Make it once accelerate has set up its
        processes, after ``Accelerator()`` or ``TrainingArguments``.
    device
        Device of the batches, such as ``accelerator.device`` or ``args.device``. By
        default batches stay on the CPU.
    **options
        Options of ``DataLoader``: num_workers, pin_memory, persistent_workers, ...

    Returns
    -------
    batches
        An ``accelerate.data_loader.DataLoaderShard``.

    Raises
    ------
    TypeError
        If `dataset` is not a dataset of this package, or an option would make batches
        of batches.
    ValueError
        If `dataset` was made for another number of ranks than accelerate has.

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
    # accelerate sets this on what it has prepared, and `prepare` returns such a
    # DataLoader as it is.
    batches._is_accelerate_prepared = True
    return batches
