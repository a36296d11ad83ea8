"""scDataset is the dataset of `scdataset` 0.3, whose data a Loader reads."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from scdataset_core import Loader, Source
from scdataset_core.dealing import Dealing
from scdataset_core.order_checks import check_order
from scdataset_core.orders import Order
from scdataset_core.shares import Shard
from scdataset_core.sizes import Sizes
from scdataset_core.strategies import Strategy
from scdataset_core.strategies_03 import describe_attributes

from ..dataset import ShardedDataset
from .strategy import OrderedStrategy, SamplingStrategy

__all__ = ["scDataset"]

_SEEDS_BETWEEN_EPOCHS = 1000  # 0.3 spaces the seeds of epochs so

Rows = npt.NDArray[np.int64]


class scDataset(ShardedDataset):  # noqa: N801  the name users import
    """An iterable dataset of shuffled minibatches, as in `scdataset` 0.3.

    It differs from 0.3 in four ways: every iteration is another epoch in every worker,
    persistent or not; all ranks yield the same number of batches; a minibatch has the
    same rows for any number of ranks and workers; and a ``StatefulDataLoader`` resumes
    it exactly.

    Parameters
    ----------
    data_collection
        Any object with ``len()`` and ``obj[rows]``, whose batches are of its own type;
        or a source of :func:`scdataset_core.open`, whose batches are dicts.
    strategy
        A :class:`~scdataset_torch.compat.SamplingStrategy`, or a strategy of
        `scdataset_core`.
    batch_size
        Number of rows of a minibatch.
    fetch_factor
        Number of minibatches that are fetched at once and shuffled together.
    drop_last
        Leave out the last minibatch if it is short.
    fetch_callback
        ``fetch_callback(collection, sorted rows)``, called instead of
        ``collection[rows]``.
    fetch_transform
        ``fetch_transform(fetched)``, called for each fetch.
    batch_callback
        ``batch_callback(fetched, positions)``, called instead of
        ``fetched[positions]``.
    batch_transform
        ``batch_transform(batch)``, called for each minibatch.
    rank, world_size
        The rank of this process, and the number of ranks. By default they come from
        ``torch.distributed`` if it is initialised; else there is one rank.
    seed
        Seed of the order. By default it is a random one that all ranks share.

    Raises
    ------
    ValueError
        If `batch_size` or `fetch_factor` is not positive.
    TypeError
        If `strategy` is not a strategy, or `seed` is not an integer.
    RuntimeError
        If there are several ranks and neither a seed nor a process group.

    Examples
    --------
    >>> from scdataset_torch.compat import Streaming
    >>> dataset = scDataset(np.arange(10), Streaming(), batch_size=4)
    >>> [batch.tolist() for batch in dataset]
    [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    """

    def __init__(
        self,
        data_collection: Any,
        strategy: Any,
        batch_size: int,
        fetch_factor: int = 16,
        drop_last: bool = False,
        fetch_callback: Callable[[Any, Rows], Any] | None = None,
        fetch_transform: Callable[[Any], Any] | None = None,
        batch_callback: Callable[[Any, Rows], Any] | None = None,
        batch_transform: Callable[[Any], Any] | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        seed: int | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("fetch_factor", fetch_factor)):
            if value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not isinstance(strategy, SamplingStrategy | Strategy):
            raise TypeError(
                "strategy must be an instance of SamplingStrategy, got"
                f" {type(strategy).__name__}"
            )
        if seed is not None and not isinstance(seed, int | np.integer):
            raise TypeError(f"seed must be an integer or None, got {seed!r}")
        grouped = dist.is_available() and dist.is_initialized()
        if rank is None:
            rank = dist.get_rank() if grouped else 0
        if world_size is None:
            world_size = dist.get_world_size() if grouped else 1
        super().__init__(rank, world_size)
        self.collection = data_collection
        self.strategy = strategy
        self.batch_size = batch_size
        self.fetch_factor = fetch_factor
        self.drop_last = drop_last
        self.fetch_size = batch_size * fetch_factor
        self.sort_before_fetch = True
        self.fetch_callback = fetch_callback
        self.fetch_transform = fetch_transform
        self.batch_callback = batch_callback
        self.batch_transform = batch_transform
        self._seed = _shared_seed(world_size) if seed is None else int(seed)
        self._made: tuple[tuple[Any, ...], Loader] | None = None

    def __len__(self) -> int:
        """Return the number of batches of this rank."""
        if isinstance(self.strategy, Strategy):
            return len(self._rank_loader())
        get_len = getattr(self.strategy, "get_len", None)
        if get_len is None:
            n_rows = len(self.strategy.get_indices(self.collection, seed=self._seed))
        else:
            n_rows = get_len(self.collection)
        sizes = Sizes(self.batch_size, self.fetch_factor, self.drop_last, "pad")
        dealing = Dealing(n_rows, sizes)
        return dealing.share(Shard(self.rank, self.world_size)).n_batches

    def _rank_loader(self) -> Loader:
        """Return a Loader with the current attributes, which users may have changed."""
        parts = (
            self.collection,
            self.strategy,
            self.batch_size,
            self.fetch_factor,
            self.drop_last,
            self.fetch_callback,
            self.fetch_transform,
            self.batch_callback,
            self.batch_transform,
        )
        if self._made is None or any(
            old is not new for old, new in zip(self._made[0], parts, strict=True)
        ):
            self._made = (parts, self._make_loader())
        return self._made[1].shard(self.rank, self.world_size)

    def _make_loader(self) -> Loader:
        collection, fetch = self.collection, self.fetch_callback
        if not isinstance(collection, Source):
            collection = CountedCollection(collection, self.strategy)
            fetch = fetch and partial(_call_fetch_callback, fetch)
        strategy = self.strategy
        if not isinstance(strategy, Strategy):
            strategy = EpochStrategy(strategy, self.collection, self.fetch_size)
        return Loader(
            collection,
            strategy,
            batch_size=self.batch_size,
            fetch_factor=self.fetch_factor,
            seed=self._seed,
            drop_last=self.drop_last,
            uneven="pad",
            fetch_callback=fetch,
            fetch_transform=self.fetch_transform,
            batch_callback=self.batch_callback,
            batch_transform=self.batch_transform,
            # Hooks and collections written for 0.3 expect to be called in the thread
            # that iterates.
            read_ahead=1 if isinstance(collection, Source) else 0,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_made": None}


class CountedCollection:
    """A collection that 0.3 takes, with the number of rows that a Loader asks for.

    Parameters
    ----------
    collection
        The collection that the user gave. It may be empty, and if there are indices and
        a fetch_callback it needs neither ``len()`` nor ``[rows]``.
    strategy
        The strategy, which knows the number of rows of an epoch even if the collection
        has no ``len()``.
    """

    def __init__(self, collection: Any, strategy: Any) -> None:
        self.collection = collection
        self._strategy = strategy

    @property
    def shape(self) -> tuple[int]:
        """The number of rows, at least 1."""
        if hasattr(self.collection, "__len__"):
            try:
                return (max(1, len(self.collection)),)
            except TypeError:  # SciPy's sparse arrays
                return (max(1, self.collection.shape[0]),)
        get_len = getattr(self._strategy, "get_len", None)
        return (1 if get_len is None else max(1, get_len(self.collection)),)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> Any:
        return self.collection[rows]


def _call_fetch_callback(
    fetch_callback: Any, collection: CountedCollection, rows: Rows
) -> Any:
    return fetch_callback(collection.collection, rows)


class EpochStrategy:
    """A strategy of the Loader that asks a strategy of 0.3 for the order of each epoch.

    Parameters
    ----------
    strategy
        The strategy of 0.3.
    collection
        The collection whose rows the strategy puts in order.
    fetch_size
        Number of rows of a fetch.
    """

    may_be_empty = True  # 0.3 allows an epoch without rows

    def __init__(
        self, strategy: SamplingStrategy, collection: Any, fetch_size: int
    ) -> None:
        self._strategy = strategy
        self._collection = collection
        self._fetch_size = fetch_size

    def order(self, source: Any, *, seed: int, epoch: int) -> Order:
        """Return the order of an epoch."""
        strategy = self._strategy
        key = seed + _SEEDS_BETWEEN_EPOCHS * epoch
        if (
            isinstance(strategy, OrderedStrategy)
            and type(strategy).get_indices is OrderedStrategy.get_indices
        ):
            order: Order = strategy.order_of(self._collection, key)
        else:
            order = ListedOrder(strategy, self._collection, key, self._fetch_size)
        # A collection that fetch_callback reads may not know its number of rows.
        n_source = len(source) if hasattr(self._collection, "__len__") else None
        return check_order(order, name=type(strategy).__name__, n_source=n_source)

    def describe(self, source: Any) -> dict[str, Any]:
        """Return the attributes that a state keeps: numbers, and digests of arrays."""
        return describe_attributes(self._strategy)


class ListedOrder:
    """The order of rows that a user's own strategy lists, at O(n) memory.

    Parameters
    ----------
    strategy, collection
        The strategy, and the collection whose rows it lists.
    seed
        Seed that the strategy is given.
    fetch_size
        Number of rows of a fetch. 0.3 sorts the rows of each fetch unless it shuffles
        them.
    """

    def __init__(
        self, strategy: SamplingStrategy, collection: Any, seed: int, fetch_size: int
    ) -> None:
        self._strategy = strategy
        self._collection = collection
        self._seed = seed
        self._fetch_size = fetch_size
        self._listed: Rows | None = None
        self.shuffle = bool(strategy._shuffle_before_yield)

    def __len__(self) -> int:
        return len(self._list_all())

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        return self._list_all()[start:stop]

    def _list_all(self) -> Rows:
        if self._listed is None:
            given = self._strategy.get_indices(self._collection, seed=self._seed)
            rows = np.asarray(given).astype(np.int64)
            if not self.shuffle:
                fetches = np.arange(len(rows)) // self._fetch_size
                rows = rows[np.lexsort((rows, fetches))]
            self._listed = rows
        return self._listed


def _shared_seed(world_size: int) -> int:
    """Return a random seed, the same on all ranks."""
    seed = int(torch.randint(0, 2**31, (1,)).item())
    if world_size == 1:
        return seed
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            f"world_size={world_size} but torch.distributed is not initialized: give a"
            " seed, or call torch.distributed.init_process_group() first"
        )
    shared = [seed]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]
