"""LoaderDataset makes a Loader an iterable dataset whose elements are ready batches."""

import os
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import parent_process
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from scdataset_core import Loader, StateError
from scdataset_core.adapters import (
    check_loader,
    check_undivided,
    load_rest_of_epoch,
)
from scdataset_core.checks import check_count
from scdataset_core.iteration import BatchIterator
from scdataset_core.stats import LoaderStats

from .collate import to_tensors
from .epoch_counter import EpochCounter, Iteration
from .misuse import check_has_index, check_not_dealt_again, warn_of_batches_of_batches
from .ranks import rank_and_world_size
from .shared_memory import allow_sending_by_pipe, prepare_to_send
from .states import RepeatedMarker, compute_state_after, count_repeated

__all__ = ["LoaderDataset", "ShardedDataset"]


class ShardedDataset(IterableDataset[Any]):
    """The base of datasets that divide a Loader's work among workers in each epoch.

    Parameters
    ----------
    rank, world_size
        The rank of this process, and the number of ranks.
    epoch
        Epoch of the first iteration.
    """

    def __init__(self, rank: int, world_size: int, *, epoch: int = 0) -> None:
        self.rank = rank
        self.world_size = world_size
        self._epochs = EpochCounter(epoch)
        self._loaded: Loader | None = None  # stands where the first iteration begins
        self._own: Loader | None = None  # of a worker in which a state was loaded
        self._running: Loader | None = None
        self._own_number = 0  # of the iteration that runs here, among those of all
        self._n_begun = 0
        self.n_given = 0  # batches of the latest iteration, if the DataLoader counts

    @abstractmethod
    def _rank_loader(self) -> Loader:
        """Return an unstarted loader of this rank, without a state."""

    def _collate(self, batches: BatchIterator, running: Loader) -> Iterator[Any]:
        """Return what the dataset yields, given the batches of a running loader."""
        return batches

    @property
    def epoch(self) -> int:
        """Epoch of the latest iteration; of the next one before the first."""
        return self._epochs.epoch

    @property
    def next_epoch(self) -> int:
        """Epoch of the next iteration."""
        return self._epochs.next_epoch

    @property
    def stats(self) -> LoaderStats | None:
        """Counters of the latest iteration; None where other processes run it."""
        running = None if self._runs_elsewhere() else self._running
        return None if running is None else running.stats

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
        self._own_number = self._epochs.n_begun
        batches = self._collate(iter(running), running)
        if iteration is None:
            return batches
        allow_sending_by_pipe()
        _end_without_parent()
        return map(prepare_to_send, batches)

    def _iteration(self) -> Iteration | None:
        """Return what this worker knows of its iteration; None in the main process."""
        info = get_worker_info()
        if info is None:
            return None
        return Iteration(info.seed - info.id, self._n_begun, info.id, info.num_workers)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration epoch `epoch`, from its beginning.

        Call it in the main process; persistent workers see the new epoch too. If a
        state was loaded and no iteration has begun since, its own epoch keeps the
        position of the state.

        Parameters
        ----------
        epoch
            Number of the epoch, from 0.

        Raises
        ------
        StateError
            If accelerate calls this because it is about to divide among the ranks the
            batches that this rank has taken as its share.
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

        ``torchdata``'s ``StatefulDataLoader`` calls this in each worker. For a plain
        ``DataLoader`` with workers, use :meth:`state_after`.

        Raises
        ------
        StateError
            If workers run the latest iteration, and this is the main process.
        """
        if get_worker_info() is None and self._runs_elsewhere():
            raise StateError(
                "other processes run the latest iteration, so this one does not know"
                " where it stands; count the batches of the DataLoader, and take"
                " dataset.state_after(n_batches, num_workers), or use torchdata's"
                " StatefulDataLoader"
            )
        for loader in (self._running, self._loaded):
            if loader is not None:
                return loader.state_dict()
        return self._rank_loader().state_dict()

    def _runs_elsewhere(self) -> bool:
        """Return whether the latest iteration is none of this process."""
        latest = self._epochs.n_begun
        return latest > 0 and (self._running is None or self._own_number != latest)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration go on with the very next batch after a state.

        After the state of a finished epoch the next iteration yields nothing: a
        ``StatefulDataLoader`` lets every worker finish its epoch before the next.

        Parameters
        ----------
        state
            The result of :meth:`state_dict` on the same rank and worker, or a merged
            state.

        Raises
        ------
        StateError
            If the state belongs to another data set, strategy, seed, size, rank or
            worker.
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
        """Make the next iteration go on from a state, as a Loader does.

        After the state of a finished epoch the next iteration is the next epoch.

        Parameters
        ----------
        state
            A merged state, or the state of a single process.

        Returns
        -------
        loader
            A loader in which the state is loaded.
        """
        loader = self._rank_loader()
        loader.load_state_dict(state)
        self._loaded = loader
        self._running = None
        self.n_given = 0
        self._epochs.load(loader.next_epoch)
        return loader

    def begin_epoch(self, epoch: int) -> None:
        """Make the next iteration epoch `epoch` from its beginning, and drop any state.

        Parameters
        ----------
        epoch
            Number of the epoch, from 0.
        """
        self._loaded = None
        self.set_epoch(epoch)

    def state_after(self, n_batches: int, num_workers: int = 0) -> dict[str, Any]:
        """Return the state once a plain ``DataLoader`` has given `n_batches`.

        A ``DataLoader`` asks its workers in turn (with ``in_order=True``, its default),
        so the number of batches determines which worker has yielded which batch. The
        state is that of all ranks, each of which is taken to have had `n_batches`, as
        they have when they train in step. So every rank computes the same state.

        Parameters
        ----------
        n_batches
            Number of batches taken since the latest iteration began. Workers begin it
            some time after ``iter(dataloader)``, and by the first batch at the latest:
            until then, the latest iteration is the one before.
        num_workers
            Number of workers of the ``DataLoader``.

        Returns
        -------
        state
            A merged state, which :meth:`scdataset_core.Loader.load_state_dict` takes on
            any number of ranks and workers.

        Raises
        ------
        StateError
            If the epoch has fewer batches, or if the workers went on from states of a
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
            # This holds after the state of a finished epoch too: the iteration was the
            # epoch after it.
            loader = self._rank_loader()
            loader.set_epoch(latest.epoch)
        return compute_state_after(
            loader,
            n_batches,
            world_size=self.world_size,
            num_workers=max(1, num_workers),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_running": None}


class LoaderDataset(ShardedDataset):
    """An ``IterableDataset`` whose elements are the ready batches of a Loader.

    Give it to ``DataLoader(dataset, batch_size=None, num_workers=...)``. Each iteration
    is one epoch, in a new order, whether workers persist or not. The dataset finds its
    rank in the process that makes it: from ``torch.distributed`` if that is
    initialised, else from the environment variables RANK and WORLD_SIZE. It finds its
    workers where it is iterated.

    With at most one worker, a rank's batches come in the order in which the Loader
    itself yields them. With more, worker `w` yields every `num_workers`-th of the
    rank's fetches, and the ``DataLoader`` takes batches from its workers in turn.

    Parameters
    ----------
    loader
        The Loader, not sharded. If a merged state is loaded in it, the first iteration
        goes on from that state.
    collate
        A function that is applied to each batch, such as ``to_tensors()``. By default
        batches are the Loader's own; a ``DataLoader`` then turns their arrays into
        tensors, and leaves SciPy's CSR arrays as they are.
    ranks
        Whether this rank yields its own share only. Give False to yield the whole epoch
        on every rank, if the consumer reads on one rank and divides the batches itself,
        as accelerate's ``prepare`` does.
    evaluation
        Whether every row counts exactly once over all ranks. Ranks then have equal
        numbers of batches because a few batches are repeated, whatever the Loader's
        `uneven`. In a repeated batch ``batch["index"]`` is −1: leave out the rows with
        ``index < 0``, as you do with the filled rows of a padded batch.

    Raises
    ------
    TypeError
        If `loader` is not a Loader, or `collate` is not a function.
    ValueError
        If `loader` is sharded already, or RANK and WORLD_SIZE do not go together; if
        several ranks are to count rows, and batches have no "index".

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
        if collate is to_tensors or not (collate is None or callable(collate)):
            raise TypeError(
                f"collate must be a function of a batch, got {collate!r}; to_tensors()"
                " makes one"
            )
        check_undivided(
            loader, "give one of all ranks; the dataset finds its rank and workers"
        )
        rank, world_size = rank_and_world_size() if ranks else (0, 1)
        if evaluation:
            if world_size > 1:
                check_has_index(loader)
            loader = loader.shard()
            loader.uneven = "pad"
        loaded = loader.shard(rank, world_size)
        super().__init__(rank, world_size, epoch=loaded.next_epoch)
        self.collate = collate
        self.evaluation = evaluation
        self._loaded = loaded
        self._fresh = loader.fresh().shard(rank, world_size)

    def __len__(self) -> int:
        """Return the number of batches of this rank in a fresh epoch."""
        return len(self._fresh)

    def __repr__(self) -> str:
        return f"LoaderDataset({self._fresh!r})"

    def _rank_loader(self) -> Loader:
        return self._fresh.shard(self.rank, self.world_size)

    def _collate(self, batches: BatchIterator, running: Loader) -> Iterator[Any]:
        if self.evaluation and self.world_size > 1:
            batches.apply(RepeatedMarker(count_repeated(running.state_dict())))
        collate = self.collate
        return batches if collate is None else batches.apply(lambda b, _: collate(b))


def _end_without_parent() -> None:
    """End this worker if its parent was killed while it began.

    Whoever has adopted it by now, PyTorch would take for its parent, and wait for ever.
    """
    parent = parent_process()
    if parent is None:
        return
    is_adopted = os.getppid() == 1 != parent.pid
    if is_adopted or not parent.is_alive():
        sys.exit(1)
