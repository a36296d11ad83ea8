"""Orders: they compute which row stands at a position of an epoch, when asked."""

import itertools
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .permutation import Purpose, derive_key, permute
from .row_sets import RowSet

__all__ = ["ArrayOrder", "BlockOrder", "Order", "StorageOrder", "Subset"]

Rows = npt.NDArray[np.int64]


@runtime_checkable
class Order(Protocol):
    """The rows of one epoch.

    ``len(order)`` is their number, ``order.rows(start, stop)`` the rows at positions
    ``[start, stop)`` (int64, shape ``(stop - start,)``), and ``order.shuffle`` says
    whether the rows of a fetch are shuffled before they are cut into minibatches. An
    order may have an attribute ``key``, an integer that keys the shuffle of fetches;
    without it the key comes from the seed of the Loader and the epoch. It may have a
    method ``arrange(rows, *, batch_size, key)``, which takes the place of the shuffle:
    it returns in what order the rows of a fetch make its minibatches, a permutation of
    ``range(len(rows))``; and a method ``blocks(start, stop)``, which gives the number
    of the block at each of the positions, for
    :func:`scdataset_core.metrics.plan_blocks`.
    """

    shuffle: bool

    def __len__(self) -> int: ...

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        ...


class Subset:
    """The rows of a source, all of them or those of a set or sorted list, by position.

    Parameters
    ----------
    n
        Number of rows of the source.
    indices
        The rows, sorted; None: all.
    """

    def __init__(self, n: int, indices: Rows | RowSet | None) -> None:
        self.n = n if indices is None else len(indices)
        self._indices = indices

    def at(self, positions: Rows) -> Rows:
        """Return the rows at `positions`."""
        if self._indices is None:
            return positions
        rows: Rows = self._indices[positions]
        return rows

    def positions_of(self, rows: Rows) -> Rows:
        """Return, for each row, how many rows of the subset lie below it."""
        if self._indices is None:
            return rows
        if isinstance(self._indices, RowSet):
            return self._indices.count_below(rows)
        return np.searchsorted(self._indices, rows).astype(np.int64, copy=False)


class ArrayOrder:
    """The rows in the order of the subset.

    Parameters
    ----------
    subset
        The rows.
    shuffle
        Whether fetches are shuffled.
    key
        Key of the shuffle of fetches.
    """

    def __init__(self, subset: Subset, *, shuffle: bool, key: int) -> None:
        self._subset = subset
        self.shuffle = shuffle
        self.key = key

    def __len__(self) -> int:
        return self._subset.n

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        return self._subset.at(np.arange(start, stop, dtype=np.int64))


