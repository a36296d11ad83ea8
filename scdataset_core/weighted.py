"""Orders of cells drawn by weight, in blocks so that reads stay contiguous."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .orders import Rows, Subset, grid_offset
from .permutation import (
    Purpose,
    derive_key,
    hash_numbers,
    permute,
    shuffled,
    uniform,
)
from .running_sum import RunningSum
from .weights_by_class import Weights, WeightsByClass

__all__ = ["SystematicOrder", "WithoutReplacementOrder", "find_inclusion"]

Floats = npt.NDArray[np.float64]

_WINDOW = 1 << 20  # cells whose chances are looked at at a time
_PASSES = 8  # most passes for one round; nearly every round takes one or two


class _TurnedSum:
    """A running sum over positions ``[0, n)`` that begins at an offset.

    Parameters
    ----------
    reached
        The running sum from 0.
    offset
        The position where the sum begins; those before it come last.
    """

    def __init__(self, reached: RunningSum, offset: int) -> None:
        self._reached = reached
        self._offset = offset
        self._before = reached.at(np.array([offset]))[0]
        self.total = reached.total

    def at(self, places: Rows) -> Floats:
        """Return the sum over the first `places` positions from the offset on."""
        n, offset = len(self._reached), self._offset
        wrapped = places + offset > n
        inside = self._reached.at(places + offset - np.where(wrapped, n, 0))
        turned: Floats = inside - self._before + np.where(wrapped, self.total, 0.0)
        return turned

    def positions(self, points: Floats) -> Rows:
        """Return the position whose share of the turned sum holds each point.

        A position of weight 0 has no share, so it is never found.
        """
        points = points + self._before
        points = np.where(points >= self.total, points - self.total, points)
        return np.minimum(self._reached.find(points), self._reached.last)


class SystematicOrder:
    """Systematic draws of blocks, then systematic draws of cells in each.

    An epoch has ``ceil(total_size / block_size)`` draws of a block. They are points
    evenly spaced over the running sum of the weights, from a random start, in a
    permuted order: a block is drawn the floor or the ceiling of its expected number
    of times. A draw of a block gives `block_size` cells (the last draw the rest), found
    the same way within it. So the expected count of every cell is exactly
    ``total_size * w[i] / w.sum()`` (systematic sampling: Madow 1949), and a cell comes
    the floor or the ceiling of its share of times in a draw. The start and the order of
    the draws have keys of their own; with one key the short draw would prefer some
    blocks.

    Parameters
    ----------
    subset
        The rows that may be drawn.
    reached
        Running sum of their weights.
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
        reached: RunningSum,
        *,
        block_size: int,
        total_size: int,
        seed: int,
        epoch: int,
    ) -> None:
        self._subset = subset
        self._block_size = block_size
        self._length = total_size
        self._n_draws = -(-total_size // block_size)
        self._offset = grid_offset(subset.n, seed, epoch)
        self._turned = _TurnedSum(reached, self._offset)
        self._draws_key = derive_key(seed, epoch, Purpose.DRAWS)
        self._cells_key = derive_key(seed, epoch, Purpose.CELLS)
        starts_key = derive_key(seed, epoch, Purpose.STARTS)
        self._start = float(uniform(0, key=starts_key))
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
        shift = uniform(draws, key=self._cells_key)
        positions = np.arange(start, stop, dtype=np.int64)
        of = positions // size - draws[0]
        steps = (positions % size).astype(np.float64)
        share = (steps + shift[of]) / sizes[of]
        points = low[of] + share * (high - low)[of]
        return self._subset.at(self._turned.positions(points))

    def blocks(self, start: int, stop: int) -> Rows:
        """Return the number of the draw at each of the positions."""
        return np.arange(start, stop, dtype=np.int64) // self._block_size

    def _drawn_blocks(self, draws: Rows) -> tuple[Floats, Floats]:
        """Return where the block of each draw starts and ends in the turned sum."""
        slots = permute(draws, n=self._n_draws, key=self._draws_key)
        points = (slots + self._start) / self._n_draws * self._turned.total
        cells = self._turned.positions(points)
        n, size = self._subset.n, self._block_size
        first = (cells - self._offset) % n // size * size
        return self._turned.at(first), self._turned.at(np.minimum(first + size, n))


class WithoutReplacementOrder:
    """Rounds of cells drawn by weight, block by block; no cell repeats in a round.

    A pass selects blocks systematically by the largest chance in each. It puts them in
    random order, and selects cells in them systematically by what is left of each
    cell's own chance. Cells that a pass gives too many are cut off, and missing ones
    come from further passes, so the chance of a cell is near ``min(1, c * w[i])``, not
    exactly that. An epoch looks once at all chances; a round then takes time in
    proportion to its cells.

    Parameters
    ----------
    subset
        The rows that may be drawn.
    reached
        Running sum of the chance of each row to be in a round, see
        :func:`find_inclusion`.
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
        reached: RunningSum,
        *,
        block_size: int,
        total_size: int,
        sampling_size: int,
        seed: int,
        epoch: int,
    ) -> None:
        self._subset = subset
        self._reached = reached
        self._block_size = block_size
        self._length = total_size
        self._round_size = sampling_size
        self._seed, self._epoch = seed, epoch
        self._offset = grid_offset(subset.n, seed, epoch)
        self._turned = _TurnedSum(reached, self._offset)
        self._blocks: tuple[Floats, Floats] | None = None
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
        held = self._held  # another thread may replace it
        if held is None or held[0] != number:
            self._held = held = number, self._draw_round(number)
        return held[1]

    def _draw_round(self, number: int) -> Rows:
        """Return the positions of one round, each at most once."""
        size = self._round_size
        drawn = np.empty(0, np.int64)
        for turn in range(_PASSES):
            drawn = _distinct(np.concatenate([drawn, self._pass(number, turn)]))
            if len(drawn) >= size:
                return drawn[:size]
        return _distinct(np.concatenate([drawn, self._any(number)]))[:size]

    def _pass(self, number: int, turn: int) -> Rows:
        """Return the positions that one pass selects, block by block."""
        starts_key = derive_key(self._seed, self._epoch, Purpose.STARTS, number)
        start, inner_start = uniform([2 * turn, 2 * turn + 1], key=starts_key)
        chances, reached = self._block_chances()
        points = start + np.arange(np.ceil(reached[-1] - start))
        blocks = np.unique(np.searchsorted(reached, points, side="right"))
        blocks = blocks[blocks < len(chances)]
        order_key = derive_key(self._seed, self._epoch, Purpose.ROUNDS, number)
        order_key = int(hash_numbers(turn, key=order_key))
        blocks = blocks[shuffled(len(blocks), key=order_key)]
        first = blocks * self._block_size
        low = self._turned.at(first)
        high = self._turned.at(np.minimum(first + self._block_size, self._subset.n))
        ends = np.cumsum((high - low) / chances[blocks])
        if not len(ends):
            return np.empty(0, np.int64)
        points = inner_start + np.arange(np.ceil(ends[-1] - inner_start))
        owner = np.minimum(np.searchsorted(ends, points, side="right"), len(ends) - 1)
        from_end = (ends[owner] - points) * chances[blocks[owner]]
        return self._turned.positions(np.maximum(high[owner] - from_end, low[owner]))

    def _block_chances(self) -> tuple[Floats, Floats]:
        """Return the largest chance in each block, and the running sum of these."""
        if self._blocks is None:
            largest = np.concatenate(list(self._largest_chances()))
            self._blocks = largest, np.cumsum(largest)
        return self._blocks

    def _largest_chances(self) -> Iterator[Floats]:
        """Yield the largest chance in each block, those of some blocks at a time."""
        n, size = self._subset.n, self._block_size
        step = max(1, _WINDOW // size) * size
        for start in range(0, n, step):
            chances = self._turned_chances(start, min(start + step, n))
            yield np.maximum.reduceat(chances, np.arange(0, len(chances), size))

    def _turned_chances(self, start: int, stop: int) -> Floats:
        """Return the chances at places from the offset on, `start` up to `stop`."""
        n, offset = self._subset.n, self._offset
        parts = [(start + offset, min(stop + offset, n))]
        parts += [(max(start + offset - n, 0), stop + offset - n)]
        chances = [np.diff(self._reached.between(a, b)) for a, b in parts if b > a]
        return np.concatenate(chances)

    def _any(self, number: int) -> Rows:
        """Return enough positions to fill a round, whatever their chances."""
        n = self._subset.n
        possible = np.flatnonzero(np.diff(self._reached.between(0, n)) > 0)
        key = derive_key(self._seed, self._epoch, Purpose.CELLS, number)
        n_wanted = min(len(possible), 2 * self._round_size)
        places = permute(np.arange(n_wanted), n=len(possible), key=key)
        return possible[places]


def _distinct(cells: Rows) -> Rows:
    """Return the cells in their order, each where it comes first."""
    _, first = np.unique(cells, return_index=True)
    return cells[np.sort(first)]


def find_inclusion(weights: Weights, size: int) -> Weights:
    """Return the chance of each cell to be among `size` drawn without repeats.

    ``min(1, c * weights)`` with `c` such that the chances add up to `size`.

    Raises
    ------
    ValueError
        If fewer than `size` cells have a positive weight.
    """
    if isinstance(weights, WeightsByClass):
        return weights.weigh(_find_chances(weights.by_class, weights.counts, size))
    return _find_chances(np.asarray(weights), np.int64(1), size)


def _find_chances(
    weights: Floats, counts: npt.NDArray[np.int64] | np.int64, size: int
) -> Floats:
    """Return the chance of each cell, where there are `counts` of each."""
    possible = int(((weights != 0) * counts).sum())
    if size > possible:
        raise ValueError(
            f"sampling_size is {size}, and only {possible} cells have a positive"
            " weight; without replacement a round cannot be larger"
        )
    certain = np.zeros(len(weights), bool)
    while True:
        open_weight = (weights * counts)[~certain].sum()
        n_open = size - int((certain * counts).sum())
        scale = n_open / open_weight if open_weight > 0 else 0.0
        more = ~certain & (weights * scale >= 1)
        if not more.any():
            return np.where(certain, 1.0, weights * scale)
        certain |= more
