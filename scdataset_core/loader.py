"""Loader: the iterator of minibatches that users hold."""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Never, NoReturn, Self

import numpy.typing as npt

from .batch_lookup import BatchLookup
from .batching_options import make_batching
from .checks import check_count, check_hooks, check_seed
from .collection import check_collection, show_collection
from .epochs import EpochOrders, Epochs
from .errors import StateError
from .foreign_keywords import check_keywords
from .form import OutputName, Overflow, Width
from .hooks import Hooks
from .iteration import BatchIterator
from .notebook_html import html_of_text
from .position import Bookmark, Position, Start
from .shares import Shard
from .sizes import Sizes, Uneven
from .state import State
from .stats import LoaderStats
from .storage.io.fork_safe_lock import ForkSafeLock
from .strategies import BlockShuffling
from .thread_count import check_threads

__all__ = ["Loader"]

_leaving = ForkSafeLock()  # held where two threads could begin at one place


class Loader:
    """Shuffled minibatches of cells.

    Each iteration is one epoch: the first is epoch 0, each further one the next.
    Minibatch `k` of an epoch holds the same cells in the same order for any number of
    ranks, workers and threads: they only decide who yields it and when.

    Parameters
    ----------
    source
        What :func:`scdataset_core.open` returns; or any object with ``len()`` and
        ``obj[rows]`` for an int64 array of rows, whose batches are then of its own
        type.
    strategy
        Which rows an epoch has and in what order; ``BlockShuffling()`` by default.
    batch_size
        Rows of a minibatch.
    fetch_factor
        Minibatches read at once and shuffled together.
    seed
        Key of all randomness.
    drop_last
        Leave out the last minibatch if it is short.
    output
        ``"csr"``, ``"dense"``, ``"padded"`` or ``"anndata"``; as stored by default.
    dtype
        Type of the values of X; as stored by default. A value that it cannot hold is an
        error; integers cut fractions off.
    width
        Columns of padded rows; by default the longest stored row (at most the genes
        selected), rounded up to 128. Where X is several arrays, each has its own: give
        one for all, or by name. Several, as in ``[512, 1024, 2048]``: each minibatch
        has the smallest that holds its longest row, and in a fetch that is shuffled,
        rows which need the same width come into the same minibatches.
    overflow
        What happens to a row with more stored values than `width`: ``"error"``, or
        ``"largest"`` to keep its largest values.
    memory
        Bytes for fetches, such as ``"2GiB"``, in place of `fetch_factor`. It becomes a
        fetch factor once, from the mean number of stored values of a row.
    uneven
        How ranks get equal numbers of batches: ``"trim"`` leaves out fewer than
        `world_size` minibatches, ``"pad"`` repeats some.
    rank, world_size, worker, num_workers
        The share of the work this loader yields: that of one rank of `world_size`, and
        one worker of `num_workers`. These start no processes; adapters set them.
    fetch_callback, fetch_transform, batch_callback, batch_transform
        Hooks: ``fetch_callback(collection, rows)`` reads sorted rows,
        ``fetch_transform(fetched)`` changes them, ``batch_callback(fetched,
        positions)`` takes a minibatch out of them, ``batch_transform(batch)`` changes
        it. The thread that reads ahead runs the first two. For ready ones see
        :mod:`scdataset_core.transforms`.
    read_ahead
        Fetches that threads read before they are wanted; one more where two are read at
        a time, as from files that are not compressed. Those of 8 MiB or less are
        read several at a time, and count as one here. With 0 the consumer reads.
    threads
        Threads that read and decode; by default this process's share of the cores.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If an argument is out of range or does not go with another.

    Examples
    --------
    >>> import numpy as np
    >>> loader = Loader(np.arange(10), BlockShuffling(block_size=2), batch_size=4)
    >>> [len(batch) for batch in loader]
    [4, 4, 2]
    """

    def __init__(
        self,
        source: Any,  # Any: a Source, or any object with len() and obj[rows]
        strategy: Any = None,  # Any: of this library, of 0.3, or the user's own
        *,
        batch_size: int = 64,
        fetch_factor: int = 16,
        seed: int = 0,
        drop_last: bool = False,
        output: OutputName | None = None,
        dtype: npt.DTypeLike | None = None,
        width: Width = None,
        overflow: Overflow = "error",
        memory: int | str | None = None,
        uneven: Uneven = "trim",
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        num_workers: int = 1,
        fetch_callback: Any = None,  # Any: see Hooks
        fetch_transform: Any = None,
        batch_callback: Any = None,
        batch_transform: Any = None,
        read_ahead: int = 1,
        threads: int | None = None,
        **unknown: Never,
    ) -> None:
        check_keywords(unknown, inspect.signature(Loader).parameters)
        sizes = Sizes(batch_size, fetch_factor, drop_last, uneven)
        check_count("read_ahead", read_ahead, least=0)
        check_threads(threads)
        check_seed(seed)
        if isinstance(source, Loader):
            raise TypeError("a Loader is no source of rows; give its loader.source")
        self.source = check_collection(source)
        self.strategy = BlockShuffling() if strategy is None else strategy
        self.seed = int(seed)
        self.read_ahead = int(read_ahead)
        self.threads = threads
        self._shard = Shard(rank, world_size, worker, num_workers)
        hooks = Hooks(fetch_callback, fetch_transform, batch_callback, batch_transform)
        check_hooks(hooks)
        self._batching = make_batching(
            self.source,
            hooks,
            output=output,
            dtype=dtype,
            width=width,
            overflow=overflow,
            batch_size=sizes.batch_size,
            set_sizes=getattr(self.strategy, "set_sizes", None),
        )
        if memory is not None:
            sizes = self._batching.fit(sizes, memory, read_ahead=self.read_ahead)
        orders = EpochOrders(
            self.source, self.strategy, self.seed, self._batching.buckets
        )
        self._epochs = Epochs(orders, sizes)
        self._start: Start  # where the next iteration begins
        self._latest: Bookmark  # where the latest iterator stands
        self._begin_at(Start(Position(epoch=0)))
        self._lookup: BatchLookup | None = None
        self.stats = LoaderStats()
        self._epochs.warn_if_empty(0, self.world_size, stacklevel=2)

    @property
    def batch_size(self) -> int:
        """Rows of a minibatch."""
        return self._epochs.sizes.batch_size

    @property
    def fetch_factor(self) -> int:
        """Minibatches of a fetch: as given, or what `memory` allows."""
        return self._epochs.sizes.fetch_factor

    @property
    def drop_last(self) -> bool:
        """Whether the last minibatch is left out if it is short."""
        return self._epochs.sizes.drop_last

    @property
    def uneven(self) -> Uneven:
        """How ranks get equal numbers of batches: ``"trim"`` or ``"pad"``."""
        return self._epochs.sizes.uneven

    @uneven.setter
    def uneven(self, uneven: Uneven) -> None:
        sizes = replace(self._epochs.sizes, uneven=uneven)
        self._epochs = replace(self._epochs, sizes=sizes)

    @property
    def rank(self) -> int:
        """Which of `world_size` ranks this loader yields for."""
        return self._shard.rank

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self._shard.world_size

    @property
    def worker(self) -> int:
        """Which of `num_workers` workers of its rank this loader yields for."""
        return self._shard.worker

    @property
    def num_workers(self) -> int:
        """Number of workers of each rank."""
        return self._shard.num_workers

    @property
    def output(self) -> str | None:
        """What minibatches of a source are, such as ``"csr"``; else None."""
        output = self._batching.output
        return None if output is None else output.name

    @property
    def hooks(self) -> Hooks:
        """The hooks that it was given."""
        return self._batching.hooks

    @property
    def epoch(self) -> int:
        """Epoch of the latest iterator; of the next one before the first."""
        return self._latest.position.epoch

    @property
    def next_epoch(self) -> int:
        """Epoch of the next iteration."""
        return self._epochs.first_position(self._start, self._shard).epoch

    def __len__(self) -> int:
        """Return the batches this loader yields in a fresh epoch."""
        return self._epochs.dealing(self.epoch).share(self._shard).n_batches

    def _repr_html_(self) -> str:
        return html_of_text(repr(self))

    def __repr__(self) -> str:
        shard = self._shard
        where = ""
        if shard != Shard():
            where = f", rank {shard.rank} of {shard.world_size}"
            where += f", worker {shard.worker} of {shard.num_workers}"
        return (
            f"Loader({len(self):,} batches of {self.batch_size}, fetches of"
            f" {self.fetch_factor} batches, seed={self.seed}, epoch={self.epoch}{where}"
            f"\n  strategy: {self.strategy!r}"
            f"\n  source: {show_collection(self.source)})"
        )

    def __getitem__(self, key: object) -> NoReturn:
        raise TypeError(
            "a Loader is iterated, not indexed: each iteration is an epoch of ready"
            " batches, and loader.batch(k) gives one; for a PyTorch DataLoader wrap it,"
            " DataLoader(scdataset_torch.LoaderDataset(loader), batch_size=None)"
        )

    def __iter__(self) -> BatchIterator:
        """Start the next epoch, or go on where a loaded state stands."""
        bookmark = None
        while bookmark is None:
            start = self._start
            position = self._epochs.first_position(start, self._shard)
            plan = self._epochs.plan(position, self._shard)
            if position.epoch != self.epoch:
                epoch, n_ranks = position.epoch, self.world_size
                self._epochs.warn_if_empty(epoch, n_ranks, stacklevel=2)
            bookmark = self._leave(start, position)
        iterator = BatchIterator(
            plan,
            self._batching,
            bookmark,
            read_ahead=self.read_ahead,
            threads=self.threads,
        )
        self.stats = iterator.stats
        return iterator

    def _leave(self, start: Start, position: Position) -> Bookmark | None:
        """Let the next iteration begin elsewhere; None if another thread just did."""
        with _leaving:
            if self._start is not start:
                return None
            self._latest.is_overtaken = True  # no matter if it is at its end
            self._latest = bookmark = Bookmark(position)
            self._start = Start(Position(position.epoch + 1))
            return bookmark

    def _begin_at(self, start: Start) -> None:
        self._start = start
        self._latest = Bookmark(start.position)

    def batch(self, number: int, epoch: int | None = None) -> Any:
        """Return one minibatch of an epoch, by its number.

        It is the minibatch that an iteration gives, bit for bit, with all hooks
        applied. Iterators and the state stay as they are. The latest fetch is kept, so
        that minibatches asked for in turn are read once. Several threads may call this.

        Parameters
        ----------
        number
            Which minibatch of the whole epoch, from 0, whichever rank or worker yields
            it: on one of several ranks that is not the `number`-th of its own. What
            `drop_last` leaves out has no number; what ``uneven="trim"`` leaves out has.
        epoch
            The epoch; by default ``loader.epoch``.

        Raises
        ------
        IndexError
            If the epoch has no such minibatch.

        Examples
        --------
        >>> import numpy as np
        >>> loader = Loader(np.arange(10), BlockShuffling(block_size=2), batch_size=4)
        >>> [loader.batch(k).tolist() for k in range(3)] == [b.tolist() for b in loader]
        True
        """
        epoch = self.epoch if epoch is None else epoch
        check_count("epoch", epoch, least=0)
        lookup = self._lookup
        if lookup is None or not lookup.is_here:
            self._lookup = lookup = BatchLookup(self._batching, self.threads)
        return lookup.batch(number, int(epoch), self._epochs.whole_plan)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration epoch `epoch`, from its beginning.

        Between ``load_state_dict`` and the next iteration the state's own epoch keeps
        the position: that of a finished epoch then yields nothing, once.
        """
        check_count("epoch", epoch, least=0)
        self._begin_at(self._start.at_epoch(int(epoch)))

    def fresh(self, epoch: int | None = None) -> Self:
        """Return an unstarted copy that stands at the beginning of an epoch.

        It is of the same rank and worker. A loaded state is left behind: the copy
        begins at the first batch, also of the state's own epoch.

        Parameters
        ----------
        epoch
            The epoch; by default ``loader.epoch``.
        """
        epoch = self.epoch if epoch is None else epoch
        check_count("epoch", epoch, least=0)
        return self._copy(self._shard, Start(Position(int(epoch))))

    def state_dict(self) -> dict[str, Any]:
        """Return where the latest iterator stands: after the batches it has yielded.

        Returns
        -------
        state
            A small JSON-serialisable dict for this rank and worker. To go on with
            another number of them, merge the states of all with
            :func:`scdataset_core.merge_states`.
        """
        return self._epochs.state(self._latest.position, self._shard).to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration go on with the very next batch after a state.

        Parameters
        ----------
        state
            From :meth:`state_dict` of the same rank and worker, or from
            :func:`scdataset_core.merge_states`.

        Raises
        ------
        StateError
            If the state is of another data set, strategy, seed, size or shard.
        """
        given = State.parse(state)
        self._begin_at(self._epochs.start_from(given, self._shard))

    def shard(
        self,
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Self:
        """Return an unstarted copy that yields one rank's and worker's share.

        The copy is at the same epoch, and goes on from a merged state if one is loaded.

        Raises
        ------
        StateError
            If a state of another rank or worker is loaded.
        """
        shard = Shard(rank, world_size, worker, num_workers)
        start = self._start
        if not start.is_loaded:
            start = Start(Position(self.epoch))
        elif not start.is_merged and shard != self._shard:
            raise StateError(
                f"the loaded state is of {self._shard}, not of {shard};"
                " load a merged state (merge_states) before dividing the work"
            )
        if self._epochs.dealing(self.epoch).why_empty(self.world_size) is None:
            self._epochs.warn_if_empty(self.epoch, world_size, stacklevel=2)
        return self._copy(shard, start)

    def _copy(self, shard: Shard, start: Start) -> Self:
        other = copy.copy(self)
        other._shard = shard
        other._begin_at(start)
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lookup": None, "stats": LoaderStats()}
