"""Lookup of minibatches by their number, from any thread; one fetch is kept."""

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .batching import Batching
from .hook_epoch import in_epoch
from .pending_batches import PendingBatch
from .plan import Plan
from .readahead import make_item
from .storage import ReadContext

__all__ = ["BatchLookup"]


class BatchLookup:
    """Makes single minibatches of an epoch, as an iteration makes them.

    The latest fetch is kept, so that its minibatches, asked for in turn, are read once.

    Parameters
    ----------
    batching
        Makes the minibatches.
    threads
        Threads that read and decode.
    """

    def __init__(self, batching: Batching, threads: int | None) -> None:
        self._batching = batching
        self._threads = threads
        self._lock = threading.RLock()  # a hook may ask for another minibatch
        self._pid = os.getpid()
        self._plan: tuple[int, Plan] | None = None
        self._fetch: tuple[int, int] | None = None
        self._pending: dict[int, PendingBatch] = {}

    @property
    def is_here(self) -> bool:
        """Whether this process made it; in a fork the parent's lock may stay locked."""
        return self._pid == os.getpid()

    def batch(self, number: int, epoch: int, plan_of: Callable[[int], Plan]) -> Any:
        """Return minibatch `number` of an epoch.

        Parameters
        ----------
        number, epoch
            Number of the minibatch, and the epoch.
        plan_of
            Gives the undivided plan of an epoch.

        Raises
        ------
        IndexError
            If the epoch has no such minibatch.
        TypeError
            If `number` is no integer.
        """
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise TypeError(f"number must be an integer, got {number!r}")
        number = int(number)
        with self._lock:
            if self._plan is None or self._plan[0] != epoch:
                self._plan = epoch, plan_of(epoch)
            plan = self._plan[1]
            n_batches = plan.dealing.n_batches
            if not 0 <= number < n_batches:
                raise IndexError(
                    f"batch {number} is not there: epoch {epoch} has {n_batches:,}"
                    " batches, numbered from 0"
                )
            fetch = epoch, number // plan.dealing.sizes.fetch_factor
            if self._fetch != fetch:
                self._read(*fetch, plan)
            pending = self._pending[number]
        with in_epoch(epoch):
            return make_item(self._batching.make_batch, pending.detach())

    def _read(self, epoch: int, number: int, plan: Plan) -> None:
        self._fetch, self._pending = None, {}  # frees the fetch before reading another
        fetch = plan.fetch(number, whole=self._batching.needs_whole_fetches)
        self._batching.prepare()
        with ReadContext(self._threads) as context, in_epoch(epoch):
            pending = self._batching.read(fetch, context)
        numbers = (batch.number for batch in fetch.batches)
        self._pending = dict(zip(numbers, pending, strict=True))
        self._fetch = epoch, number
