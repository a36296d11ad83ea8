"""Orders drawn by weight, in blocks so that reads stay contiguous."""

import numpy as np
import numpy.typing as npt

from .orders import Rows, Subset, grid_offset
from .permutation import Purpose, derive_key, permute, shuffled, uniform

__all__ = ["SystematicOrder", "WithoutReplacementOrder", "inclusion"]

Floats = npt.NDArray[np.float64]


class SystematicOrder:
    """Systematic draws of blocks, then systematic draws of cells in each.

    An epoch has ``ceil(total_size / block_size)`` draws of a block. They are points
    evenly spaced over the running sum of the weights, from a random start, in a
    permuted order: a block is drawn the floor or the ceiling of its expected number
    of times. A draw of a block gives `block_size` cells (the last draw the rest), found
    the same way within it. So the expected count of every cell is exactly
    ``total_size * w[i] / w.sum()`` (systematic sampling: Madow 1949), and a draw holds
    the floor or the ceiling of its share of copies.

    Parameters
    ----------
    subset
        The rows that may be drawn.
    reached
        Running sum of their weights from 0, shape ``(n + 1,)``.
    block_size
        Cells of a draw.
    total_size
        Cells of an epoch.
    seed, epoch
        What the order is keyed by.
    """

    shuffle = True

    def __init__(
        self,
        subset: Subset,
        reached: Floats,
        *,
        block_size: int,
        total_size: int,
        seed: int,
        epoch: int,
    ) -> None:
        self._subset = subset
        self._reached = reached
        self._last = int(np.searchsorted(reached, reached[-1])) - 1
        self._block_size = block_size
        self._length = total_size
        self._n_draws = -(-total_size // block_size)
        self._offset = grid_offset(subset.n, seed, epoch)
        self._draws_key = derive_key(seed, epoch, Purpose.DRAWS)
        self._cells_key = derive_key(seed, epoch, Purpose.CELLS)
        self.key = derive_key(seed, epoch, Purpose.SHUFFLE)

    def __len__(self) -> int:
        return self._length

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        if stop <= start:
            return np.empty(0, np.int64)
        size = self._block_size
        draws = np.arange(start // size, (stop - 1) // size + 1, dtype=np.int64)
        low, high = self._drawn_blocks(draws)
        sizes = np.minimum(size, self._length - draws * size)
        steps = np.arange(size, dtype=np.float64)
        shift = uniform(draws, key=self._cells_key)
        share = (steps[None, :] + shift[:, None]) / sizes[:, None]
        cells = self._cells_at(low[:, None] + share * (high - low)[:, None])
        skipped = int(draws[0]) * size
        return self._subset.at(cells.reshape(-1)[start - skipped : stop - skipped])

    def _drawn_blocks(self, draws: Rows) -> tuple[Floats, Floats]:
        """Return where the block of each draw starts and ends in the turned sum."""
        slots = permute(draws, n=self._n_draws, key=self._draws_key)
        shift = float(uniform(0, key=self._draws_key))
        cells = self._cells_at((slots + shift) / self._n_draws * self._reached[-1])
        n, size = self._subset.n, self._block_size
        first = (cells - self._offset) % n // size * size
        return self._turned(first), self._turned(np.minimum(first + size, n))

    def _turned(self, positions: Rows) -> Floats:
        """Return the running sum counted from the grid's offset, at `positions`."""
        n, offset, reached = self._subset.n, self._offset, self._reached
        wrapped = positions + offset > n
        inside: Floats = reached[positions + offset - np.where(wrapped, n, 0)]
        turned: Floats = inside - reached[offset] + np.where(wrapped, reached[-1], 0.0)
        return turned

    def _cells_at(self, points: Floats) -> Rows:
        """Return the position whose share of the turned sum holds each point.

        A position of weight 0 has no share, so it is never found.
        """
        total = self._reached[-1]
        points = points + self._reached[self._offset]
        points = np.where(points >= total, points - total, points)
        cells = np.searchsorted(self._reached[1:], points, side="right")
        return np.minimum(cells, self._last).astype(np.int64, copy=False)


class WithoutReplacementOrder:
    """Rounds of cells without repeats in a round, drawn by weight, block by block.

    A round selects blocks systematically by their largest chance, then cells in them
    systematically by what is left of each cell's own chance; what is missing or too
    much by chance is made up from, or cut off, blocks in random order. The chance of a
    cell is therefore near, not exactly, ``min(1, c * w[i])``.

    Parameters
    ----------
    subset
        The rows that may be drawn.
    chances
        The chance of each row to be in a round, from :func:`inclusion`.
    block_size
        Cells of a block.
    total_size
        Cells of an epoch.
    sampling_size
        Cells of a round; the last round of an epoch may be shorter.
    seed, epoch
        What the order is keyed by.
    """

    shuffle = True

    def __init__(
        self,
        subset: Subset,
        chances: Floats,
        *,
        block_size: int,
        total_size: int,
        sampling_size: int,
        seed: int,
        epoch: int,
    ) -> None:
        self._subset = subset
        self._chances = chances
        self._block_size = block_size
        self._length = total_size
        self._round_size = sampling_size
        self._seed, self._epoch = seed, epoch
        self._offset = grid_offset(subset.n, seed, epoch)
        self._held: tuple[int, Rows] | None = None
        self.key = derive_key(seed, epoch, Purpose.SHUFFLE)

    def __len__(self) -> int:
        return self._length

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        size = self._round_size
        parts = [np.empty(0, np.int64)]
        for number in range(start // size, -(-stop // size)):
            first = number * size
            drawn = self._round(number)
            parts.append(drawn[max(start - first, 0) : stop - first])
        return self._subset.at(np.concatenate(parts))

    def _round(self, number: int) -> Rows:
        if self._held is None or self._held[0] != number:
            self._held = (number, self._draw_round(number))
        return self._held[1]

    def _draw_round(self, number: int) -> Rows:
        """Return the positions of one round, each at most once."""
        n, size = self._subset.n, self._block_size
        key = derive_key(self._seed, self._epoch, Purpose.CELLS, number)
        chances = np.roll(self._chances, -self._offset)
        block_chances = np.maximum.reduceat(chances, np.arange(0, n, size))
        start, inner_start = uniform([0, 1], key=key)
        selected = _systematic(block_chances, start)
        rank = shuffled(len(block_chances), key=key)
        blocks = np.arange(n) // size
        possible = chances > 0
        within = np.divide(
            chances, block_chances[blocks], out=np.zeros(n), where=possible
        )
        chosen = _systematic(within, inner_start)
        turn = np.where(chosen, np.where(selected[blocks], 0, 1), 2)
        cells = np.flatnonzero(possible)
        by = np.lexsort((cells, rank[blocks[cells]], turn[cells]))
        return (cells[by[: self._round_size]] + self._offset) % n


def inclusion(weights: Floats, size: int) -> Floats:
    """Return the chance of each cell to be among `size` drawn without repeats.

    ``min(1, c * weights)`` with `c` such that the chances add up to `size`.

    Raises
    ------
    ValueError
        If fewer than `size` cells have a positive weight.
    """
    possible = int(np.count_nonzero(weights))
    if size > possible:
        raise ValueError(
            f"sampling_size is {size}, and only {possible} cells have a positive"
            " weight; without replacement a round cannot be larger"
        )
    certain = np.zeros(len(weights), bool)
    while True:
        open_weight = weights[~certain].sum()
        n_open = size - int(certain.sum())
        scale = n_open / open_weight if open_weight > 0 else 0.0
        more = ~certain & (weights * scale >= 1)
        if not more.any():
            return np.where(certain, 1.0, weights * scale)
        certain |= more


def _systematic(chances: Floats, start: float) -> npt.NDArray[np.bool_]:
    """Return which entries hold a point of the unit grid that begins at `start`."""
    reached = np.floor(np.cumsum(chances) + start)
    return np.diff(reached, prepend=np.floor(start)) > 0
