"""What a data set can see of who uses it: uses that would give wrong batches.

A data set is not told how a ``DataLoader`` makes batches of its elements, nor that
accelerate deals the batches of one rank out to all; the frame that calls it shows both.
Where another release calls otherwise nothing is found, and nothing is said.
"""

import warnings
from types import FrameType

from scdataset_core import StateError

__all__ = ["check_not_dealt_again", "warn_of_batches_of_batches"]

# Of accelerate: the first reads on rank 0 alone, the second every rank's own in turn.
_DEALERS = ("DataLoaderDispatcher", "IterableDatasetShard")


def warn_of_batches_of_batches(caller: FrameType) -> None:
    """Warn where a ``DataLoader`` collates elements that are batches already."""
    if caller.f_code.co_name == "__init__" and caller.f_locals.get("auto_collation"):
        warnings.warn(
            "the elements of the data set are batches already, and this DataLoader"
            " makes batches of them, with one more dimension; give it batch_size=None",
            UserWarning,
            stacklevel=3,
        )


def check_not_dealt_again(caller: FrameType, world_size: int) -> None:
    """Raise where accelerate is about to deal out what the ranks share already.

    Parameters
    ----------
    caller
        The frame that sets the epoch, as accelerate does before it iterates.
    world_size
        Ranks among which the data set has divided the epoch.
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
