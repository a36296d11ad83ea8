"""BatchIterDataset yields a Loader's minibatches as a `grain.IterDataset`."""

import os
import threading
from typing import Any, Literal, Self

import grain
import jax

from scdataset_core import Loader
from scdataset_core.adapters import (
    check_loader,
    check_undivided,
    load_rest_of_epoch,
)
from scdataset_core.checks import check_count

from .states import IteratorState

__all__ = ["BatchIterDataset"]


class BatchIterDataset(grain.IterDataset):  # type: ignore[misc]  # Grain is untyped
    """A dataset of ready minibatches, the same as the Loader's, bit for bit.

    Every iterator starts at ``loader.epoch``, or where a state that is loaded in the
    loader stands, and leaves the loader as it was. The iterator counts its epochs, and
    its state, one JSON string, holds that count.

    ``mp_prefetch`` divides the work by ``loader.shard(worker=, num_workers=)``, and
    takes the workers' minibatches in turn. Grain's ``repeat`` repeats the same
    minibatches in the same order; use `num_epochs` to get new ones.

    Parameters
    ----------
    loader
        The Loader: of one rank if `processes` is None, of all ranks otherwise.
    num_epochs
        Number of epochs that an iterator goes through. With None, it does not end.
    processes
        With ``"jax"``, the rank is ``jax.process_index()`` of ``jax.process_count()``
        at the time when the dataset is made. With None, it is the rank of `loader`.

    Raises
    ------
    TypeError
        If `loader` is not a Loader, or `num_epochs` is not an integer.
    ValueError
        If `loader` is already divided, or another argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import scdataset_core as scd
    >>> loader = scd.Loader(np.arange(10), scd.Streaming(), batch_size=4)
    >>> dataset = BatchIterDataset(loader).map(lambda rows: rows * 10)
    >>> [rows.tolist() for rows in dataset]
    [[0, 10, 20, 30], [40, 50, 60, 70], [80, 90]]
    """

    def __init__(
        self,
        loader: Loader,
        num_epochs: int | None = 1,
        processes: Literal["jax"] | None = None,
    ) -> None:
        super().__init__()
        check_loader(loader)
        if num_epochs is not None:
            check_count("num_epochs", num_epochs)
        if processes not in (None, "jax"):
            raise ValueError(f'processes must be "jax" or None, got {processes!r}')
        check_undivided(
            loader,
            "give one that is not; mp_prefetch divides among workers, and"
            ' processes="jax" among ranks',
            ranks=processes is not None,
        )
        self._loader = loader
        self._num_epochs = num_epochs
        self._rank, self._world_size = loader.rank, loader.world_size
        if processes == "jax":
            self._rank, self._world_size = jax.process_index(), jax.process_count()
        self._worker, self._num_workers = 0, 1

    def __iter__(self) -> "BatchDatasetIterator":
        """Return a new iterator, which starts at the first epoch."""
        loader = self._loader.shard(
            self._rank, self._world_size, self._worker, self._num_workers
        )
        return BatchDatasetIterator(loader, self._num_epochs)

    def set_slice(self, sl: slice, sequential_slice: bool = False) -> None:
        """Make new iterators yield one worker's share; Grain calls this in its workers.

        Parameters
        ----------
        sl
            ``slice(worker, None, num_workers)``. It replaces an earlier slice.
        sequential_slice
            Has no effect, since a worker's share consists of whole fetches.
        """
        del sequential_slice
        worker, num_workers = sl.start or 0, sl.step or 1
        if sl.stop is not None or not 0 <= worker < num_workers:
            raise ValueError(
                f"a slice of minibatches is slice(worker, None, num_workers), got {sl}"
            )
        self._worker, self._num_workers = worker, num_workers

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy that shares the loader, which the dataset never changes."""
        other = type(self)(self._loader, self._num_epochs)
        other.__dict__.update(vars(self))
        return other

    def __str__(self) -> str:
        return f"BatchIterDataset(num_epochs={self._num_epochs})"

    def __repr__(self) -> str:
        return (
            f"BatchIterDataset(num_epochs={self._num_epochs}, rank {self._rank} of"
            f" {self._world_size}, worker {self._worker} of {self._num_workers}, of"
            f" {self._loader!r})"
        )


class BatchDatasetIterator(grain.DatasetIterator):  # type: ignore[misc]  # untyped
    """An iterator over `num_epochs` epochs of a loader that nothing else uses."""

    def __init__(self, loader: Loader, num_epochs: int | None) -> None:
        super().__init__()
        # If the state of a finished epoch is loaded, begin with the epoch after it.
        if loader.next_epoch != loader.epoch:
            loader.set_epoch(loader.next_epoch)
        self._loader = loader
        self._num_epochs = num_epochs
        self._ended = 0
        self._batches: Any = None
        self._process = os.getpid()
        self._lock = threading.RLock()  # threads that share this count an epoch once

    def __next__(self) -> Any:
        self._check_process()
        with self._lock:
            return self._next_batch()

    def _next_batch(self) -> Any:
        self._assert_not_closed()
        while not self._has_ended:
            self.start_prefetch()
            try:
                return next(self._batches)
            except StopIteration:
                self._batches = None
                if self._num_epochs is None and len(self._loader) == 0:
                    break  # this worker has no share, in this epoch or any other
                self._ended += 1
            except BaseException:
                self.set_state(self.get_state())  # so that the next call tries again
                raise
        raise StopIteration

    @property
    def _has_ended(self) -> bool:
        """Whether all epochs have; a state may be of more than there are here."""
        return self._num_epochs is not None and self._ended >= self._num_epochs

    def start_prefetch(self) -> None:
        """Start reading ahead, if that has not begun."""
        if self._batches is None and not self._has_ended:
            self._batches, self._process = iter(self._loader), os.getpid()

    def get_state(self) -> str:
        """Return where the iterator stands, after the minibatch yielded last."""
        with self._lock:
            return IteratorState(self._loader.state_dict(), self._ended).to_text()

    def set_state(self, state: str) -> None:
        """Go on from a state.

        Parameters
        ----------
        state
            The result of :meth:`get_state` of an iterator over the same dataset.

        Raises
        ------
        StateError
            If the state belongs to another data set, strategy, size, shard or version.
        """
        given = IteratorState.from_text(state)
        given = given.for_worker(self._loader.worker, self._loader.num_workers)
        with self._lock:
            load_rest_of_epoch(self._loader, given.loader)
            self._ended = given.ended
            self._stop()

    def close(self) -> None:
        """Stop the reading threads."""
        if not getattr(self, "_closed", True):
            super().close()
            self._stop()

    def _check_process(self) -> None:
        """Raise in a forked child, where the reading threads do not run."""
        if self._batches is not None and self._process != os.getpid():
            raise RuntimeError(
                "this iterator had begun before the process forked; make another with"
                " iter(dataset) in the child, and set_state goes on where this one was"
            )

    def _stop(self) -> None:
        batches, self._batches = self._batches, None
        if batches is not None:
            batches.close()

    def __str__(self) -> str:
        return f"BatchDatasetIterator(epoch={self._loader.epoch})"
