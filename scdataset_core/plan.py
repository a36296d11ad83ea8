"""Plan: it says which rows make each fetch of a rank and worker, without any I/O."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .dealing import Dealing
from .order_checks import check_order
from .orders import Order
from .permutation import Purpose, derive_key, hash_numbers
from .ranges import Ranges, union
from .sets import BatchSets, Sets, pick_cells
from .shares import Shard
from .sizes import Sizes, Uneven

__all__ = ["Batch", "Fetch", "Plan", "sort_rows"]

# Computing the rows of one minibatch costs nearly as much as those of this many: 64
# rows of a permuted order take 0.3 ms, 4,096 take 0.8 and 16,384 take 1.3 (busy cores).
_WINDOW_ROWS = 16384

Rows = npt.NDArray[np.int64]


class Batch(NamedTuple):
    """A minibatch of a fetch: its number in the epoch, and its places in the fetch."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Fetch:
    """The rows of one read, and the minibatches that they make.

    Parameters
    ----------
    number
        Which fetch of the epoch it is.
    rows
        The rows to read, sorted, shape ``(k,)``; a row that is drawn twice comes twice.
    places
        The place of each row once the rows are in the order of the minibatches.
    batches
        The minibatches to yield: batch `b` has the places ``[b.start, b.stop)``.
    sets
        The sets of each minibatch, where minibatches are made of sets of cells; their
        controls have the places from ``b.stop`` on.
    """

    number: int
    rows: Rows
    places: Rows
    batches: tuple[Batch, ...]
    sets: tuple[BatchSets, ...] = ()


def sort_rows(rows: Rows) -> tuple[Rows, Rows]:
    """Return rows sorted, and the place at which each stood; equal ones in their order.

    Examples
    --------
    >>> [column.tolist() for column in sort_rows(np.array([7, 3, 7]))]
    [[3, 7, 7], [1, 0, 2]]
    """
    n_bits = len(rows).bit_length()
    if rows.max(initial=0) >> (63 - n_bits):
        places = np.argsort(rows, kind="stable").astype(np.int64, copy=False)
        return rows[places], places
    # Sorting rows with their places behind them takes a fifth of a stable argsort.
    joined = np.sort(rows << n_bits | np.arange(len(rows)))
    return joined >> n_bits, joined & ((1 << n_bits) - 1)


