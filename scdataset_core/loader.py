"""Loader: the iterator of minibatches that users hold."""

import copy
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, Self

import numpy.typing as npt

from .batching import Batching, Hooks, ObjectBatching, SourceBatching
from .checks import check_count, check_hooks, check_seed
from .collection import checked_collection, fingerprint_of, shown
from .dealing import Dealing, Shard, Uneven, union
from .errors import StateError
from .form import Overflow
from .iteration import BatchIterator
from .legacy import order_of
from .memory import fetch_factor_within
from .orders import Order
from .permutation import Purpose, derive_key
from .plan import Plan
from .sources.base import Source
from .state import Progress, State
from .stats import LoaderStats
from .strategies import BlockShuffling

__all__ = ["Loader"]

_NOTHING_DONE = union([])


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
        one for all, or by name.
    overflow
        What happens to a row with more stored values than `width`: ``"error"``, or
        ``"largest"`` to keep its largest values.
    memory
        Bytes for fetches, such as ``"2GiB"``, in place of `fetch_factor`: it is
        resolved once, from the mean number of stored values a row.
    uneven
        How ranks get equal numbers of batches: ``"trim"`` leaves out fewer than
        `world_size` minibatches, ``"pad"`` repeats some.
    rank, world_size, worker, num_workers
        The share of the work this loader yields.
    fetch_callback, fetch_transform, batch_callback, batch_transform
        Hooks: ``fetch_callback(collection, rows)`` reads sorted rows,
        ``fetch_transform(fetched)`` changes what was read, ``batch_callback(fetched,
        positions)`` takes a minibatch from it, ``batch_transform(batch)`` changes a
        minibatch. The first two run on the thread that reads ahead.
    read_ahead
        Fetches read on threads before they are wanted, and one more where two are read
        at a time: from files that are not compressed. 0 reads in the consumer.
    threads
        Threads that read and decode; chosen for the machine by default.

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
        output: Literal["csr", "dense", "padded", "anndata"] | None = None,
        dtype: npt.DTypeLike | None = None,
        width: int | Mapping[str, int] | None = None,
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
    ) -> None:
        check_count("batch_size", batch_size)
        check_count("fetch_factor", fetch_factor)
        check_count("read_ahead", read_ahead, least=0)
        if threads is not None:
            check_count("threads", threads)
        check_seed(seed)
        if isinstance(source, Loader):
            raise TypeError(
                "a Loader is no source of rows; give its own, loader.source"
            )
        self.source = checked_collection(source)
        self.strategy = BlockShuffling() if strategy is None else strategy
        self.batch_size = int(batch_size)
        self.seed = int(seed)
        self.drop_last = bool(drop_last)
        self.uneven: Uneven = uneven
        self.read_ahead = int(read_ahead)
        self.threads = threads
        self._shard = Shard(rank, world_size, worker, num_workers)
        hooks = Hooks(fetch_callback, fetch_transform, batch_callback, batch_transform)
        check_hooks(hooks)
        self._batching = self._make_batching(
            hooks, output=output, dtype=dtype, width=width, overflow=overflow
        )
        self.fetch_factor = int(fetch_factor)
        if memory is not None:
            self.fetch_factor = fetch_factor_within(
                memory,
                batch_size=self.batch_size,
                n_buffers=self.read_ahead + 2,
                **self._sizes(),
            )
        self._progress = Progress(epoch=0, done=_NOTHING_DONE)
        self._next: Literal["start", "resume", "hold", "advance"] = "start"
        self._merged = False
        self._epoch_order: tuple[int, Order] | None = None
        self._strategy_said: dict[str, Any] | None = None
        self.stats = LoaderStats()
        self._order(0)
        self._dealing(0)

    def _make_batching(
        self,
        hooks: Hooks,
        *,
        output: str | None,
        dtype: npt.DTypeLike | None,
        width: int | Mapping[str, int] | None,
        overflow: Overflow,
    ) -> Batching:
        source = self.source
        if not isinstance(source, Source):
            for name, value in (("output", output), ("dtype", dtype), ("width", width)):
                if value is not None:
                    raise ValueError(
                        f"{name} goes with a source, and a {type(source).__name__} is"
                        f" not one: its batches are of its own type; pass"
                        f" scdataset_core.open(obj) for dict batches"
                    )
            return ObjectBatching(source, hooks)
        if width is not None and output != "padded":
            raise ValueError('width goes with output="padded"')
        layout: Any = None if output == "anndata" else output
        form = source.form_of(layout, dtype=dtype, width=width, overflow=overflow)
        return SourceBatching(
            source,
            hooks,
            form=form,
            anndata=output == "anndata",
            batch_size=self.batch_size,
        )

    def _sizes(self) -> dict[str, float]:
        """Return the mean bytes of a row as it is held, and while it is read."""
        if not isinstance(self._batching, SourceBatching):
            raise ValueError(
                f"memory goes with a source: the rows of a {type(self.source).__name__}"
                " are of unknown size; give fetch_factor"
            )
        source: Source = self._batching.collection
        form = self._batching.form
        n_reading = 2 if source.concurrent and self.read_ahead else 1
        return {
            "row_bytes": source.row_bytes(form),
            "reading_bytes": source.reading_bytes(form) * n_reading,
        }

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
    def epoch(self) -> int:
        """Epoch of the latest iterator; of the next one before the first."""
        return self._progress.epoch

    @property
    def next_epoch(self) -> int:
        """Epoch of the next iteration."""
        return self._next_progress().epoch

    def __len__(self) -> int:
        """Return the batches this loader yields in a fresh epoch."""
        return self._dealing(self.epoch).share(self._shard).n_batches

    def __repr__(self) -> str:
        shard = self._shard
        where = ""
        if shard != Shard():
            where = f", rank {shard.rank} of {shard.world_size}"
            where += f", worker {shard.worker} of {shard.num_workers}"
        return (
            f"Loader({len(self):,} batches of {self.batch_size}, fetches of"
            f" {self.fetch_factor} batches, seed={self.seed}, epoch={self.epoch}{where}"
            f"\n  strategy: {self.strategy!r}\n  source: {shown(self.source)})"
        )

    def __getitem__(self, key: object) -> NoReturn:
        # For what takes all that has a length for a data set to be indexed, such as
        # PyTorch's DataLoader, whose own words would be of __getitem__ alone.
        raise TypeError(
            "a Loader is iterated, not indexed: each iteration is an epoch of ready"
            " batches; for a PyTorch DataLoader wrap it,"
            " DataLoader(scdataset_torch.LoaderDataset(loader), batch_size=None)"
        )

    def __iter__(self) -> BatchIterator:
        """Start the next epoch, or go on where a loaded state stands."""
        progress = self._next_progress()
        plan = self._plan(progress)
        self._progress.is_behind = True  # of no effect if its iterator is done with
        self._progress = progress
        self._next = "advance"
        iterator = BatchIterator(
            plan,
            self._batching,
            progress,
            read_ahead=self.read_ahead,
            threads=self.threads,
        )
        self.stats = iterator.stats
        return iterator

    def _next_progress(self) -> Progress:
        now = self._progress
        if self._next == "start":
            return Progress(now.epoch, _NOTHING_DONE)
        finished = self._next == "resume" and self._is_finished(now)
        if self._next == "advance" or finished:
            return Progress(now.epoch + 1, _NOTHING_DONE)
        return Progress(now.epoch, now.done, now.yielded)

    def _is_finished(self, progress: Progress) -> bool:
        """Whether nothing is left for the rank, or for the worker whose state it is."""
        shard = self._shard
        if self._merged:
            shard = Shard(shard.rank, shard.world_size)
        share = self._dealing(progress.epoch, progress).share(shard)
        return progress.yielded >= share.n_batches

    def _order(self, epoch: int) -> Order:
        if self._epoch_order is None or self._epoch_order[0] != epoch:
            order = order_of(self.strategy, self.source, seed=self.seed, epoch=epoch)
            self._epoch_order = (epoch, order)
        return self._epoch_order[1]

    def _dealing(self, epoch: int, progress: Progress | None = None) -> Dealing:
        return Dealing(
            len(self._order(epoch)),
            self.batch_size,
            self.fetch_factor,
            self.drop_last,
            self.uneven,
            _NOTHING_DONE if progress is None else progress.done,
        )

    def _plan(self, progress: Progress) -> Plan:
        order = self._order(progress.epoch)
        default = derive_key(self.seed, progress.epoch, Purpose.SHUFFLE)
        return Plan(
            order,
            batch_size=self.batch_size,
            fetch_factor=self.fetch_factor,
            drop_last=self.drop_last,
            uneven=self.uneven,
            rank=self.rank,
            world_size=self.world_size,
            worker=self.worker,
            num_workers=self.num_workers,
            done=progress.done,
            key=getattr(order, "key", default),
        )

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration epoch `epoch`, from its beginning.

        Between ``load_state_dict`` and the next iteration the state's own epoch keeps
        the position: that of a finished epoch then yields nothing, once.
        """
        check_count("epoch", epoch, least=0)
        if self._next in ("resume", "hold") and epoch == self._progress.epoch:
            self._next = "hold"
            return
        self._progress = Progress(int(epoch), _NOTHING_DONE)
        self._next = "start"

    def state_dict(self) -> dict[str, Any]:
        """Return where the latest iterator stands: the batches yielded, no more.

        Returns
        -------
        state
            Small and JSON-serialisable. It is of this rank and worker; the states of
            all of them make one for any other number with
            :func:`scdataset_core.merge_states`.
        """
        return self._state(self._progress).to_dict()

    def _state(self, progress: Progress) -> State:
        return State(
            data=fingerprint_of(self.source),
            strategy=self._describe_strategy(),
            seed=self.seed,
            epoch=progress.epoch,
            length=len(self._order(progress.epoch)),
            batch_size=self.batch_size,
            fetch_factor=self.fetch_factor,
            drop_last=self.drop_last,
            uneven=self.uneven,
            done=progress.done.tolist(),
            shard=self._shard,
            yielded=progress.yielded,
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on, at the next iteration, with the very next batch after a state.

        Parameters
        ----------
        state
            From :meth:`state_dict` of the same rank and worker, or from
            :func:`scdataset_core.merge_states`.

        Raises
        ------
        StateError
            If it is of another data set, strategy, seed, size or shard, naming which.
        """
        given = State.from_dict(state)
        self._state(Progress(given.epoch, _NOTHING_DONE)).check_same(
            given, of="the state"
        )
        if given.shard is not None and given.shard != self._shard:
            raise StateError(
                f"the state is of {_words(given.shard)}, and this loader is"
                f" {_words(self._shard)}; merge the states of all ranks and workers"
                " with merge_states, and load the merged one"
            )
        self._progress = Progress(given.epoch, union(given.done), given.yielded)
        self._merged = given.shard is None
        self._next = "resume"

    def shard(
        self,
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Self:
        """Return an unstarted copy that yields one rank's and worker's share.

        It is at the same epoch, and goes on from a merged state if one is loaded.

        Raises
        ------
        StateError
            If a state of another rank or worker is loaded.
        """
        shard = Shard(rank, world_size, worker, num_workers)
        other = copy.copy(self)
        other._shard = shard
        other.stats = LoaderStats()
        if self._next not in ("resume", "hold"):
            other._progress = Progress(self._progress.epoch, _NOTHING_DONE)
            other._next = "start"
        elif not self._merged and shard != self._shard:
            raise StateError(
                f"the loaded state is of {_words(self._shard)}, not of {_words(shard)};"
                " load a merged state (merge_states) before dividing the work"
            )
        return other

    def _describe_strategy(self) -> dict[str, Any]:
        if self._strategy_said is None:
            describe = getattr(self.strategy, "describe", None)
            name = {"name": type(self.strategy).__name__}
            self._strategy_said = (
                name if describe is None else dict(describe(self.source))
            )
        return self._strategy_said

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_epoch_order": None, "stats": LoaderStats()}


def _words(shard: Shard) -> str:
    return (
        f"rank {shard.rank} of {shard.world_size},"
        f" worker {shard.worker} of {shard.num_workers}"
    )
