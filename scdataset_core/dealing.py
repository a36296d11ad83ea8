"""Dealing: which minibatches each rank and worker yields, by number alone.

Minibatches are numbered over the epoch; fetch `k` holds the numbers
``[k * fetch_factor, (k + 1) * fetch_factor)``. Whole fetches are dealt in rounds of
`world_size`, one to each rank; of the loose minibatches that no full round takes,
numbered `j`, rank `r` takes those with ``j % world_size == r``. Where their number does
not divide, the last are trimmed, or minibatches 0, 1, ... are repeated. A rank goes
through its fetches in ascending order, repeated minibatches last; worker `w` of a rank
takes every `num_workers`-th of its fetches, whole or partial, from the `w`-th.

In the middle of an epoch the minibatches that are left are dealt in the same way.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .checks import check_count
from .sizes import Sizes

__all__ = ["NOTHING_DONE", "Dealing", "Ranges", "Shard", "union"]

Ranges = npt.NDArray[np.int64]
"""Half-open ranges of minibatch numbers, shape ``(k, 2)``, sorted and disjoint."""

NOTHING_DONE: Ranges = np.empty((0, 2), np.int64)


def union(ranges: Iterable[Iterable[int]] | Ranges) -> Ranges:
    """Return the sorted, disjoint, joined ranges that cover the same numbers."""
    array = np.asarray(list(ranges), np.int64).reshape(-1, 2)
    array = array[array[:, 1] > array[:, 0]]
    if not len(array):
        return NOTHING_DONE
    array = array[np.argsort(array[:, 0], kind="stable")]
    reached = np.maximum.accumulate(array[:, 1])
    first = np.concatenate([[True], array[1:, 0] > reached[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.column_stack([array[first, 0], reached[last]])


def complement(done: Ranges, n: int) -> Ranges:
    """Return the ranges of ``[0, n)`` that `done` leaves."""
    edges = np.concatenate([[0], np.minimum(done.reshape(-1), n), [n]]).reshape(-1, 2)
    return edges[edges[:, 1] > edges[:, 0]]


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


@dataclass(frozen=True)
class Dealing:
    """The minibatches of an epoch, and which of them are left.

    Parameters
    ----------
    n_rows
        Rows of the epoch.
    sizes
        How the rows are cut into minibatches and fetches.
    done
        Minibatches that were yielded before.
    """

    n_rows: int
    sizes: Sizes
    done: Ranges = field(default_factory=lambda: NOTHING_DONE, compare=False)

    @property
    def n_batches(self) -> int:
        """Minibatches of the whole epoch."""
        if self.sizes.drop_last:
            return self.n_rows // self.sizes.batch_size
        return -(-self.n_rows // self.sizes.batch_size)

    def count_rows(self, first: int, stop: int) -> int:
        """Return how many rows minibatches ``[first, stop)`` hold."""
        size = self.sizes.batch_size
        return min(stop * size, self.n_rows) - min(first * size, self.n_rows)

    def left(self) -> Ranges:
        """Return the ranges of minibatches that are left."""
        return complement(self.done, self.n_batches)

    def share(self, shard: Shard) -> "Share":
        """Return what one shard holds."""
        wholes, loose = self._split(shard.world_size)
        dealt, repeated = self._deal_loose(loose, shard.world_size)
        mine = dealt[shard.rank :: shard.world_size]
        extra = np.arange(repeated) + len(dealt)
        extra = extra[extra % shard.world_size == shard.rank] - len(dealt)
        factor = self.sizes.fetch_factor
        in_order = _group_by_fetch(mine, factor)
        return Share(
            fetch_factor=factor,
            wholes=wholes,
            partial=[
                *in_order,
                *_group_by_fetch(extra % max(self.n_batches, 1), factor),
            ],
            n_partial_in_order=len(in_order),
            shard=shard,
        )

    def dropped(self, world_size: int) -> int:
        """Count the rows that no rank yields: of dropped and of trimmed minibatches."""
        _, loose = self._split(world_size)
        dealt, _ = self._deal_loose(loose, world_size)
        trimmed = sum(self.count_rows(int(b), int(b) + 1) for b in loose[len(dealt) :])
        return self.n_rows - self.count_rows(0, self.n_batches) + trimmed

    def repeated(self, world_size: int) -> int:
        """Count the rows that are yielded once more so that ranks are equal."""
        _, loose = self._split(world_size)
        _, repeated = self._deal_loose(loose, world_size)
        numbers = np.arange(repeated) % max(self.n_batches, 1)
        return sum(self.count_rows(int(b), int(b) + 1) for b in numbers)

    def why_empty(self, world_size: int) -> str | None:
        """Return why no rank yields anything in a fresh epoch, or None if they do."""
        n_batches, batch_size = self.n_batches, self.sizes.batch_size
        if self.n_rows == 0:
            return "the strategy gives no rows"
        if n_batches == 0:
            return (
                f"its {self.n_rows:,} rows are fewer than batch_size={batch_size},"
                " and drop_last=True leaves a short minibatch out; give a smaller"
                " batch_size, or drop_last=False"
            )
        if n_batches < world_size and self.sizes.uneven == "trim":
            return (
                f"its {n_batches:,} minibatches of {batch_size} are fewer than the"
                f' {world_size} ranks, and uneven="trim" leaves out what does not come'
                ' out even; give a smaller batch_size, or uneven="pad"'
            )
        return None

    def _split(self, world_size: int) -> tuple[Ranges, npt.NDArray[np.int64]]:
        """Return the fetches of full rounds as ranges, and the loose minibatches."""
        factor = self.sizes.fetch_factor
        n_full = self.n_rows // (self.sizes.fetch_rows)
        left = self.left()
        firsts = -(-left[:, 0] // factor)
        lasts = np.maximum(np.minimum(left[:, 1] // factor, n_full), firsts)
        in_rounds = int((lasts - firsts).sum()) // world_size * world_size
        before = np.cumsum(lasts - firsts) - (lasts - firsts)
        lasts = np.clip(firsts + in_rounds - before, firsts, lasts)
        pieces = [np.empty(0, np.int64)]
        for (start, stop), first, last in zip(left, firsts, lasts, strict=True):
            if last > first:
                pieces.append(np.arange(start, first * factor))
                pieces.append(np.arange(last * factor, stop))
            else:
                pieces.append(np.arange(start, stop))
        taken = lasts > firsts
        return np.column_stack([firsts, lasts])[taken], np.concatenate(pieces)

    def _deal_loose(
        self, loose: npt.NDArray[np.int64], world_size: int
    ) -> tuple[npt.NDArray[np.int64], int]:
        """Return the loose minibatches that are dealt, and how many are repeated."""
        over = len(loose) % world_size
        if over == 0:
            return loose, 0
        if self.sizes.uneven == "pad":
            return loose, world_size - over
        return loose[: len(loose) - over], 0


def _group_by_fetch(
    numbers: npt.NDArray[np.int64], fetch_factor: int
) -> list[tuple[int, tuple[int, ...]]]:
    """Group minibatch numbers by the fetch that holds them, in the order given."""
    groups: dict[int, list[int]] = {}
    for number in numbers.tolist():
        groups.setdefault(number // fetch_factor, []).append(number)
    return [(fetch, tuple(held)) for fetch, held in groups.items()]


@dataclass(frozen=True)
class Share:
    """The fetches of one shard: whole ones by arithmetic, a few partial ones listed.

    Parameters
    ----------
    fetch_factor
        Minibatches of a whole fetch.
    wholes
        Ranges of the fetch numbers that are dealt whole over all ranks.
    partial
        The rank's partial fetches: number of the fetch, and the minibatches held.
    n_partial_in_order
        How many of `partial` take their place by number; the others come last.
    shard
        The rank and worker that the share is for.
    """

    fetch_factor: int
    wholes: Ranges
    partial: list[tuple[int, tuple[int, ...]]]
    n_partial_in_order: int
    shard: Shard

    @property
    def _n_wholes(self) -> int:
        """Whole fetches of the rank."""
        return (
            int((self.wholes[:, 1] - self.wholes[:, 0]).sum()) // self.shard.world_size
        )

    def _whole(self, i: int) -> int:
        """Return the number of the rank's `i`-th whole fetch."""
        at = i * self.shard.world_size + self.shard.rank
        reached = np.cumsum(self.wholes[:, 1] - self.wholes[:, 0])
        run = int(np.searchsorted(reached, at, side="right"))
        return int(self.wholes[run, 1] - (reached[run] - at))

    def _places(self) -> list[int]:
        """Return where each partial fetch comes among all fetches of the rank."""
        places = []
        for i, (number, _) in enumerate(self.partial):
            if i < self.n_partial_in_order:
                below = np.clip(number, self.wholes[:, 0], self.wholes[:, 1])
                n_below = int((below - self.wholes[:, 0]).sum())
                world_size, rank = self.shard.world_size, self.shard.rank
                places.append(max(0, -(-(n_below - rank) // world_size)) + i)
            else:
                places.append(self._n_wholes + i)
        return places

    @property
    def n_batches(self) -> int:
        """Minibatches of this worker."""
        worker, workers = self.shard.worker, self.shard.num_workers
        total = self._n_wholes + len(self.partial)
        n_fetches = len(range(worker, total, workers))
        mine = [
            len(held)
            for place, (_, held) in zip(self._places(), self.partial, strict=True)
            if place % workers == worker
        ]
        return (n_fetches - len(mine)) * self.fetch_factor + sum(mine)

    @property
    def n_repeated(self) -> int:
        """Minibatches of this worker that another rank yields too; they come last."""
        places = self._places()[self.n_partial_in_order :]
        repeated = self.partial[self.n_partial_in_order :]
        worker, workers = self.shard.worker, self.shard.num_workers
        return sum(
            len(held)
            for place, (_, held) in zip(places, repeated, strict=True)
            if place % workers == worker
        )

    def fetches(self, skip: int = 0) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield the number of each fetch of this worker, and the minibatches held.

        Parameters
        ----------
        skip
            Minibatches to pass over.
        """
        factor = self.fetch_factor
        partial = dict(zip(self._places(), self.partial, strict=True))
        places = sorted(partial)
        total = self._n_wholes + len(partial)
        for place in range(self.shard.worker, total, self.shard.num_workers):
            if place in partial:
                number, held = partial[place]
            elif skip >= factor:  # a whole fetch that is passed over is not looked up
                skip -= factor
                continue
            else:
                n_before = int(np.searchsorted(places, place))
                number = self._whole(place - n_before)
                held = tuple(range(number * factor, (number + 1) * factor))
            if skip < len(held):
                yield number, held[skip:]
            skip = max(0, skip - len(held))

    def done_after(self, yielded: int) -> Ranges:
        """Return the minibatches that are done once `yielded` have been yielded."""
        ranges: list[tuple[int, int]] = []
        for _, held in self.fetches():
            if yielded <= 0:
                break
            if yielded >= len(held) == self.fetch_factor:
                ranges.append((held[0], held[-1] + 1))
            else:
                ranges.extend((number, number + 1) for number in held[:yielded])
            yielded -= len(held)
        return union(ranges)
