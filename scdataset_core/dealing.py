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

from dataclasses import dataclass, field

import numpy as np

from .ranges import NOTHING_DONE, RangeNumbers, Ranges, complement, union
from .shares import Deal, Shard, Share
from .sizes import Sizes

__all__ = ["Dealing", "Shard", "union"]


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

    def deal(self, world_size: int) -> Deal:
        """Return what is dealt to a number of ranks."""
        wholes, loose = self._split(world_size)
        over = len(loose) % world_size
        is_padded = self.sizes.uneven == "pad"
        return Deal(
            fetch_factor=self.sizes.fetch_factor,
            n_batches=self.n_batches,
            world_size=world_size,
            wholes=wholes,
            loose=loose,
            n_dealt=len(loose) if is_padded else len(loose) - over,
            n_repeated=world_size - over if is_padded and over else 0,
        )

    def share(self, shard: Shard) -> Share:
        """Return what one shard holds."""
        return Share(self.deal(shard.world_size), shard)

    def dropped(self, world_size: int) -> int:
        """Count the rows that no rank yields: of dropped and of trimmed minibatches."""
        deal = self.deal(world_size)
        n_loose = self._count_all(deal.loose.ranges)
        n_trimmed = n_loose - self._count_all(deal.loose.first(deal.n_dealt))
        return self.n_rows - self.count_rows(0, self.n_batches) + n_trimmed

    def repeated(self, world_size: int) -> int:
        """Count the rows that are yielded once more so that ranks are equal."""
        n_repeated = self.deal(world_size).n_repeated
        n_turns, n_rest = divmod(n_repeated, max(self.n_batches, 1))
        return n_turns * self.count_rows(0, self.n_batches) + self.count_rows(0, n_rest)

    def _count_all(self, ranges: Ranges) -> int:
        """Return how many rows the minibatches of ranges hold."""
        return sum(self.count_rows(first, stop) for first, stop in ranges.tolist())

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

    def _split(self, world_size: int) -> tuple[RangeNumbers, RangeNumbers]:
        """Return the fetches of full rounds, and the loose minibatches."""
        factor = self.sizes.fetch_factor
        n_full = self.n_rows // self.sizes.fetch_rows
        left = self.left()
        starts, stops = left.T
        firsts = -(-starts // factor)
        lasts = np.maximum(np.minimum(stops // factor, n_full), firsts)
        in_rounds = int((lasts - firsts).sum()) // world_size * world_size
        before = np.cumsum(lasts - firsts) - (lasts - firsts)
        lasts = np.clip(firsts + in_rounds - before, firsts, lasts)
        is_taken = lasts > firsts
        head_stops = np.where(is_taken, firsts * factor, stops)
        tail_starts = np.where(is_taken, lasts * factor, stops)
        loose = np.column_stack([starts, head_stops, tail_starts, stops])
        wholes = np.column_stack([firsts, lasts])
        return RangeNumbers(wholes), RangeNumbers(loose.reshape(-1, 2))
