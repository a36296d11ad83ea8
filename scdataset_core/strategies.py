"""Strategies: which rows an epoch has, and in what order.

The classes take the parameters of `scdataset` 0.3 in its order and with its defaults.
A strategy of your own needs one method::

    def order(self, source, *, seed, epoch) -> Order

where an order is described by :class:`scdataset_core.orders.Order`.
"""

import warnings
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .checks import check_count, count_rows, digest
from .labels import balanced_weights
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
from .weighted import SystematicOrder, WithoutReplacementOrder, inclusion

__all__ = [
    "BlockShuffling",
    "BlockWeightedSampling",
    "ClassBalancedSampling",
    "Strategy",
    "Streaming",
]


@runtime_checkable
class Strategy(Protocol):
    """What draws the rows of an epoch."""

    def order(self, source: Any, *, seed: int, epoch: int) -> Order:
        """Return the order of epoch `epoch` over the rows of `source`."""
        ...


class _Listed:
    """What the strategies share: an optional list of rows, and how they show."""

    def __init__(self, indices: npt.ArrayLike | None) -> None:
        self._sorting: Rows | None = None
        self.indices = None if indices is None else self._checked(indices)

    def _checked(self, indices: npt.ArrayLike) -> Rows:
        array = np.asarray(indices)
        if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
            hint = "; give np.flatnonzero(mask)" if array.dtype == bool else ""
            raise ValueError(
                "indices must be a non-empty 1-D array of integers,"
                f" got {array.dtype} of shape {array.shape}{hint}"
            )
        rows = array.astype(np.int64)
        if np.any(rows[1:] < rows[:-1]):
            warnings.warn(
                "indices were not sorted; they have been sorted, since rows are read"
                " in the order of the file",
                UserWarning,
                stacklevel=4,
            )
            self._sorting = np.argsort(rows, kind="stable")
            rows = rows[self._sorting]
        if rows[0] < 0:
            raise ValueError(f"indices must not be negative, got {rows[0]}")
        repeated = rows[1:][rows[1:] == rows[:-1]]
        if len(repeated):
            raise ValueError(
                f"indices must not repeat a row, got {repeated[0]} more than once; to"
                " draw cells more often use BlockWeightedSampling"
            )
        return rows

    def _subset(self, source: Any) -> Subset:
        n = count_rows(source)
        if self.indices is not None and self.indices[-1] >= n:
            raise ValueError(
                f"indices must be below the number of rows, {n}, got {self.indices[-1]}"
            )
        return Subset(n, self.indices)

    def describe(self, source: Any) -> dict[str, Any]:
        """Return what a state keeps of the strategy: JSON values, arrays as digests."""
        parts = {name: _plain(value) for name, value in vars(self).items()}
        public = {name: part for name, part in parts.items() if name[0] != "_"}
        return {"name": type(self).__name__, **public}

    def __repr__(self) -> str:
        shown = (
            f"{name}={_short(value)}"
            for name, value in vars(self).items()
            if name[0] != "_" and value is not None
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class Streaming(_Listed):
    """Rows in the order of the file.

    Parameters
    ----------
    indices
        Rows to use, all by default. Sorted, with a warning, if they are not.
    shuffle
        Shuffle the rows of each fetch before they are cut into minibatches.

    Raises
    ------
    ValueError
        If `indices` are empty, repeat a row or are negative; when used, if one is out
        of range.

    Examples
    --------
    >>> order = Streaming().order(range(5), seed=0, epoch=0)
    >>> order.rows(1, 4).tolist()
    [1, 2, 3]
    """

    def __init__(
        self, indices: npt.ArrayLike | None = None, shuffle: bool = False
    ) -> None:
        super().__init__(indices)
        self.shuffle = shuffle

    def order(self, source: Any, *, seed: int, epoch: int) -> Order:
        """Return the rows in order."""
        key = derive_key(seed, epoch, Purpose.SHUFFLE)
        return ArrayOrder(self._subset(source), shuffle=self.shuffle, key=key)


class BlockShuffling(_Listed):
    """Blocks of neighbouring rows in random order (Algorithm 1 of the paper).

    The grid of blocks turns: each epoch counts them from another offset, modulo the
    number of rows, so that cells do not keep the same neighbours for ever. The one
    short block comes last.

    Parameters
    ----------
    block_size
        Rows of a block; or ``"storage"``: the rows that start inside `chunks` whole
        storage chunks of the file, so that hardly anything is decoded twice.
    indices
        Rows to use, all by default. Sorted, with a warning, if they are not.
    drop_last
        Leave the short block out: other rows each epoch.
    fixed_grid
        Count blocks from row 0 in every epoch.
    chunks
        Storage chunks of a block, with ``block_size="storage"``.

    Raises
    ------
    ValueError
        If `block_size` or `chunks` is below 1, `indices` are empty or repeat a row, or
        `drop_last` is given with storage blocks; when used, if an index is out of range
        or the layout of the storage is not known.

    Examples
    --------
    >>> order = BlockShuffling(block_size=4).order(range(10), seed=0, epoch=0)
    >>> sorted(order.rows(0, 10).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(
        self,
        block_size: int | Literal["storage"] = 8,
        indices: npt.ArrayLike | None = None,
        drop_last: bool = False,
        *,
        fixed_grid: bool = False,
        chunks: int = 1,
    ) -> None:
        super().__init__(indices)
        if block_size != "storage":
            check_count("block_size", block_size)
            if chunks != 1:
                raise ValueError('chunks goes with block_size="storage"')
        elif drop_last:
            raise ValueError(
                'drop_last does not go with block_size="storage": its blocks differ in'
                " size, none of them is short; Loader(drop_last=True) drops the last"
                " short minibatch"
            )
        check_count("chunks", chunks)
        self.block_size = block_size
        self.drop_last = drop_last
        self.fixed_grid = fixed_grid
        self.chunks = chunks

    def order(self, source: Any, *, seed: int, epoch: int) -> Order:
        """Return the blocks in the order of this epoch."""
        subset = self._subset(source)
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
        """Return what a state keeps, the layout of the storage where it counts."""
        said = super().describe(source)
        if self.block_size == "storage":
            said["layout"] = digest(source.block_starts)
        return said

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


class BlockWeightedSampling(_Listed):
    """Cells drawn by weight, in blocks so that reads stay contiguous.

    With replacement the expected count of every cell in an epoch is exactly
    ``total_size * w[i] / w.sum()``, and its copies are bounded: see
    :class:`scdataset_core.weighted.SystematicOrder`. Without, an epoch is made of
    rounds of `sampling_size` cells, none twice in a round, and expectations are
    approximate: see :class:`scdataset_core.weighted.WithoutReplacementOrder`.

    Parameters
    ----------
    block_size
        Cells of a draw.
    indices
        Rows that may be drawn, all by default. Sorted, with a warning, if they are not.
    weights
        A weight for each row of the source, or for each of `indices`; equal by default.
    total_size
        Cells of an epoch; as many as may be drawn by default.
    replace
        Whether a cell may be drawn again before all others have been.
    sampling_size
        Cells of a round; needed with ``replace=False``.

    Raises
    ------
    ValueError
        If `weights` are negative, NaN, infinite or all zero, a size is below 1, or
        `sampling_size` is missing; when used, if the number of weights fits neither
        the source nor `indices`, or a round is larger than the cells there are.
    """

    def __init__(
        self,
        block_size: int = 8,
        indices: npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        total_size: int | None = None,
        replace: bool = True,
        sampling_size: int | None = None,
    ) -> None:
        super().__init__(indices)
        check_count("block_size", block_size)
        if total_size is not None:
            check_count("total_size", total_size)
        if sampling_size is not None:
            check_count("sampling_size", sampling_size)
        if not replace and sampling_size is None:
            raise ValueError("sampling_size must be given when replace=False")
        if replace and sampling_size is not None:
            warnings.warn(
                "sampling_size is ignored when replace=True", UserWarning, stacklevel=2
            )
        self.block_size = block_size
        self.weights = None if weights is None else self._checked_weights(weights)
        self.total_size = total_size
        self.replace = replace
        self.sampling_size = sampling_size
        self._reached: npt.NDArray[np.float64] | None = None
        self._chances: npt.NDArray[np.float64] | None = None

    def _checked_weights(self, weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
        array = np.asarray(weights, dtype=np.float64)
        if array.ndim != 1:
            raise ValueError(f"weights must be 1-D, got shape {array.shape}")
        bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
        if len(bad):
            raise ValueError(
                "weights must be finite and not negative,"
                f" got {array[bad[0]]} at position {bad[0]}"
            )
        if not array.any():
            raise ValueError("weights must not all be zero")
        if self.indices is not None and len(array) < len(self.indices):
            raise ValueError(
                f"weights must be given for every row or for each of the"
                f" {len(self.indices)} indices, got {len(array)}"
            )
        if self._sorting is not None and len(array) == len(self._sorting):
            array = array[self._sorting]
        return array

    def order(self, source: Any, *, seed: int, epoch: int) -> Order:
        """Return the draws of this epoch."""
        subset = self._subset(source)
        total = subset.n if self.total_size is None else self.total_size
        if self.replace:
            if self._reached is None or len(self._reached) != subset.n + 1:
                weights = self._weights_of(subset, count_rows(source))
                self._reached = np.concatenate([[0.0], np.cumsum(weights)])
            return SystematicOrder(
                subset,
                self._reached,
                block_size=self.block_size,
                total_size=total,
                seed=seed,
                epoch=epoch,
            )
        assert self.sampling_size is not None  # checked at construction
        if self._chances is None or len(self._chances) != subset.n:
            weights = self._weights_of(subset, count_rows(source))
            self._chances = inclusion(weights, self.sampling_size)
        return WithoutReplacementOrder(
            subset,
            self._chances,
            block_size=self.block_size,
            total_size=total,
            sampling_size=self.sampling_size,
            seed=seed,
            epoch=epoch,
        )

    def _weights_of(self, subset: Subset, n: int) -> npt.NDArray[np.float64]:
        """Return the weight of each row that may be drawn."""
        if self.weights is None:
            return np.ones(subset.n)
        if self.indices is not None and len(self.weights) == subset.n:
            chosen = self.weights
        elif len(self.weights) == n:
            chosen = (
                self.weights if self.indices is None else self.weights[self.indices]
            )
        else:
            listed = "" if self.indices is None else f" or the {subset.n} indices"
            raise ValueError(
                f"weights must be given for each of the {n} rows{listed},"
                f" got {len(self.weights)}"
            )
        if not chosen.any():
            raise ValueError("weights must not all be zero for the rows in indices")
        # Scaled, so that no sum of theirs overflows.
        return np.asarray(chosen / chosen.max())

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_reached": None, "_chances": None}


class ClassBalancedSampling(BlockWeightedSampling):
    """Cells drawn so that every class is as likely as another.

    The weight of a cell is one over the number of cells of its class: counted over all
    rows if `labels` are given for all rows, within `indices` if for each of those.

    Parameters
    ----------
    labels
        The class of each row of the source, or of each of `indices`: codes, numbers or
        strings. None may be missing (NaN, None, or -1 in codes).
    block_size, indices, total_size, replace, sampling_size
        As for :class:`BlockWeightedSampling`.

    Raises
    ------
    ValueError
        If there are no labels, or some are missing, and as `BlockWeightedSampling`.
    """

    def __init__(
        self,
        labels: npt.ArrayLike,
        block_size: int = 8,
        indices: npt.ArrayLike | None = None,
        total_size: int | None = None,
        replace: bool = True,
        sampling_size: int | None = None,
    ) -> None:
        super().__init__(
            block_size=block_size,
            indices=indices,
            weights=balanced_weights(labels),
            total_size=total_size,
            replace=replace,
            sampling_size=sampling_size,
        )


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return digest(value)
    return value.item() if isinstance(value, np.generic) else value


def _short(value: object) -> str:
    return f"<{len(value):,} values>" if isinstance(value, np.ndarray) else repr(value)
