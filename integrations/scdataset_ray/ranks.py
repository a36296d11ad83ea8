"""Find the rank of this worker of Ray Train, and give it its share of a Loader."""

from typing import NamedTuple

import ray.train

from scdataset_core import Loader
from scdataset_core.adapters import check_loader, check_undivided
from scdataset_core.dealing import Shard
from scdataset_core.thread_count import choose_threads

__all__ = ["Ranks", "find_ranks", "shard"]


class Ranks(NamedTuple):
    """The rank of a worker of Ray Train, and how many workers there are.

    Attributes
    ----------
    rank
        The rank of this worker.
    world_size
        Number of workers.
    n_here
        Number of workers on the same machine.
    """

    rank: int
    world_size: int
    n_here: int


def find_ranks() -> Ranks | None:
    """Return the rank of this worker; None outside of a training function."""
    try:
        context = ray.train.get_context()
        rank, world_size = context.get_world_rank(), context.get_world_size()
        if rank is None or world_size is None:
            return None  # what the first generation of Ray Train says outside
        return Ranks(int(rank), int(world_size), int(context.get_local_world_size()))
    except RuntimeError:
        return None


def shard(loader: Loader) -> Loader:
    """Return a copy of the Loader that yields the share of this worker of Ray Train.

    Call it in the training function. Rank and number of workers are those of
    ``ray.train.get_context()``. Nothing else is needed of Ray: the copy is iterated in
    the worker, and reads the files itself, with this worker's part of the cores of its
    machine unless the Loader was given `threads`.

    Parameters
    ----------
    loader
        A Loader of all ranks. If a merged state is loaded in it, as by :func:`restore`,
        the copy goes on from that state.

    Returns
    -------
    share
        An unstarted copy at the same epoch. The union of the copies of all workers is
        the epoch, for any number of workers, and each minibatch is the one that the
        Loader itself yields.

    Raises
    ------
    TypeError
        If `loader` is not a Loader.
    ValueError
        If `loader` yields the share of one rank already.
    RuntimeError
        If this is not a worker of Ray Train.
    """
    check_loader(loader)
    check_undivided(
        loader, "give one of all ranks; shard() finds the rank in Ray Train"
    )
    ranks = find_ranks()
    if ranks is None:
        raise RuntimeError(
            "shard() finds its rank in a worker of Ray Train, and this process is none;"
            " call it inside the training function (train_loop_per_worker), or"
            " loader.shard(rank, world_size) elsewhere"
        )
    share = loader.shard(ranks.rank, ranks.world_size)
    share.threads = choose_threads(
        loader.threads, Shard(ranks.rank, ranks.world_size), n_ranks_here=ranks.n_here
    )
    return share
