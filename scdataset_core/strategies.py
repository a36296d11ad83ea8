"""Strategies: which rows an epoch has, and in what order.

The classes take the parameters of `scdataset` 0.3 in its order and with its defaults.
A strategy of a user's own needs one method::

    def order(self, source, *, seed, epoch) -> Order

that returns what :class:`scdataset_core.orders.Order` describes.
"""

from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .checks import check_count, check_flag, count_rows, digest
from .group_sampling import GroupSampling
from .listed_rows import ListedRows
from .orders import (
    ArrayOrder,
    BlockOrder,
    Order,
    Rows,
    StorageOrder,
    Subset,
    storage_bounds,
)
from .permutation import Purpose, derive_key
from .row_sets import RowSet
from .strata import StratifiedOrder
from .weighted_sampling import BlockWeightedSampling, ClassBalancedSampling

__all__ = [
    "BlockShuffling",
    "BlockWeightedSampling",
    "ClassBalancedSampling",
    "GroupSampling",
    "Strategy",
    "Streaming",
]


@runtime_checkable
class Strategy(Protocol):
    """Chooses the rows of an epoch and their order."""

    def order(self, source: Any, *, seed: int, epoch: int) -> Order:
        """Return the order of epoch `epoch` over the rows of `source`."""
        ...


class Streaming(ListedRows):
    """Rows in the order of the file.

    Parameters
    ----------
    indices
        Rows to use, all by default: a RowSet, or an array. An array is sorted, with a
        warning, if it is not.
    shuffle
        Shuffle the rows of each fetch before they are cut into minibatches.

    Raises
    ------
    ValueError
        If `indices` are empty, repeat a row or are negative; when used, if one is out
        of range, or the RowSet is of a source with another number of rows.

    Examples
    --------
    >>> order = Streaming().order(range(5), seed=0, epoch=0)
    >>> order.rows(1, 4).tolist()
    [1, 2, 3]
    """

    def __init__(
        self, indices: RowSet | npt.ArrayLike | None = None, shuffle: bool = False
    ) -> None:
        super().__init__(indices)
        check_flag("shuffle", shuffle)
        self.shuffle = bool(shuffle)

    def order(self, source: Any, *, seed: int, epoch: int) -> Order:
        """Return the rows in order."""
        key = derive_key(seed, epoch, Purpose.SHUFFLE)
        return ArrayOrder(self._subset(source), shuffle=self.shuffle, key=key)


class BlockShuffling(ListedRows):
    """Blocks of neighbouring rows in random order (Algorithm 1 of the paper).

    The grid of blocks turns: each epoch counts them from another offset, modulo the
    number of rows, so that cells do not keep the same neighbours for ever. The one
    short block comes last.

    Parameters
    ----------
    block_size
        Rows of a block; or ``"storage"``: the rows that start inside `chunks` whole
        storage chunks of the file. Sparse rows that are compressed then decode at most
        ``1 + 1 / chunks`` bytes for each byte that is used, dense ones 1.
    indices
        Rows to use, all by default: a RowSet, or an array. An array is sorted, with a
        warning, if it is not.
    drop_last
        Leave the short block out; it holds other rows each epoch.
    fixed_grid
        Count blocks from row 0 in every epoch.
    chunks
        Storage chunks of a block, with ``block_size="storage"``.
    stratify
        Labels, so that the minibatches of a fetch share the cells of each label evenly:
        of a label with `c` of the `n` cells of a fetch, a minibatch of `m` cells gets
        the floor or the ceiling of ``c * m / n``. An array with the label of each row
        of the source, or of each of `indices`, or the name of an obs column; of a list
        of several, each combination is a label. Cells without a label are dealt as if
        that were a label too. Which cells make a fetch stays as it is.

    Raises
    ------
    ValueError
        If `block_size` or `chunks` is below 1, `indices` are empty or repeat a row, or
        `drop_last` is given with storage blocks; when used, if an index is out of
        range, the RowSet is of a source with another number of rows, the layout of the
        storage is not known, or there is not a label for each row or each of `indices`.
    MissingNameError
        When used, if `stratify` names an obs column that the source does not have.

    Examples
    --------
    >>> order = BlockShuffling(block_size=4).order(range(10), seed=0, epoch=0)
    >>> sorted(order.rows(0, 10).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(
        self,
        block_size: int | Literal["storage"] = 8,
        indices: RowSet | npt.ArrayLike | None = None,
        drop_last: bool = False,
        *,
        fixed_grid: bool = False,
        chunks: int = 1,
        stratify: Any = None,  # Any: see CellLabels
    ) -> None:
        super().__init__(indices)
        if block_size != "storage":
            if isinstance(block_size, str):
                raise ValueError(
                    'block_size must be a number of rows, such as 16, or "storage" for'
                    f" the rows of whole storage chunks, got {block_size!r}"
                )
            check_count("block_size", block_size)
            block_size = int(block_size)
            if chunks != 1:
                raise ValueError('chunks goes with block_size="storage"')
        elif drop_last:
            raise ValueError(
                'drop_last does not go with block_size="storage": its blocks differ in'
                " size, none of them is short; Loader(drop_last=True) drops the last"
                " short minibatch"
            )
        check_count("chunks", chunks)
        check_flag("drop_last", drop_last)
        check_flag("fixed_grid", fixed_grid)
        self.block_size = block_size
        self.drop_last = bool(drop_last)
        self.fixed_grid = bool(fixed_grid)
        self.chunks = int(chunks)
        self.stratify = self._take_labels(stratify, "stratify")

    def order(self, source: Any, *, seed: int, epoch: int) -> Order:
        """Return the blocks in the order of this epoch."""
        subset = self._subset(source)
        blocks = self._blocks(source, subset, seed, epoch)
        if self.stratify is None:
            return blocks
        codes = self.stratify.codes(source)
        is_listed = self._is_for_listed(codes, source, "stratify")
        return StratifiedOrder(blocks, codes, subset if is_listed else None)

    def _blocks(
        self, source: Any, subset: Subset, seed: int, epoch: int
    ) -> BlockOrder | StorageOrder:
        if self.block_size == "storage":
            bounds = self._storage_bounds(source, subset)
            return StorageOrder(subset, bounds, seed=seed, epoch=epoch)
        return BlockOrder(
            subset,
            block_size=self.block_size,
            drop_last=self.drop_last,
            fixed_grid=self.fixed_grid,
            seed=seed,
            epoch=epoch,
        )

    def describe(self, source: Any) -> dict[str, Any]:
        """Return what a state keeps; with storage blocks also the chunks' layout."""
        description = super().describe(source)
        if self.block_size == "storage":
            description["layout"] = digest(source.block_starts)
        del description["stratify"]  # a state of before there were strata goes on
        if self.stratify is not None:
            description["stratify"] = self.stratify.describe(source)
        return description

    def _storage_bounds(self, source: Any, subset: Subset) -> Rows:
        starts = getattr(source, "block_starts", None)
        if starts is None:
            raise ValueError(
                'block_size="storage" needs to know where storage chunks start, and'
                f" {type(source).__name__} does not say (block_starts is None); give a"
                " number of rows"
            )
        n = count_rows(source)
        file_starts = getattr(source, "file_starts", np.array([0, n], np.int64))
        return storage_bounds(starts, file_starts, chunks=self.chunks, subset=subset)