class BlockOrder:
    """Blocks of neighbours in a keyed permutation, on a grid that turns.

    A block is `block_size` consecutive positions modulo `n`, counted from an offset.
    The one short block comes last, or is left out. No array of length `n` is held.

    Parameters
    ----------
    subset
        The rows.
    block_size
        Rows of a block.
    drop_last
        Leave the short block out.
    fixed_grid
        Count blocks from 0 rather than from an offset keyed by the epoch.
    seed, epoch
        They key the order.
    """

    shuffle = True

    def __init__(
        self,
        subset: Subset,
        *,
        block_size: int,
        drop_last: bool,
        fixed_grid: bool,
        seed: int,
        epoch: int,
    ) -> None:
        self._subset = subset
        self._block_size = block_size
        self._n_blocks = subset.n // block_size
        kept = self._n_blocks * block_size
        self._length = kept if drop_last else subset.n
        self._offset = 0 if fixed_grid else grid_offset(subset.n, seed, epoch)
        self._blocks_key = derive_key(seed, epoch, Purpose.BLOCKS)
        self.key = derive_key(seed, epoch, Purpose.SHUFFLE)

    def __len__(self) -> int:
        return self._length

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        size, n_blocks = self._block_size, self._n_blocks
        positions = np.arange(start, stop, dtype=np.int64)
        first, last = start // size, min((stop - 1) // size + 1, n_blocks)
        if first < last:
            slots = np.arange(first, last, dtype=np.int64)
            blocks = permute(slots, n=n_blocks, key=self._blocks_key)
            n_full = min(stop, n_blocks * size) - start
            full = positions[:n_full]
            positions[:n_full] = blocks[full // size - first] * size + full % size
        return self._subset.at((positions + self._offset) % self._subset.n)

    def blocks(self, start: int, stop: int) -> Rows:
        """Return the number of the block at each of the positions."""
        return np.arange(start, stop, dtype=np.int64) // self._block_size


class StorageOrder:
    """Blocks of the rows that start inside whole storage chunks, permuted.

    The order holds 8 bytes a block for where it starts, and where every 1,024th block
    of the permuted order lies.

    Parameters
    ----------
    subset
        The rows.
    bounds
        Where each block starts among the positions of the subset, and the length of the
        subset at the end; increasing, shape ``(n_blocks + 1,)``.
    seed, epoch
        They key the order.
    """

    shuffle = True
    _STRIDE = 1024

    def __init__(self, subset: Subset, bounds: Rows, *, seed: int, epoch: int) -> None:
        self._subset = subset
        self._bounds = bounds
        self._n_blocks = len(bounds) - 1
        self._blocks_key = derive_key(seed, epoch, Purpose.BLOCKS)
        self.key = derive_key(seed, epoch, Purpose.SHUFFLE)
        totals = [
            int(self._sizes(self._blocks(first)).sum())
            for first in range(0, self._n_blocks, self._STRIDE)
        ]
        self._reached = np.concatenate([[0], np.cumsum(totals, dtype=np.int64)])

    def __len__(self) -> int:
        return self._subset.n

    def _blocks(self, first: int) -> Rows:
        """Return the blocks at slots ``[first, first + 1024)``."""
        slots = np.arange(first, min(first + self._STRIDE, self._n_blocks))
        return permute(slots, n=self._n_blocks, key=self._blocks_key)

    def _sizes(self, blocks: Rows) -> Rows:
        return self._bounds[blocks + 1] - self._bounds[blocks]

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        return self._subset.at(self._places(start, stop))

    def blocks(self, start: int, stop: int) -> Rows:
        """Return the number of the block at each of the positions."""
        places = self._places(start, stop)
        return np.searchsorted(self._bounds, places, side="right").astype(np.int64) - 1

    def _places(self, start: int, stop: int) -> Rows:
        """Return the places in the subset of the rows at positions."""
        group = int(np.searchsorted(self._reached, start, side="right")) - 1
        skipped = start - int(self._reached[group])
        parts: list[Rows] = []
        n_found = 0
        while n_found < skipped + stop - start:
            blocks = self._blocks(group * self._STRIDE)
            sizes = self._sizes(blocks)
            within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            parts.append(np.repeat(self._bounds[blocks], sizes) + within)
            n_found += len(within)
            group += 1
        places = np.concatenate(parts or [np.empty(0, np.int64)])
        return places[skipped : skipped + stop - start]


def grid_offset(n: int, seed: int, epoch: int) -> int:
    """Return the position from which an epoch counts its blocks, in ``[0, n)``."""
    return derive_key(seed, epoch, Purpose.GRID) % max(n, 1)


def storage_bounds(
    starts: Rows, file_starts: Rows, *, chunks: int, subset: Subset
) -> Rows:
    """Return where each block of whole storage chunks starts in a subset.

    Parameters
    ----------
    starts
        First row of the rows that start inside each chunk, non-decreasing.
    file_starts
        First row of each file, and the number of rows; blocks never cross files.
    chunks
        Chunks of a block.
    subset
        The rows that are kept; a block without any of them is left out.
    """
    firsts = [
        np.unique(
            np.concatenate([[first], starts[(starts >= first) & (starts < last)]])
        )
        for first, last in itertools.pairwise(file_starts)
        if last > first
    ]
    rows = np.concatenate([np.empty(0, np.int64), *(part[::chunks] for part in firsts)])
    bounds = np.append(subset.positions_of(rows), np.int64(subset.n))
    kept: Rows = bounds[np.concatenate([bounds[1:] > bounds[:-1], [True]])]
    return kept
