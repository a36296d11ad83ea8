"""Detect uses of a dataset that would give wrong batches, and name the right use.

Neither a ``DataLoader`` nor accelerate tells a dataset that it will make batches of its
batches, or deal out one rank's batches to all ranks. The calling stack frame shows
both. If another release of theirs calls in another way, these functions find nothing
and raise nothing.
"""

import warnings
from collections.abc import Mapping
from types import FrameType
from typing import Any

from scdataset_core import Loader, StateError

__all__ = [
    "check_dataloader_options",
    "check_has_index",
    "check_not_dealt_again",
    "warn_of_batches_of_batches",
]

# Classes of accelerate that divide a dataset's batches among the ranks: the first reads
# on rank 0 alone, the second reads on every rank and takes every n-th batch.
_DEALERS = ("DataLoaderDispatcher", "IterableDatasetShard")
_BATCH_OPTIONS = {"batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"}


def check_dataloader_options(options: Mapping[str, Any]) -> None:
    """Raise if options of a ``DataLoader`` would make batches, as the Loader does.

    Parameters
    ----------
    options
        The keyword arguments that the user gave for a ``DataLoader``.

    Raises
    ------
    TypeError
        If one of them belongs to the Loader.
    """
    for name in sorted(_BATCH_OPTIONS & set(options)):
        raise TypeError(f"{name} is the Loader's to decide; give it to the Loader")


def check_has_index(loader: Loader) -> None:
    """Raise if the minibatches of a Loader will not be dicts with an "index".

    What hooks make of them is seen when they come.

    Raises
    ------
    ValueError
        If they will not.
    """
    is_plain = all(hook is None for hook in vars(loader.hooks).values())
    if is_plain and loader.output in (None, "anndata"):
        what = type(loader.source).__name__ if loader.output is None else "AnnData"
        raise ValueError(
            'evaluation=True sets batch["index"] to -1 where another rank has the same'
            f" rows, and batches of {what} have none; use the dict batches of a source,"
            ' scdataset_core.open(...), and any output= but "anndata"'
        )


def warn_of_batches_of_batches(caller: FrameType) -> None:
    """Warn if a ``DataLoader`` is about to collate elements that are batches already.

    Parameters
    ----------
    caller
        The frame that makes an iterator of the dataset.
    """
    if caller.f_code.co_name == "__init__" and caller.f_locals.get("auto_collation"):
        warnings.warn(
            "the elements of the data set are batches already, and this DataLoader"
            " makes batches of them, with one more dimension; give it batch_size=None",
            UserWarning,
            stacklevel=3,
        )


def check_not_dealt_again(caller: FrameType, world_size: int) -> None:
    """Raise if accelerate is about to divide among the ranks what is divided already.

    Parameters
    ----------
    caller
        The frame that sets the epoch; accelerate sets it before it iterates.
    world_size
        Number of ranks among which the dataset has divided the epoch.

    Raises
    ------
    StateError
        If the caller divides batches among ranks, and the dataset has done so too.
    """
    dealer = type(caller.f_locals.get("self"))
    if world_size == 1 or dealer.__name__ not in _DEALERS:
        return
    raise StateError(
        f"accelerate's {dealer.__name__} deals the batches of one rank out to all, and"
        f" this data set has taken one rank's share of {world_size} already, so that"
        " the cells of the others would never be seen; give accelerate the DataLoader"
        " that scdataset_torch.accelerate.rank_dataloader(dataset, device) makes, or"
        " leave the dealing to accelerate with LoaderDataset(loader, ranks=False)"
    )
