"""Orders of sets of cells that are drawn by weight."""

import numpy as np
import numpy.typing as npt

from .grouped_cells import GroupedCells
from .permutation import Purpose, derive_key, hash_numbers, permute, uniform
from .set_orders import SetOrder
from .sets import SetSizes

__all__ = ["WeightedSets"]

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class WeightedSets(SetOrder):
    """Sets drawn by weight: the stratum of each, and then its cells.

    The strata of an epoch are points evenly spaced over the running sum of the weights
    (systematic sampling: Madow 1949), so that a stratum has the floor or the ceiling of
    its share of the sets. A set is made of draws of a block of neighbours in a stratum.
    Draw `j` of `d` is the point ``(j + u) / d + v`` of the running sum of the stratum,
    modulo 1, with a random `u` for each draw and a `v` for each set; the cells of the
    block are evenly spaced points of its own sum. So the expected count of every cell
    in an epoch is exactly ``n_sets * set_size * w[i] / w.sum()``, and with blocks of
    one cell a set has at most two more copies of a cell than its share.

    Parameters
    ----------
    reached
        Running sum from 0 of the weights of ``cells.rows``, shape ``(n + 1,)``.
    cells, sizes, block_size, n_sets, seed, epoch
        As :class:`SetOrder`.
    """

    def __init__(
        self,
        cells: GroupedCells,
        sizes: SetSizes,
        reached: Floats,
        *,
        block_size: int,
        n_sets: int,
        seed: int,
        epoch: int,
    ) -> None:
        super().__init__(
            cells,
            sizes,
            block_size=block_size,
            n_sets=n_sets,
            seed=seed,
            epoch=epoch,
        )
        self._reached = reached
        self._ends = reached[cells.starts[1:]]
        starts_key = derive_key(seed, epoch, Purpose.STARTS)
        self._start = float(uniform(0, key=starts_key))

    def _places(self, first: int, stop: int) -> list[tuple[int, Rows, Rows]]:
        if stop <= first:
            return []
        numbers = np.arange(first, stop, dtype=np.int64)
        key = derive_key(self._seed, self._epoch, Purpose.DRAWS)
        return [(self._epoch, numbers, permute(numbers, n=self._n_sets, key=key))]

    def _strata(self, number: int, places: Rows) -> Rows:
        points = (places + self._start) / self._n_sets * self._reached[-1]
        found = np.searchsorted(self._ends, points, side="right")
        strata: Rows = np.minimum(found, len(self._ends) - 1).astype(np.int64)
        return strata

    def _members(self, number: int, numbers: Rows, places: Rows) -> Rows:
        strata = self._strata(number, places)
        turned = _TurnedStrata(
            self._cells, self._reached, strata, self._key(Purpose.GRID)
        )
        size, block_size = self.set_sizes.set_size, self._block_size
        n_draws = -(-size // block_size)
        draws = np.arange(n_draws)
        draw_numbers = numbers[:, None] * n_draws + draws
        jitter = uniform(draw_numbers, key=self._key(Purpose.STARTS, 1))
        shift = uniform(numbers, key=self._key(Purpose.STARTS, 2))
        share = ((draws + jitter) / n_draws + shift[:, None]) % 1.0
        firsts = turned.find(share * turned.totals) // block_size * block_size
        low = turned.at(firsts)
        high = turned.at(np.minimum(firsts + block_size, turned.sizes))
        # A draw gives `block_size` cells of its block, and the last one the rest.
        n_cells = np.minimum(block_size, size - draws * block_size)
        draw = np.repeat(draws, n_cells)
        steps = np.arange(size) - draw * block_size
        start = uniform(draw_numbers, key=self._key(Purpose.STARTS, 3))
        inside = (steps + start[:, draw]) / n_cells[draw]
        return turned.rows(turned.find(low[:, draw] + inside * (high - low)[:, draw]))

    def _key(self, purpose: Purpose, use: int = 0) -> int:
        return derive_key(self._seed, self._epoch, purpose, use)


class _TurnedStrata:
    """Running sums of the weights of strata, each from an offset on, round and round.

    All arrays have a row for each set.

    Parameters
    ----------
    cells
        The cells of each stratum.
    reached
        Running sum of the weights of all strata.
    strata
        The stratum of each set, shape ``(k,)``.
    key
        Key of the offset of each stratum.
    """

    def __init__(
        self, cells: GroupedCells, reached: Floats, strata: Rows, key: int
    ) -> None:
        self._cells = cells
        self._reached = reached
        self._first = cells.starts[strata][:, None]
        self.sizes = cells.sizes[strata][:, None]
        hashes = hash_numbers(strata, key=key)[:, None]
        self._offset = (hashes % self.sizes.astype(np.uint64)).astype(np.int64)
        self._base = reached[self._first]
        self.totals = reached[self._first + self.sizes] - self._base
        self._before = reached[self._first + self._offset] - self._base

    def at(self, places: Rows) -> Floats:
        """Return the sum over the first `places` cells from the offset on."""
        turned = places + self._offset
        wrapped = turned > self.sizes
        inside = self._reached[self._first + turned - np.where(wrapped, self.sizes, 0)]
        sums: Floats = inside - self._base - self._before
        return sums + np.where(wrapped, self.totals, 0.0)

    def find(self, points: Floats) -> Rows:
        """Return the place, from the offset on, whose share holds each point."""
        points = points + self._before
        points = np.where(points >= self.totals, points - self.totals, points)
        found = np.searchsorted(self._reached, self._base + points, side="right") - 1
        inside = np.clip(found - self._first, 0, self.sizes - 1)
        places: Rows = (inside - self._offset) % self.sizes
        return places

    def rows(self, places: Rows) -> Rows:
        """Return the rows of the cells at places, counted from the offset."""
        at = self._first + (places + self._offset) % self.sizes
        rows: Rows = self._cells.rows[at].astype(np.int64)
        return rows
