"""Check the Loader that an adapter is given, and resume it: adapters share these.

The packages ``scdataset_torch``, ``scdataset_grain`` and ``scdataset_generators`` call
this module; nothing in the core does.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from .loader import Loader
from .shares import Shard
from .splits import Split
from .strategies import BlockShuffling, Streaming
from .strategy_orders import check_is_instance

__all__ = [
    "check_loader",
    "check_undivided",
    "load_rest_of_epoch",
    "loaders_of_split",
    "separate_options",
]


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


def separate_options(
    options: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of a Loader among those of a Loader and a framework.

    Parameters
    ----------
    options
        Keyword arguments that the user gave. Those that divide a Loader's work, such as
        ``num_workers``, are the framework's.

    Returns
    -------
    own, others
        The options of the Loader, and the rest.
    """
    names = set(inspect.signature(Loader).parameters)
    names -= {"source", "strategy", "unknown", *vars(Shard())}
    own = {name: value for name, value in options.items() if name in names}
    return own, {name: x for name, x in options.items() if name not in names}


def loaders_of_split(
    split: Split, strategy: Any, options: Mapping[str, Any]
) -> dict[str, Loader]:
    """Return a Loader for each part of a split.

    Parameters
    ----------
    split
        The split, with its source.
    strategy
        How the part called ``train`` is drawn; ``BlockShuffling()`` if None. Any: one
        of this library, or a user's own with a method `restrict`. The other parts are
        read in the order of the file.
    options
        Options of the Loaders. ``drop_last`` is for training alone: the other parts
        are evaluated whole.

    Raises
    ------
    TypeError
        If the strategy cannot be restricted to the rows of a part.

    Examples
    --------
    >>> import numpy as np
    >>> from scdataset_core import split
    >>> parts = split(np.arange(10), {"train": 0.8, "test": 0.2})
    >>> loaders = loaders_of_split(parts, None, {"batch_size": 4})
    >>> {name: len(loader) for name, loader in loaders.items()}
    {'train': 2, 'test': 1}
    """
    strategy = BlockShuffling() if strategy is None else strategy
    check_is_instance(strategy)
    if not hasattr(strategy, "restrict"):
        raise TypeError(
            f"{strategy!r} has no method restrict(rows), which returns it for the rows"
            " of a part; make a Loader for each part"
        )
    loaders = {}
    for name, rows in split.items():
        if name == "train":
            loader = Loader(split.source, strategy.restrict(rows), **options)
        else:
            whole = {**options, "drop_last": False}
            loader = Loader(split.source, Streaming(indices=rows), **whole)
        loaders[name] = loader
    return loaders
