"""LoaderDataset: a Loader as an iterable dataset of ready batches."""

import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from scdataset_core import Loader, StateError
from scdataset_core.adapters import (
    check_loader,
    check_undivided,
    load_rest_of_epoch,
)
from scdataset_core.checks import check_count
from scdataset_core.iteration import BatchIterator

from .epoch_counter import EpochCounter, Iteration
from .misuse import check_not_dealt_again, warn_of_batches_of_batches
from .ranks import rank_and_world_size
from .shared_memory import PlainBatch, allow_sending_by_pipe
from .states import repeated_of, state_after

__all__ = ["LoaderDataset", "ShardedDataset"]


class ShardedDataset(IterableDataset[Any]):
    """What divides a Loader's work among workers, epoch after epoch.

    Parameters
    ----------
    rank, world_size
        The share of this process.
    epoch
        Epoch of the first iteration.
    """

    def __init__(self, rank: int, world_size: int, *, epoch: int = 0) -> None:
        self.rank = rank
        self.world_size = world_size
        self._epochs = EpochCounter(epoch)
        self._loaded: Loader | None = None  # stands where the first iteration begins
        self._own: Loader | None = None  # a worker's, with a state loaded in it
        self._running: Loader | None = None
        self._n_begun = 0

    @abstractmethod
    def _rank_loader(self) -> Loader:
        """Return an unstarted loader of this rank, without a state."""

    def _collated(self, batches: BatchIterator, running: Loader) -> Iterator[Any]:
        return batches

    @property
    def epoch(self) -> int:
        """Epoch of the latest iteration; of the next one before the first."""
        return self._epochs.epoch

    @property
    def next_epoch(self) -> int:
        """Epoch of the next iteration."""
        return self._epochs.next_epoch

    def __iter__(self) -> Iterator[Any]:
        """Start the next epoch, or go on where a loaded state stands."""
        warn_of_batches_of_batches(sys._getframe(1))
        iteration = self._iteration()
        worker = (0, 1)
        if iteration is not None:
            worker = (iteration.worker, iteration.num_workers)
        self._n_begun += 1
        own, self._own = self._own, None
        start = self._epochs.begin(iteration, at=None if own is None else own.epoch)
        if own is not None:
            running = own
        elif start.resumes and self._loaded is not None:
            running = self._loaded.shard(self.rank, self.world_size, *worker)
        else:
            running = self._rank_loader().shard(self.rank, self.world_size, *worker)
            running.set_epoch(start.epoch)
        self._running = running
        batches = self._collated(iter(running), running)
        if iteration is None:
            return batches
        allow_sending_by_pipe()
        return map(_shippable, batches)

    def _iteration(self) -> Iteration | None:
        info = get_worker_info()
        if info is None:
            return None
        return Iteration(info.seed - info.id, self._n_begun, info.id, info.num_workers)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration epoch `epoch`, from its beginning.

        Called in the main process; it reaches persistent workers too. Between loading a
        state and the next iteration the state's own epoch keeps the position.

        Raises
        ------
        StateError
            If accelerate calls it, which is about to deal out among the ranks what this
            rank has taken as its share.
        """
        check_not_dealt_again(sys._getframe(1), self.world_size)
        loaded = self._loaded
        keeps = self._epochs.pending and loaded is not None and loaded.epoch == epoch
        if keeps and loaded is not None:
            loaded.set_epoch(epoch)
        else:
            self._rank_loader().set_epoch(epoch)  # checks it
        self._epochs.set(epoch, resumes=keeps)

    def state_dict(self) -> dict[str, Any]:
        """Return where the latest iterator of this process stands.

        For ``torchdata``'s ``StatefulDataLoader``, which asks each worker. With a plain
        ``DataLoader`` with workers use :meth:`state_after`.
        """
        for loader in (self._running, self._loaded):
            if loader is not None:
                return loader.state_dict()
        return self._rank_loader().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on, at the next iteration, with the very next batch after a state.

        The state of a finished epoch yields nothing, once: a ``StatefulDataLoader``
        lets every worker finish its epoch before the next.

        Parameters
        ----------
        state
            From :meth:`state_dict` of the same worker and rank, or a merged one.

        Raises
        ------
        StateError
            If it is of another data set, strategy, seed, size, rank or worker.
        """
        info = get_worker_info()
        if info is None:
            loader = self.go_on(state)
            self.set_epoch(loader.epoch)
            return
        loader = self._rank_loader()
        loader = loader.shard(self.rank, self.world_size, info.id, info.num_workers)
        load_rest_of_epoch(loader, state)
        self._own = loader

    def go_on(self, state: Mapping[str, Any]) -> Loader:
        """Load a state as a Loader does: after that of a finished epoch comes the next.

        Parameters
        ----------
        state
            A merged state, or that of a single process.

        Returns
        -------
        loader
            The loader that stands there.
        """
        loader = self._rank_loader()
        loader.load_state_dict(state)
        self._loaded = loader
        self._running = None
        self._epochs.load(loader.next_epoch)
        return loader

    def begin_epoch(self, epoch: int) -> None:
        """Make the next iteration `epoch` from its beginning, whatever state is loaded.

        Parameters
        ----------
        epoch
            Its number.
        """
        self._loaded = None
        self.set_epoch(epoch)

    def state_after(self, n_batches: int, num_workers: int = 0) -> dict[str, Any]:
        """Return the state once a plain ``DataLoader`` has given `n_batches`.

        Which worker yields what is a function of the numbers alone: a ``DataLoader``
        asks its workers in turn (with ``in_order=True``, its default). All ranks are
        taken to have had `n_batches`, as they have when they train in step, so every
        rank computes the same state, of all of them.

        Parameters
        ----------
        n_batches
            Batches taken since the latest iteration began.
        num_workers
            Workers of the ``DataLoader``.

        Returns
        -------
        state
            A merged state for :meth:`scdataset_core.Loader.load_state_dict`, on any
            number of ranks and workers.

        Raises
        ------
        StateError
            If the epoch has fewer batches, or the workers went on from states of a
            ``StatefulDataLoader``.
        ValueError
            If a number is negative.

        Examples
        --------
        >>> import numpy as np
        >>> loader = Loader(np.arange(40), batch_size=2, fetch_factor=2)
        >>> dataset = LoaderDataset(loader)
        >>> seen = [batch for batch, _ in zip(dataset, range(5))]
        >>> loader.load_state_dict(dataset.state_after(5))
        >>> len(list(LoaderDataset(loader)))
        15
        """
        check_count("n_batches", n_batches, least=0)
        check_count("num_workers", num_workers, least=0)
        latest = self._epochs.latest
        if latest is None:
            raise StateError(
                "the workers went on from states that were loaded in them; take"
                " state_dict() of the StatefulDataLoader, and merge_dataloader_states"
            )
        loader = self._loaded
        if not latest.resumes or loader is None or loader.epoch != latest.epoch:
            # Also after the state of a finished epoch, which the next one follows.
            loader = self._rank_loader()
            loader.set_epoch(latest.epoch)
        return state_after(
            loader,
            n_batches,
            world_size=self.world_size,
            num_workers=max(1, num_workers),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_running": None}


class LoaderDataset(ShardedDataset):
    """A Loader as an ``IterableDataset`` whose elements are ready batches.

    For ``DataLoader(dataset, batch_size=None, num_workers=...)``. Each iteration is one
    epoch and each is another order, whether workers persist or not. Ranks are found in
    the process that makes the dataset: from ``torch.distributed`` if it is initialised,
    else from the environment variables RANK and WORLD_SIZE; workers where it is
    iterated.

    With no worker or one, a rank's batches come in the order in which the Loader itself
    yields them. With more, worker `w` yields every `num_workers`-th of the rank's
    fetches, and the ``DataLoader`` takes batches from its workers in turn.

    Parameters
    ----------
    loader
        The engine, not sharded. A merged state that is loaded in it is gone on from.
    collate
        What to make of each batch, such as ``to_tensors()``; by default batches are the
        Loader's own, of which a ``DataLoader`` turns arrays into tensors and leaves
        SciPy's CSR arrays.
    ranks
        Whether to take this rank's share. False gives every rank the whole epoch, for
        what reads on one rank and deals out itself, as accelerate's ``prepare`` does.
    evaluation
        Whether every row counts exactly once over all ranks. They have equal numbers of
        batches by repeating a few, whatever the Loader's `uneven`, and in a repeated
        one ``batch["index"]`` is −1: leave out rows with ``index < 0``, as in the
        filled rows of a padded batch.

    Raises
    ------
    TypeError
        If `loader` is no Loader, or `collate` no function.
    ValueError
        If it is sharded already, or RANK and WORLD_SIZE do not go together.

    Examples
    --------
    >>> import numpy as np
    >>> from torch.utils.data import DataLoader
    >>> loader = Loader(np.arange(10), batch_size=4)
    >>> [len(batch) for batch in DataLoader(LoaderDataset(loader), batch_size=None)]
    [4, 4, 2]
    """

    def __init__(
        self,
        loader: Loader,
        collate: Callable[[Any], Any] | None = None,
        *,
        ranks: bool = True,
        evaluation: bool = False,
    ) -> None:
        check_loader(loader)
        if collate is not None and not callable(collate):
            raise TypeError(
                f"collate must be a function of a batch, got {collate!r}; to_tensors()"
                " makes one"
            )
        check_undivided(
            loader, "give one of all ranks; the dataset finds its rank and workers"
        )
        rank, world_size = rank_and_world_size() if ranks else (0, 1)
        if evaluation:
            loader = loader.shard()
            loader.uneven = "pad"
        loaded = loader.shard(rank, world_size)
        super().__init__(rank, world_size, epoch=loaded.next_epoch)
        self.collate = collate
        self.evaluation = evaluation
        self.n_given = 0  # of the latest iteration, by a DataLoader that counts
        self._loaded = loaded
        self._fresh = loader.fresh().shard(rank, world_size)

    def __len__(self) -> int:
        """Return the batches of this rank in a fresh epoch."""
        return len(self._fresh)

    def __repr__(self) -> str:
        return f"LoaderDataset({self._fresh!r})"

    def _rank_loader(self) -> Loader:
        return self._fresh.shard(self.rank, self.world_size)

    def _collated(self, batches: BatchIterator, running: Loader) -> Iterator[Any]:
        made: Iterator[Any] = batches
        if self.evaluation and self.world_size > 1:
            n_repeated = repeated_of(running.state_dict())
            made = _marked(batches, first=len(batches) - n_repeated)
        return made if self.collate is None else map(self.collate, made)


def _marked(batches: Iterator[Any], first: int) -> Iterator[Any]:
    """Yield batches, those from the `first` on as rows that are no cells."""
    for number, batch in enumerate(batches):
        if number < first:
            yield batch
            continue
        if not isinstance(batch, Mapping) or "index" not in batch:
            raise TypeError(
                f"evaluation=True marks rows that another rank has too in"
                f' batch["index"], and the batch is a {type(batch).__name__} without'
                " one; use the dict batches of scdataset_core.open(...), and change"
                " them in collate= in place of batch_transform="
            )
        yield {**batch, "index": np.full_like(batch["index"], -1)}


def _shippable(batch: Any) -> Any:
    """Return a worker's batch so that a plain dict travels in shared memory too."""
    return PlainBatch(batch) if type(batch) is dict else batch
