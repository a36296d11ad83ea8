"""Compute the merged state of a DataLoader's workers, from a count or from snapshots.

A ``DataLoader`` asks its workers for batches in turn, and skips workers that have none
left. So the number of batches it has given says how many came from each worker.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scdataset_core import Loader, StateError, merge_states
from scdataset_core.state import State, advance_all

__all__ = [
    "RepeatedMarker",
    "compute_state_after",
    "count_by_worker",
    "count_repeated",
    "merge_dataloader_states",
]


def count_by_worker(
    left: Sequence[int], n_batches: int, *, first: int = 0
) -> list[int]:
    """Return how many of `n_batches` come from each worker if they are asked in turn.

    Parameters
    ----------
    left
        Number of batches that each worker has left.
    n_batches
        Number of batches taken from all workers, at most ``sum(left)``.
    first
        The worker that is asked first.

    Examples
    --------
    >>> count_by_worker([4, 1, 2], 6)
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


def _count_left(state: Mapping[str, Any]) -> int:
    """Return how many batches a worker has left after its state."""
    read = State.from_dict(state)
    if read.shard is None:
        raise StateError("a merged state belongs to no worker")
    return max(0, read.dealing().share(read.shard).n_batches - read.yielded)


def count_repeated(state: Mapping[str, Any]) -> int:
    """Return how many of a worker's last batches another rank yields too."""
    read = State.from_dict(state)
    if read.shard is None:
        raise StateError("a merged state belongs to no worker")
    return read.dealing().share(read.shard).n_repeated


@dataclass(frozen=True)
class RepeatedMarker:
    """Gives the rows of the last `n_repeated` batches the index −1."""

    n_repeated: int

    def __call__(self, batch: Any, n_left: int) -> Any:
        """Return a batch; `n_left` says how many are left, this one included.

        Raises
        ------
        TypeError
            If the batch has no index.
        """
        if n_left > self.n_repeated:
            return batch
        if not isinstance(batch, Mapping) or "index" not in batch:
            raise TypeError(
                'evaluation=True sets batch["index"] to -1 where another rank has the'
                f" same rows, and the batch is a {type(batch).__name__} without one;"
                " use the dict batches of scdataset_core.open(...), and change them in"
                " collate= in place of batch_transform="
            )
        return {**batch, "index": np.full_like(batch["index"], -1)}


def _take(left: Sequence[int], n: int, *, first: int) -> list[int]:
    """Return how many of a rank's next `n` batches each worker gives.

    Raises
    ------
    StateError
        If its workers have fewer left.
    """
    if n > sum(left):
        raise StateError(
            f"the rank has {sum(left)} batches left in the epoch, not {n}; count the"
            " batches since the latest iteration began"
        )
    return count_by_worker(left, n, first=first)


def _advance(states: Sequence[Mapping[str, Any]], n: int, first: int) -> list[Any]:
    """Return the states of a rank's workers after `n` more batches."""
    taken = _take([_count_left(state) for state in states], n, first=first)
    return [
        {**state, "yielded": state["yielded"] + n_taken}
        for state, n_taken in zip(states, taken, strict=True)
    ]


def compute_state_after(
    loader: Loader, n_batches: int, *, world_size: int, num_workers: int
) -> dict[str, Any]:
    """Return the merged state once every rank's DataLoader has given `n_batches`.

    Parameters
    ----------
    loader
        An unstarted loader that stands where the iteration began.
    n_batches
        Number of batches that each rank's DataLoader has given.
    world_size, num_workers
        Number of ranks, and number of workers of each rank, at least 1.
    """
    # They all begin at one place: a Loader with the state of a single rank and worker
    # gives no other share.
    begun = loader.shard(0, world_size, 0, num_workers).state_dict()

    def count(has: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        left = has - begun["yielded"]
        taken = [_take(of_rank, n_batches, first=0) for of_rank in left.tolist()]
        return np.array(taken, np.int64) + int(begun["yielded"])

    return advance_all(begun, count)


def merge_dataloader_states(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the states of every rank's ``StatefulDataLoader`` into one.

    A ``StatefulDataLoader`` can only go on with as many ranks and workers as it had.
    For any other number, give the merged state to ``loader.load_state_dict`` and wrap
    the loader anew.

    Parameters
    ----------
    states
        The results of ``state_dict()`` of the ``StatefulDataLoader`` over a
        :class:`LoaderDataset`, one for each rank, in any order.

    Returns
    -------
    state
        A state that :meth:`scdataset_core.Loader.load_state_dict` takes.

    Raises
    ------
    StateError
        If a state is not one of a ``StatefulDataLoader``, or if a rank is missing.
    TypeError
        If `states` is not a list of dicts.
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
    if snapshot is None:  # this StatefulDataLoader has no workers
        return [_dataset_state(state)]
    workers = snapshot.get("_worker_snapshots")
    if not workers:
        return [_dataset_state(snapshot)]
    found = [
        _dataset_state(workers[key])
        for key in sorted(workers, key=lambda key: int(key.rpartition("_")[2]))
    ]
    first = (snapshot["_last_yielded_worker_id"] + 1) % len(found)
    return _advance(found, state.get("_steps_since_snapshot", 0), first)


def _dataset_state(state: Mapping[str, Any]) -> Any:
    """Return the Loader's state in a dataset's; `merge_states` checks what it is."""
    found = state.get("dataset_state")
    if found is None:
        raise StateError(
            "this is no state of a StatefulDataLoader over a LoaderDataset: it has no"
            ' "dataset_state"; to merge states of Loaders, use'
            " scdataset_core.merge_states"
        )
    return found
