"""Orders of sets of cells, each of one group, with the controls of each set."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from .grouped_cells import GroupedCells
from .permutation import Purpose, derive_key, hash_numbers, permute, permute_each
from .sets import Sets, SetSizes

__all__ = ["CoveringSets", "SetOrder", "count_sets"]

Rows = npt.NDArray[np.int64]

_MEMBERS, _CONTROLS = 0, 1  # numbers of keys of the same purpose


def count_sets(sizes: Rows, set_size: int, *, drop: bool) -> Rows:
    """Return how many sets take every cell of strata of `sizes` cells once.

    The last set of a stratum is short, and left out with `drop`.
    """
    whole = sizes // set_size
    return whole if drop else -(-sizes // set_size)


class SetOrder(ABC):
    """Sets in random order; the positions of set `k` begin at ``k * set_size``.

    A set is a number of a line of sets that goes from stratum to stratum, and strata
    with the same controls are neighbours in it. So the set at place `i` of the line
    takes the controls from ``i * control_size`` on, counted round and round, of the
    blocks of its controls in permuted order: each control comes the floor or the
    ceiling of its share of times for the sets that are drawn of the line once.

    Parameters
    ----------
    cells
        The cells of each stratum.
    sizes
        Cells of a set and its controls.
    block_size
        Neighbours in a stratum that are taken together.
    n_sets
        Sets of an epoch.
    seed, epoch
        They key the order.
    """

    shuffle = False

    def __init__(
        self,
        cells: GroupedCells,
        sizes: SetSizes,
        *,
        block_size: int,
        n_sets: int,
        seed: int,
        epoch: int,
    ) -> None:
        self._cells = cells
        self.set_sizes = sizes
        self._block_size = block_size
        self._n_sets = n_sets
        self._seed, self._epoch = seed, epoch
        self.key = derive_key(seed, epoch, Purpose.SHUFFLE)

    def __len__(self) -> int:
        return self._n_sets * self.set_sizes.set_size

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        size = self.set_sizes.set_size
        if stop <= start:
            return np.empty(0, np.int64)
        first, last = start // size, (stop - 1) // size + 1
        parts = [
            self._shuffle_sets(self._members(*passed), *passed)
            for passed in self._places(first, last)
        ]
        rows: Rows = np.concatenate(parts).reshape(-1)
        return rows[start - first * size : stop - first * size]

    def sets(self, first: int, stop: int) -> Sets:
        """Return what sets from `first` up to `stop` have besides their rows."""
        cells, sizes = self._cells, self.set_sizes
        parts = []
        for number, _, places in self._places(first, stop):
            strata = self._strata(number, places)
            n_cells = self._count_cells(strata, places)
            control = self._controls(number, strata, places)
            parts.append(Sets(cells.groups[strata], n_cells, control))
        if not parts:
            empty = np.empty(0, np.int64)
            none = empty.reshape(0, sizes.control_size)
            return Sets(empty.astype(np.int32), empty, none)
        return Sets(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    @abstractmethod
    def _places(self, first: int, stop: int) -> list[tuple[int, Rows, Rows]]:
        """Return for each time the line is gone through the sets that are asked for.

        Returns
        -------
        passes
            Which time it is, the numbers of the sets in it, and their places in the
            line.
        """

    @abstractmethod
    def _strata(self, number: int, places: Rows) -> Rows:
        """Return the stratum of the sets at places of the line."""

    @abstractmethod
    def _members(self, number: int, numbers: Rows, places: Rows) -> Rows:
        """Return the rows of sets, shape ``(k, set_size)``."""

    def _count_cells(self, strata: Rows, places: Rows) -> Rows:
        """Return how many cells sets have."""
        return np.full(len(places), self.set_sizes.set_size, np.int64)

    def _shuffle_sets(
        self, rows: Rows, number: int, numbers: Rows, places: Rows
    ) -> Rows:
        """Put the rows of each set in random order; what stands in stays at the end."""
        key = derive_key(self._seed, number, Purpose.CELLS)
        size = self.set_sizes.set_size
        steps = np.arange(size)
        hashes = hash_numbers(numbers[:, None] * size + steps, key=key)
        if self.set_sizes.may_be_short:
            n_cells = self._count_cells(self._strata(number, places), places)
            hashes[steps >= n_cells[:, None]] = np.iinfo(np.uint64).max
        order = np.argsort(hashes, axis=1, kind="stable")
        return np.take_along_axis(rows, order, axis=1)

    def _controls(self, number: int, strata: Rows, places: Rows) -> Rows:
        """Return the rows of the controls of sets, shape ``(k, control_size)``."""
        size = self.set_sizes.control_size
        if not size:
            return np.empty((len(places), 0), np.int64)
        lows, highs = self._cells.pools[strata].T
        n_controls = highs - lows
        steps = (places[:, None] * size + np.arange(size)) % n_controls[:, None]
        # Pools of one beginning and other ends are told apart by their number of cells.
        pools = lows * len(self._cells.controls) + n_controls
        at = _turn_blocks(
            steps,
            pools,
            n_controls,
            block_size=self._block_size,
            seed=self._seed,
            number=number,
            use=_CONTROLS,
        )
        controls: Rows = self._cells.controls[lows[:, None] + at].astype(np.int64)
        return controls


class CoveringSets(SetOrder):
    """Sets that take every cell of every stratum once, time after time.

    A stratum's cells stand in a line of blocks of `block_size` neighbours, counted from
    an offset modulo their number, and permuted; a set takes the next `set_size` of
    them. The last set of a stratum begins the line again, unless it is left out. An
    epoch takes the next `n_sets` sets of the line of all sets, which comes in a new
    random order each time; by default one epoch is one time.

    Parameters
    ----------
    n_sets
        Sets of an epoch; as many as take every cell once if None.
    drop
        Leave the last set of each stratum out if it is short.
    cells, sizes, block_size, seed, epoch
        As :class:`SetOrder`.
    """

    def __init__(
        self,
        cells: GroupedCells,
        sizes: SetSizes,
        *,
        block_size: int,
        n_sets: int | None,
        drop: bool,
        seed: int,
        epoch: int,
    ) -> None:
        counts = count_sets(cells.sizes, sizes.set_size, drop=drop)
        self._reached = np.cumsum(counts)
        self._n_line = int(self._reached[-1])
        super().__init__(
            cells,
            sizes,
            block_size=block_size,
            n_sets=self._n_line if n_sets is None else n_sets,
            seed=seed,
            epoch=epoch,
        )

    def _places(self, first: int, stop: int) -> list[tuple[int, Rows, Rows]]:
        before = self._epoch * self._n_sets
        found = []
        while first < stop:
            number, at = divmod(before + first, self._n_line)
            n_taken = min(self._n_line - at, stop - first)
            numbers = np.arange(at, at + n_taken, dtype=np.int64)
            key = derive_key(self._seed, number, Purpose.DRAWS)
            found.append((number, numbers, permute(numbers, n=self._n_line, key=key)))
            first += n_taken
        return found

    def _strata(self, number: int, places: Rows) -> Rows:
        found = np.searchsorted(self._reached, places, side="right")
        return found.astype(np.int64, copy=False)

    def _starts(self, strata: Rows, places: Rows) -> Rows:
        """Return the position in its stratum at which each set begins."""
        before = np.concatenate([[0], self._reached])[strata]
        starts: Rows = (places - before) * self.set_sizes.set_size
        return starts

    def _count_cells(self, strata: Rows, places: Rows) -> Rows:
        if not self.set_sizes.may_be_short:
            return super()._count_cells(strata, places)
        left = self._cells.sizes[strata] - self._starts(strata, places)
        n_cells: Rows = np.minimum(left, self.set_sizes.set_size)
        return n_cells

    def _members(self, number: int, numbers: Rows, places: Rows) -> Rows:
        strata = self._strata(number, places)
        n_cells = self._cells.sizes[strata]
        starts = self._starts(strata, places)
        steps = starts[:, None] + np.arange(self.set_sizes.set_size)
        at = _turn_blocks(
            steps % n_cells[:, None],
            strata,
            n_cells,
            block_size=self._block_size,
            seed=self._seed,
            number=number,
            use=_MEMBERS,
        )
        at += self._cells.starts[strata][:, None]
        members: Rows = self._cells.rows[at].astype(np.int64)
        return members


def _turn_blocks(
    steps: Rows,
    ranges: Rows,
    sizes: Rows,
    *,
    block_size: int,
    seed: int,
    number: int,
    use: int,
) -> Rows:
    """Return where in its range each step of a line of permuted blocks leads.

    A block is `block_size` positions of the range modulo its size, counted from an
    offset; the one short block comes last, as in
    :class:`scdataset_core.orders.BlockOrder`.

    Parameters
    ----------
    steps
        Steps of lines, shape ``(k, m)``, each below the size of its range.
    ranges
        Number of the range of each row of `steps`, which keys its blocks.
    sizes
        Positions of the range of each row.
    block_size
        Positions of a block.
    seed, number, use
        They key the blocks.
    """
    grid = derive_key(seed, number, Purpose.GRID, use)
    offsets = (hash_numbers(ranges, key=grid) % sizes.astype(np.uint64)).astype(
        np.int64
    )
    key = derive_key(seed, number, Purpose.BLOCKS, use)
    slots, within = np.divmod(steps, block_size)
    blocks = slots.copy()
    owners, first, owner = np.unique(ranges, return_index=True, return_inverse=True)
    n_blocks = sizes[first] // block_size
    is_whole = slots < n_blocks[owner.reshape(-1)][:, None]
    blocks[is_whole] = permute_each(
        slots[is_whole],
        np.broadcast_to(owner.reshape(-1, 1), slots.shape)[is_whole],
        sizes=n_blocks,
        keys=hash_numbers(owners, key=key),
    )
    return (blocks * block_size + within + offsets[:, None]) % sizes[:, None]
