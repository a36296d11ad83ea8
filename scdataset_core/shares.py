"""Shares: which fetches each rank and worker has, of one rank or of all at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .checks import check_count
from .ranges import RangeNumbers, Ranges, union

__all__ = ["AllShares", "Deal", "Shard", "Share"]

Integers = npt.NDArray[np.int64]

# Whole fetches that some ranks have done and others have not are listed.
_MOST_BEYOND = 1 << 24
# The numbers of so many fetches are computed at a time.
_LOOKED_UP = 64


@dataclass(frozen=True)
class Shard:
    """One rank of several, and one worker of several in it."""

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    num_workers: int = 1

    def __post_init__(self) -> None:
        for index, size in (("rank", "world_size"), ("worker", "num_workers")):
            check_count(size, getattr(self, size))
            check_count(index, getattr(self, index), least=0)
            for name in (index, size):  # NumPy's integers are not JSON
                object.__setattr__(self, name, int(getattr(self, name)))
            if getattr(self, index) >= getattr(self, size):
                raise ValueError(
                    f"{index} must be below {size}, got {index}={getattr(self, index)}"
                    f" and {size}={getattr(self, size)}"
                )

    def __str__(self) -> str:
        return (
            f"rank {self.rank} of {self.world_size},"
            f" worker {self.worker} of {self.num_workers}"
        )


class Partials(NamedTuple):
    """Fetches of which a rank holds some minibatches only.

    They are sorted by rank, then by place. Arrays have shape ``(k,)`` but `numbers`.

    Parameters
    ----------
    ranks, fetches
        The rank, and the number of the fetch.
    places
        Where the fetch comes among all those of its rank.
    n_wholes
        How many whole fetches of the rank come before it.
    repeated
        Whether another rank yields the minibatches too.
    starts, counts
        Where its minibatches start among `numbers`, and how many they are.
    numbers
        The minibatches of all of these fetches.
    """

    ranks: Integers
    fetches: Integers
    places: Integers
    n_wholes: Integers
    repeated: npt.NDArray[np.bool_]
    starts: Integers
    counts: Integers
    numbers: Integers


@dataclass(frozen=True)
class Deal:
    """What is dealt to a number of ranks: whole fetches, and loose minibatches.

    Parameters
    ----------
    fetch_factor
        Minibatches of a whole fetch.
    n_batches
        Minibatches of the epoch.
    world_size
        Number of ranks.
    wholes
        The fetches that are dealt whole, in rounds.
    loose
        The minibatches that no full round takes.
    n_dealt
        How many of `loose` are dealt; the last are trimmed.
    n_repeated
        How many minibatches are repeated.
    """

    fetch_factor: int
    n_batches: int
    world_size: int
    wholes: RangeNumbers
    loose: RangeNumbers
    n_dealt: int
    n_repeated: int

    @property
    def n_wholes(self) -> int:
        """Whole fetches of each rank."""
        return len(self.wholes) // self.world_size

    def partials(self, rank: int | None = None) -> Partials:
        """Return the partial fetches of a rank, or those of all ranks."""
        world_size = self.world_size
        first, step = (0, 1) if rank is None else (rank, world_size)
        dealt = np.arange(first, self.n_dealt + self.n_repeated, step)
        dealt = dealt[np.argsort(dealt % world_size, kind="stable")]
        repeated = dealt >= self.n_dealt
        numbers = np.empty(len(dealt), np.int64)
        numbers[~repeated] = self.loose.at(dealt[~repeated])
        numbers[repeated] = (dealt[repeated] - self.n_dealt) % max(self.n_batches, 1)
        ranks, fetches = dealt % world_size, numbers // self.fetch_factor
        # The minibatches of a rank ascend, and one that is repeated comes last.
        keys = np.stack([ranks, fetches, repeated])
        starts = np.flatnonzero(np.any(np.diff(keys, axis=1, prepend=-1), axis=0))
        ranks, fetches, repeated = ranks[starts], fetches[starts], repeated[starts]
        n_below = self.wholes.count_below(fetches) - ranks
        n_wholes = np.maximum(0, -(-n_below // world_size))
        n_wholes[repeated] = self.n_wholes
        before = np.arange(len(ranks)) - np.searchsorted(ranks, ranks)
        return Partials(
            ranks,
            fetches,
            n_wholes + before,
            n_wholes,
            repeated,
            starts,
            np.diff(starts, append=len(numbers)),
            numbers,
        )


@dataclass(frozen=True)
class Share:
    """The fetches of one shard: whole ones by arithmetic, a few partial ones listed.

    Parameters
    ----------
    deal
        What is dealt to the ranks.
    shard
        The rank and worker that the share is for.
    """

    deal: Deal
    shard: Shard

    @cached_property
    def _partials(self) -> Partials:
        """The partial fetches of the rank."""
        return self.deal.partials(self.shard.rank)

    @cached_property
    def _mine(self) -> Integers:
        """Which of the partial fetches are this worker's."""
        own = self._partials.places % self.shard.num_workers == self.shard.worker
        return np.flatnonzero(own)

    @property
    def _n_fetches(self) -> int:
        """Fetches of the rank."""
        return self.deal.n_wholes + len(self._partials.places)

    @property
    def n_batches(self) -> int:
        """Minibatches of this worker."""
        worker, workers = self.shard.worker, self.shard.num_workers
        n_whole = len(range(worker, self._n_fetches, workers)) - len(self._mine)
        n_loose = int(self._partials.counts[self._mine].sum())
        return n_whole * self.deal.fetch_factor + n_loose

    @property
    def n_repeated(self) -> int:
        """Minibatches of this worker that another rank yields too; they come last."""
        mine = self._mine
        return int(self._partials.counts[mine][self._partials.repeated[mine]].sum())

    def fetches(self, skip: int = 0) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield the number of each fetch of this worker, and the minibatches held.

        Parameters
        ----------
        skip
            Minibatches to pass over.
        """
        partials, factor = self._partials, self.deal.fetch_factor
        first, step = self.shard.worker, self.shard.num_workers
        for which in [*self._mine.tolist(), None]:
            stop = self._n_fetches if which is None else int(partials.places[which])
            wholes = range(first, stop, step)
            passed = min(skip // factor, len(wholes))  # none of them is looked up
            skip -= passed * factor
            for number in self._numbers(wholes[passed:]):
                held = range(number * factor + skip, (number + 1) * factor)
                yield number, tuple(held)
                skip = 0
            if which is not None:
                start, n_held = int(partials.starts[which]), int(partials.counts[which])
                if skip < n_held:
                    held_here = partials.numbers[start + skip : start + n_held]
                    yield int(partials.fetches[which]), tuple(held_here.tolist())
                skip = max(0, skip - n_held)
                first = stop + step

    def _numbers(self, places: range) -> Iterator[int]:
        """Yield the numbers of whole fetches at places among those of the rank."""
        for first in range(0, len(places), _LOOKED_UP):
            some = np.array(places[first : first + _LOOKED_UP], np.int64)
            i = some - np.searchsorted(self._partials.places, some)
            at = i * self.shard.world_size + self.shard.rank
            yield from self.deal.wholes.at(at).tolist()


class AllShares:
    """The shares of all ranks and workers at once.

    Arrays of workers have shape ``(world_size, num_workers)``.

    Parameters
    ----------
    deal
        What is dealt to the ranks.
    num_workers
        Workers of each rank.
    """

    def __init__(self, deal: Deal, num_workers: int) -> None:
        self._deal = deal
        self._shape = (deal.world_size, num_workers)
        self._partials = found = deal.partials()
        # Which worker of which rank has each partial fetch, and which of its own it is.
        self._owners = found.ranks * num_workers + found.places % num_workers
        self._turns = found.places // num_workers
        self._lacks = deal.fetch_factor - found.counts  # to a whole fetch

    def _sum(self, values: Integers) -> Integers:
        """Return the sum of values of partial fetches for each worker."""
        n = self._shape[0] * self._shape[1]
        sums = np.bincount(self._owners, weights=values, minlength=n)
        return sums.astype(np.int64).reshape(self._shape)

    @cached_property
    def n_batches(self) -> Integers:
        """Minibatches of each worker."""
        world_size, num_workers = self._shape
        n_partial = np.bincount(self._partials.ranks, minlength=world_size)
        n_fetches = (self._deal.n_wholes + n_partial)[:, None]
        n_fetches = -(-(n_fetches - np.arange(num_workers)) // num_workers)
        batches: Integers = n_fetches * self._deal.fetch_factor - self._sum(self._lacks)
        return batches

    def done_after(self, yielded: Integers) -> Ranges:
        """Return the minibatches that are done once each worker has yielded some.

        Parameters
        ----------
        yielded
            Minibatches that each worker has yielded, at most `n_batches`.
        """
        found, factor = self._partials, self._deal.fetch_factor
        # A worker stands in its fetch `turns`, of which `begun` minibatches are done.
        before = self._turns * factor - self._lacking_before()
        n_done = np.clip(yielded.reshape(-1)[self._owners] - before, 0, found.counts)
        lacking = self._sum(np.where(n_done == found.counts, self._lacks, 0))
        turns, begun = np.divmod(yielded + lacking, factor)
        places = np.arange(len(found.numbers)) - np.repeat(found.starts, found.counts)
        loose = found.numbers[places < np.repeat(n_done, found.counts)]
        n_common = self._count_common(int(turns.min()))
        common = self._deal.wholes.first(n_common * self._deal.world_size) * factor
        rest = self._done_beyond(n_common, turns, begun)
        return union(
            np.concatenate([common, rest, np.column_stack([loose, loose + 1])])
        )

    def _lacking_before(self) -> Integers:
        """Return what the partial fetches lack that a worker has before each."""
        order = np.argsort(self._owners, kind="stable")
        owners, lacks = self._owners[order], self._lacks[order]
        reached = np.cumsum(lacks) - lacks
        out = np.empty_like(lacks)
        out[order] = reached - reached[np.searchsorted(owners, owners)]
        return out

    def _count_common(self, turns: int) -> int:
        """Return how many whole fetches every rank has within the first turns."""
        stop = turns * self._shape[1]
        partial = self._partials.ranks[self._partials.places < stop]
        most = int(np.bincount(partial).max(initial=0))
        return min(max(stop - most, 0), self._deal.n_wholes)

    def _done_beyond(self, first: int, turns: Integers, begun: Integers) -> Ranges:
        """Return what is done of the whole fetches of each rank from `first` on."""
        world_size, num_workers = self._shape
        n_wholes, factor = self._deal.n_wholes, self._deal.fetch_factor
        last = min(n_wholes, (int(turns.max()) + 1) * num_workers)
        if (last - first) * world_size > _MOST_BEYOND:
            raise ValueError(
                f"some ranks or workers are {last - first:,} fetches behind others;"
                " save the states of all after the same step"
            )
        wholes = np.arange(first, last)
        ranks = np.arange(world_size)[:, None]
        # The place of a whole fetch counts the partial ones of the rank before it.
        keys = self._partials.ranks * (n_wholes + 1) + self._partials.n_wholes
        found = np.searchsorted(keys, ranks * (n_wholes + 1) + wholes, side="right")
        found -= np.searchsorted(self._partials.ranks, ranks)
        turn, worker = np.divmod(wholes + found, num_workers)
        now = turns[ranks, worker]
        n_done = np.where(turn == now, begun[ranks, worker], 0)
        n_done[turn < now] = factor
        numbers = self._deal.wholes.at(wholes * world_size + ranks) * factor
        return np.column_stack([numbers.reshape(-1), (numbers + n_done).reshape(-1)])