class Plan:
    """The fetches of one epoch for one rank and worker.

    A plan holds no rows, so that of 10^9 rows is made at once. Minibatch `k` holds the
    same rows in the same order for any number of ranks and workers;
    :mod:`scdataset_core.dealing` says who yields it.

    Parameters
    ----------
    order
        The rows of the epoch.
    batch_size
        Rows of a minibatch.
    fetch_factor
        Minibatches of a fetch.
    drop_last
        Leave out the last minibatch if it is short.
    uneven
        How ranks get equal numbers of batches: ``"trim"`` leaves minibatches out,
        ``"pad"`` repeats some.
    rank, world_size, worker, num_workers
        The rank and worker that the plan is for.
    done
        Ranges of minibatches that were yielded before.
    key
        Key of the shuffle inside fetches; by default that of `order`.

    Raises
    ------
    ValueError
        If a size is below 1, a rank or worker is outside its range, or the order is of
        sets of cells and `batch_size` is no multiple of their size.
    """

    def __init__(
        self,
        order: Order,
        *,
        batch_size: int = 64,
        fetch_factor: int = 16,
        drop_last: bool = False,
        uneven: Uneven = "trim",
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        num_workers: int = 1,
        done: Ranges | tuple[()] = (),
        key: int | None = None,
    ) -> None:
        self.order = check_order(order, name=type(order).__name__)
        sizes = Sizes(batch_size, fetch_factor, drop_last, uneven)
        if self.order.set_sizes is not None:
            self.order.set_sizes.check_batch_size(sizes.batch_size)
        self.dealing = Dealing(len(order), sizes, union(done))
        self.shard = Shard(rank, world_size, worker, num_workers)
        self._share = self.dealing.share(self.shard)
        if key is None:
            key = getattr(self.order, "key", derive_key(0, 0, Purpose.SHUFFLE))
        self._key = key
        self._window_fetches = max(1, _WINDOW_ROWS // sizes.fetch_rows)
        self._window: tuple[int, Rows, Sets | None, list[int]] | None = None

    def __len__(self) -> int:
        """Return the number of minibatches this rank and worker yields."""
        return self._share.n_batches

    def __repr__(self) -> str:
        sizes, shard = self.dealing.sizes, self.shard
        return (
            f"Plan({self.dealing.n_rows:,} rows, batch_size={sizes.batch_size},"
            f" fetch_factor={sizes.fetch_factor}, rank {shard.rank} of"
            f" {shard.world_size}, worker {shard.worker} of {shard.num_workers}:"
            f" {len(self):,} batches, {self.dropped} rows dropped,"
            f" {self.repeated} repeated)"
        )

    @property
    def dropped(self) -> int:
        """Rows of the order that no rank yields, for `drop_last` and ``"trim"``."""
        return self.dealing.dropped(self.shard.world_size)

    @property
    def repeated(self) -> int:
        """Rows that ranks yield once more, for ``"pad"``."""
        return self.dealing.repeated(self.shard.world_size)

    def fetches(self, *, skip: int = 0, whole: bool = False) -> Iterator[Fetch]:
        """Yield the fetches, in the order this rank and worker reads them.

        Parameters
        ----------
        skip
            Minibatches to pass over.
        whole
            Give all rows of every fetch, which hooks on fetches need: also those of
            minibatches that others yield or that were yielded before. By default only
            the rows to be yielded are given.
        """
        for number, held in self._share.fetches(skip):
            yield self._fetch(number, held, whole=whole)

    def fetch(self, number: int, *, whole: bool = False) -> Fetch:
        """Return one fetch of the epoch with all of its minibatches, of any rank.

        Parameters
        ----------
        number
            Which fetch, from 0.
        whole
            Give also the rows of a short minibatch that is left out.
        """
        first = number * self.dealing.sizes.fetch_factor
        stop = min(first + self.dealing.sizes.fetch_factor, self.dealing.n_batches)
        return self._fetch(number, tuple(range(first, stop)), whole=whole)

    def _fetch(self, number: int, held: tuple[int, ...], *, whole: bool) -> Fetch:
        first = number * self.dealing.sizes.fetch_factor
        pieces = self._pieces(number)
        # Whole fetches have the rows of a short minibatch that is left out, too.
        read = range(first, first + len(pieces)) if whole else held
        parts = [pieces[batch - first][0] for batch in read]
        stops = accumulate(map(len, parts), initial=0)
        starts = dict(zip(read, stops, strict=False))
        batches, found = [], []
        for batch in held:
            part, sets = pieces[batch - first]
            start, n_cells = starts[batch], len(part)
            if sets is not None:
                n_cells -= sets.n_controls
                found.append(sets)
            batches.append(Batch(batch, start, start + n_cells))
        rows, places = sort_rows(np.concatenate(parts))
        return Fetch(number, rows, places, tuple(batches), tuple(found))

    def _pieces(self, number: int) -> list[tuple[Rows, BatchSets | None]]:
        """Return the rows that each minibatch of a fetch reads, and its sets."""
        size = self.dealing.sizes.batch_size
        rows, sets, key = self._look_up(number)
        rows = self.order.arrange(rows, batch_size=size, key=key)
        starts = range(0, len(rows), size)
        sizes = self.order.set_sizes
        if sizes is None or sets is None:
            return [(rows[start : start + size], None) for start in starts]
        per_set = sizes.set_size
        return [
            pick_cells(
                rows[start : start + size],
                sets.part(start // per_set, (start + size) // per_set),
                sizes,
            )
            for start in starts
        ]

    def _look_up(self, number: int) -> tuple[Rows, Sets | None, int]:
        """Return the rows, sets and key of a fetch; its neighbours' are found with it.

        The key is that of its shuffle.
        """
        fetch_rows = self.dealing.sizes.fetch_rows
        window = number // self._window_fetches
        first = window * self._window_fetches * fetch_rows
        sizes = self.order.set_sizes
        if self._window is None or self._window[0] != window:
            stop = min(first + self._window_fetches * fetch_rows, self.dealing.n_rows)
            sets = None
            if sizes is not None:
                sets = self.order.sets(first // sizes.set_size, stop // sizes.set_size)
            numbers = window * self._window_fetches + np.arange(self._window_fetches)
            keys = hash_numbers(numbers, key=self._key).tolist()
            self._window = (window, self.order.rows(first, stop), sets, keys)
        _, rows, sets, keys = self._window
        start = number * fetch_rows - first
        stop = start + fetch_rows
        if sizes is not None and sets is not None:
            sets = sets.part(start // sizes.set_size, stop // sizes.set_size)
        return rows[start:stop], sets, keys[number - window * self._window_fetches]
