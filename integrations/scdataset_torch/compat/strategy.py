"""The strategies of `scdataset` 0.3, with its parameters and this library's orders.

``get_indices(collection, seed=s)`` lists the rows of an epoch. For epoch `e`,
:class:`scDataset` yields the rows of ``s = seed + 1000 * e``; it looks them up fetch by
fetch and does not list them. Blocks are counted from the first row in every epoch, as
in 0.3, but with ``drop_last`` from a random row, so that each epoch leaves out other
rows.
"""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from scdataset_core.orders import ArrayOrder, BlockOrder, Order, Subset
from scdataset_core.permutation import Purpose, derive_key
from scdataset_core.row_sets import RowSet, as_index
from scdataset_core.running_sum import RunningSum
from scdataset_core.weighted import (
    SystematicOrder,
    WithoutReplacementOrder,
    find_inclusion,
)

__all__ = [
    "BlockShuffling",
    "BlockWeightedSampling",
    "ClassBalancedSampling",
    "SamplingStrategy",
    "Streaming",
]

Indices = npt.NDArray[np.intp]


class SamplingStrategy:
    """The base class of your own strategies, which define ``get_indices``.

    Parameters
    ----------
    indices
        Rows to use. They are sorted, with a warning, if they are not; repeats are kept.

    Raises
    ------
    IndexError
        If `indices` are not integers.
    """

    # Whether `_indices` may be a RowSet; a user's own class expects an array.
    _takes_row_sets = False

    def __init__(self, indices: RowSet | npt.ArrayLike | None = None) -> None:
        self._shuffle_before_yield: bool | None = None
        self._indices = None if indices is None else self._sort(indices)

    def _sort(self, indices: RowSet | npt.ArrayLike) -> RowSet | Indices:
        if isinstance(indices, RowSet) and self._takes_row_sets:
            return indices
        given = np.asarray(indices)
        if given.size and given.dtype.kind not in "biu":
            raise IndexError(
                "arrays used as indices must be of integer (or boolean) type, got"
                f" indices of {given.dtype}"
            )
        in_order = np.sort(given)
        if not np.array_equal(given, in_order):
            warnings.warn(
                "Provided indices were not sorted; they have been sorted, since rows"
                " are read in the order of the file",
                UserWarning,
                stacklevel=4,
            )
        return in_order

    def get_indices(
        self,
        data_collection: Any,  # Any: whatever is given to scDataset
        seed: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> Indices:
        """Return the rows of an epoch, in the order in which they are fetched.

        Parameters
        ----------
        data_collection
            The collection that `scDataset` was given.
        seed
            Seed of the order. By default it is a random one.
        rng
            A generator from which the seed is drawn if `seed` is not given.
        """
        raise NotImplementedError("Subclasses must implement get_indices method")

    def _get_rng(
        self, seed: int | None = None, rng: np.random.Generator | None = None
    ) -> np.random.Generator:
        return np.random.default_rng(seed) if rng is None else rng


class OrderedStrategy(SamplingStrategy):
    """A strategy whose epochs are orders of `scdataset_core`."""

    _takes_row_sets = True

    def order_of(self, data_collection: Any, seed: int) -> Order:
        """Return the order for a seed."""
        raise NotImplementedError

    def get_len(self, data_collection: Any) -> int:
        """Return the number of rows of an epoch."""
        return self._n_rows(data_collection)

    def get_indices(
        self,
        data_collection: Any,
        seed: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> Indices:
        """Return the rows of an epoch, in the order in which they are fetched."""
        if rng is not None or seed is None:
            seed = int(self._get_rng(None, rng).integers(2**63))
        order = self.order_of(data_collection, seed)
        return order.rows(0, len(order)).astype(np.intp, copy=False)

    def _n_rows(self, data_collection: Any) -> int:
        return len(data_collection) if self._indices is None else len(self._indices)

    def _subset(self, data_collection: Any) -> Subset:
        if self._indices is None:
            return Subset(len(data_collection), None)
        if isinstance(self._indices, RowSet):
            if hasattr(data_collection, "__len__"):
                self._indices.check_n_rows(len(data_collection))
            return Subset(len(self._indices), self._indices)
        return Subset(len(self._indices), self._indices.astype(np.int64, copy=False))


class Streaming(OrderedStrategy):
    """Rows in the order of the file.

    Parameters
    ----------
    indices
        Rows to use, all by default: a RowSet, or an array. An array is sorted, with a
        warning, if it is not.
    shuffle
        Shuffle the rows of each fetch before they are cut into minibatches.

    Examples
    --------
    >>> Streaming(indices=[1, 3, 3]).get_indices(range(5)).tolist()
    [1, 3, 3]
    """

    def __init__(
        self, indices: RowSet | npt.ArrayLike | None = None, shuffle: bool = False
    ) -> None:
        super().__init__(indices)
        self.shuffle = shuffle
        self._shuffle_before_yield = shuffle

    def order_of(self, data_collection: Any, seed: int) -> Order:
        """Return the rows in order."""
        return ArrayOrder(
            self._subset(data_collection),
            shuffle=bool(self._shuffle_before_yield),
            key=derive_key(seed, 0, Purpose.SHUFFLE),
        )


class BlockShuffling(OrderedStrategy):
    """Blocks of neighbouring rows in random order.

    Parameters
    ----------
    block_size
        Number of rows of a block.
    indices
        Rows to use, all by default: a RowSet, or an array. An array is sorted, with a
        warning, if it is not.
    drop_last
        Leave out as many rows as a last, short block would have.

    Raises
    ------
    ValueError
        If `block_size` is not positive.
    """

    def __init__(
        self,
        block_size: int = 8,
        indices: RowSet | npt.ArrayLike | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(indices)
        if block_size <= 0:
            raise ValueError(f"block_size must be positive, got {block_size}")
        self._shuffle_before_yield = True
        self.block_size = block_size
        self.drop_last = drop_last

    def get_len(self, data_collection: Any) -> int:
        """Return the number of rows of an epoch."""
        n_rows = self._n_rows(data_collection)
        return n_rows - n_rows % self.block_size if self.drop_last else n_rows

    def order_of(self, data_collection: Any, seed: int) -> Order:
        """Return the order of the blocks for a seed."""
        return BlockOrder(
            self._subset(data_collection),
            block_size=self.block_size,
            drop_last=self.drop_last,
            fixed_grid=not self.drop_last,
            seed=seed,
            epoch=0,
        )


class BlockWeightedSampling(OrderedStrategy):
    """Blocks of cells that are drawn by weight.

    Parameters
    ----------
    block_size
        Number of cells of a block.
    indices
        Rows that may be drawn, all by default. They are sorted, with a warning, if they
        are not.
    weights
        A weight for each row of the collection, or for each of `indices`.
    total_size
        Number of cells of an epoch. By default it is the number of rows that may be
        drawn.
    replace
        Whether a cell may be drawn again before all others have been drawn.
    sampling_size
        Number of cells of a round; it is required if `replace` is False.

    Raises
    ------
    ValueError
        If a size is not positive, if weights are negative, NaN or add up to zero, or if
        `sampling_size` is missing. An epoch raises it if the number of weights is
        neither that of the collection nor that of `indices`.
    """

    def __init__(
        self,
        block_size: int = 8,
        indices: RowSet | npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        total_size: int | None = None,
        replace: bool = True,
        sampling_size: int | None = None,
    ) -> None:
        super().__init__(indices)
        if block_size <= 0:
            raise ValueError(f"block_size must be positive, got {block_size}")
        if not replace and sampling_size is None:
            raise ValueError("sampling_size must be provided when replace=False")
        if replace and sampling_size is not None:
            warnings.warn(
                "sampling_size is ignored when replace=True", UserWarning, stacklevel=2
            )
        self._shuffle_before_yield = True
        self.block_size = block_size
        self.weights = None if weights is None else _normalize(weights)
        if not (self.weights is None or indices is None or isinstance(indices, RowSet)):
            listed = np.asarray(indices)
            if listed.shape == self.weights.shape:
                self.weights = self.weights[np.argsort(listed, kind="stable")]
        self.total_size = total_size
        self.replace = replace
        self.sampling_size = sampling_size

    def get_len(self, data_collection: Any) -> int:
        """Return the number of rows of an epoch."""
        if self.total_size is not None:
            return self.total_size
        return self._n_rows(data_collection)

    def order_of(self, data_collection: Any, seed: int) -> Order:
        """Return the order of the draws for a seed."""
        subset = self._subset(data_collection)
        total_size = self.get_len(data_collection)
        weights = self._weights_of(subset, data_collection)
        if subset.n == 0:
            if total_size > 0:
                raise ValueError(
                    f"there are no rows to draw total_size={total_size} from: data and"
                    " indices cannot be empty"
                )
            return ArrayOrder(subset, shuffle=True, key=0)
        if self.replace:
            return SystematicOrder(
                subset,
                RunningSum(weights),
                block_size=self.block_size,
                total_size=total_size,
                seed=seed,
                epoch=0,
            )
        size = min(self.sampling_size or total_size, total_size)
        return WithoutReplacementOrder(
            subset,
            RunningSum(find_inclusion(weights, size)),
            block_size=self.block_size,
            total_size=total_size,
            sampling_size=size,
            seed=seed,
            epoch=0,
        )

    def _weights_of(self, subset: Subset, collection: Any) -> npt.NDArray[np.float64]:
        """Return the weight of each row that may be drawn."""
        if self.weights is None:
            return np.ones(subset.n)
        if self._indices is None:
            if len(self.weights) != len(collection):
                raise ValueError(
                    "weights must have the same length as data_collection: got"
                    f" {len(self.weights)} for {len(collection)} rows"
                )
            return self.weights
        if len(self.weights) == len(self._indices):
            return self.weights
        if len(self.weights) != len(collection):
            raise ValueError(
                f"weights length ({len(self.weights)}) must match the length of"
                f" data_collection ({len(collection)}) or of indices"
                f" ({len(self._indices)})"
            )
        index = as_index(self._indices, len(self.weights))
        chosen: npt.NDArray[np.float64] = self.weights[index]
        return chosen


class ClassBalancedSampling(BlockWeightedSampling):
    """Blocks of cells that are drawn so that every class is equally likely.

    Parameters
    ----------
    labels
        The class of each row of the collection, or of each of `indices`.
    block_size, indices, total_size, replace, sampling_size
        As for :class:`BlockWeightedSampling`.

    Raises
    ------
    ValueError
        If there are no labels, or fewer than `indices`.
    """

    def __init__(
        self,
        labels: npt.ArrayLike,
        block_size: int = 8,
        indices: RowSet | npt.ArrayLike | None = None,
        total_size: int | None = None,
        replace: bool = True,
        sampling_size: int | None = None,
    ) -> None:
        self.labels = np.asarray(labels)
        if len(self.labels) == 0:
            raise ValueError("labels cannot be empty")
        listed = indices if isinstance(indices, RowSet) else np.asarray(indices)
        n_listed = 0 if indices is None else len(listed)
        if len(self.labels) < n_listed:
            raise ValueError(
                f"labels length ({len(self.labels)}) must be either equal to indices"
                f" length ({n_listed}) or that of all rows"
            )
        _, codes, counts = np.unique(
            self.labels, return_inverse=True, return_counts=True
        )
        super().__init__(
            block_size=block_size,
            indices=indices,
            weights=1.0 / counts[codes.reshape(-1)],
            total_size=total_size,
            replace=replace,
            sampling_size=sampling_size,
        )


def _normalize(weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the weights divided by their sum."""
    array = np.asarray(weights, dtype=np.float64)
    if np.any(array < 0):
        raise ValueError(f"weights must be non-negative, got {array.min()}")
    if np.any(np.isnan(array)):
        raise ValueError("weights contain NaN")
    total = array.sum()
    if total == 0:
        raise ValueError("weights must sum to a positive value, got 0")
    shares: npt.NDArray[np.float64] = array / total
    return shares
