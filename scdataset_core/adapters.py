"""Check the Loader that an adapter is given, and resume it: adapters share these.

The packages ``scdataset_torch``, ``scdataset_grain`` and ``scdataset_generators`` call
this module; nothing in the core does.
"""

from collections.abc import Mapping
from typing import Any

from .loader import Loader

__all__ = ["check_loader", "check_undivided", "load_rest_of_epoch"]


def check_loader(loader: object, name: str = "loader") -> None:
    """Raise unless `loader` is a Loader.

    Parameters
    ----------
    loader
        The argument that the user gave.
    name
        Name of the argument, for the message.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if not isinstance(loader, Loader):
        raise TypeError(
            f"{name} must be a scdataset_core.Loader, got {type(loader).__name__};"
            " make one with Loader(source, BlockShuffling(16), batch_size=64)"
        )


def check_undivided(
    loader: Loader, next_step: str, *, ranks: bool = True, workers: bool = True
) -> None:
    """Raise if `loader` yields the share of one rank or worker only.

    An adapter that divides the work itself would divide such a loader a second time.

    Parameters
    ----------
    loader
        The Loader that the user gave.
    next_step
        What the user can do instead, for the message.
    ranks, workers
        Whether the adapter divides among ranks, and among workers.

    Raises
    ------
    ValueError
        If the loader is divided where the adapter divides too.
    """
    divided_ranks = ranks and loader.world_size != 1
    divided_workers = workers and loader.num_workers != 1
    if divided_ranks or divided_workers:
        raise ValueError(
            f"the loader is already divided: rank {loader.rank} of"
            f" {loader.world_size}, worker {loader.worker} of {loader.num_workers};"
            f" {next_step}"
        )


def load_rest_of_epoch(loader: Loader, state: Mapping[str, Any]) -> None:
    """Load a state so that the next iteration yields the rest of the state's epoch.

    After the state of a finished epoch that iteration yields nothing, whereas a Loader
    by itself goes on with the next epoch. A framework that counts epochs needs to see
    the finished one end.

    Parameters
    ----------
    loader
        The Loader to resume.
    state
        What ``state_dict()`` or ``merge_states`` returned.

    Raises
    ------
    StateError
        If the state belongs to another data set, strategy, seed, size or shard.

    Examples
    --------
    >>> import numpy as np
    >>> finished = Loader(np.arange(6), batch_size=2)
    >>> len(list(finished))
    3
    >>> resumed = Loader(np.arange(6), batch_size=2)
    >>> load_rest_of_epoch(resumed, finished.state_dict())
    >>> len(list(resumed)), len(list(resumed)), resumed.epoch
    (0, 3, 1)
    """
    loader.load_state_dict(state)
    loader.set_epoch(loader.epoch)  # keeps the position, also at the end of the epoch
