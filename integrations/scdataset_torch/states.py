"""States of DataLoaders: what each worker has yielded, from counts or from snapshots.

A ``DataLoader`` asks its workers for batches in turn and skips those that have none
left, so how many batches it was given says how many came from each worker.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scdataset_core import Loader, StateError, merge_states
from scdataset_core.state import State

__all__ = ["deal", "merge_dataloader_states", "repeated_of", "state_after"]


def deal(left: Sequence[int], n_batches: int, *, first: int = 0) -> list[int]:
    """Return how many of `n_batches` come from each worker, asked in turn.

    Parameters
    ----------
    left
        Batches that each worker has.
    n_batches
        Batches taken from all of them, at most ``sum(left)``.
    first
        The worker that is asked first.

    Examples
    --------
    >>> deal([4, 1, 2], 6)
    [3, 1, 2]
    """
    taken = [0] * len(left)
    turn = [(first + i) % len(left) for i in range(len(left))]
    while n_batches > 0:
        turn = [worker for worker in turn if taken[worker] < left[worker]]
        if not turn:
            raise ValueError("more batches than the workers have")
        rounds = min(left[worker] - taken[worker] for worker in turn)
        rounds = min(rounds, n_batches // len(turn))
        for worker in turn:
            taken[worker] += rounds
        n_batches -= rounds * len(turn)
        if n_batches < len(turn):
            for worker in [w for w in turn if taken[w] < left[w]][:n_batches]:
                taken[worker] += 1
                n_batches -= 1
    return taken


def left_of(state: Mapping[str, Any]) -> int:
    """Return how many batches a worker's state leaves it."""
    read = State.from_dict(state)
    if read.shard is None:
        raise StateError("a merged state belongs to no worker")
    return max(0, read.dealing().share(read.shard).n_batches - read.yielded)


def repeated_of(state: Mapping[str, Any]) -> int:
    """Return how many of a worker's batches another rank has too: its last ones."""
    read = State.from_dict(state)
    if read.shard is None:
        raise StateError("a merged state belongs to no worker")
    return read.dealing().share(read.shard).n_repeated


def advanced(states: Sequence[Mapping[str, Any]], n: int, first: int) -> list[Any]:
    """Return the states of a rank's workers `n` batches later."""
    left = [left_of(state) for state in states]
    if n > sum(left):
        raise StateError(
            f"the rank has {sum(left)} batches left in the epoch, not {n}; count the"
            " batches since the latest iteration began"
        )
    return [
        {**state, "yielded": state["yielded"] + taken}
        for state, taken in zip(states, deal(left, n, first=first), strict=True)
    ]


def state_after(
    loader: Loader, n_batches: int, *, world_size: int, num_workers: int
) -> dict[str, Any]:
    """Return the merged state once every rank has taken `n_batches`.

    Parameters
    ----------
    loader
        An unstarted loader, at the epoch in question.
    n_batches
        Batches that each rank's DataLoader has given.
    world_size, num_workers
        Ranks, and workers of each, at least 1.
    """
    states: list[Any] = []
    for rank in range(world_size):
        shards = [
            loader.shard(rank, world_size, worker, num_workers)
            for worker in range(num_workers)
        ]
        states += advanced([shard.state_dict() for shard in shards], n_batches, 0)
    return merge_states(states)


def merge_dataloader_states(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the states of every rank's ``StatefulDataLoader`` into one.

    A ``StatefulDataLoader`` goes on only with as many workers as it had. For any other
    number of ranks or workers, give the result to ``loader.load_state_dict`` and wrap
    the loader anew.

    Parameters
    ----------
    states
        What ``state_dict()`` of the ``StatefulDataLoader`` over a
        :class:`LoaderDataset` returned on each rank, in any order.

    Returns
    -------
    state
        A state for :meth:`scdataset_core.Loader.load_state_dict`.

    Raises
    ------
    StateError
        If one is no such state, or a rank is missing.
    TypeError
        If they are not a list of dicts.
    """
    if isinstance(states, Mapping):
        raise TypeError("states must be a list of the states of all ranks, got one")
    found: list[Any] = []
    for state in states:
        found += _worker_states(state)
    return merge_states(found)


def _worker_states(state: Mapping[str, Any]) -> list[Any]:
    """Return the Loader states in one rank's StatefulDataLoader state."""
    if not isinstance(state, Mapping):
        raise TypeError(f"a state is a dict, got {type(state).__name__}: {state!r:.60}")
    snapshot = state.get("_snapshot")
    if snapshot is None:  # of a StatefulDataLoader without workers
        return [_dataset_state(state)]
    workers = snapshot.get("_worker_snapshots")
    if not workers:
        return [_dataset_state(snapshot)]
    found = [
        _dataset_state(workers[key])
        for key in sorted(workers, key=lambda key: int(key.rpartition("_")[2]))
    ]
    first = (snapshot["_last_yielded_worker_id"] + 1) % len(found)
    return advanced(found, state.get("_steps_since_snapshot", 0), first)


def _dataset_state(state: Mapping[str, Any]) -> Any:
    """Return the Loader state in it; Any: checked where states are read."""
    found = state.get("dataset_state")
    if found is None:
        raise StateError(
            "this is no state of a StatefulDataLoader over a LoaderDataset: it has no"
            ' "dataset_state"; for states of Loaders use scdataset_core.merge_states'
        )
    return found
