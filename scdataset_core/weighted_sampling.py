"""Strategies that draw cells by weight or by class."""

import warnings
from typing import Any, NamedTuple

import numpy.typing as npt

from .checks import check_count, check_flag, count_rows
from .label_weights import balance_weights
from .orders import Order, Subset
from .row_sets import RowSet
from .running_sum import RunningSum
from .weighted import (
    SystematicOrder,
    WithoutReplacementOrder,
    find_inclusion,
)
from .weighted_rows import WeightedRows

__all__ = ["BlockWeightedSampling", "ClassBalancedSampling"]


class _Prepared(NamedTuple):
    """A running sum that orders need, and the values that it was made of."""

    n: int
    values: tuple[Any, ...]
    reached: RunningSum

    def is_of(self, n: int, values: tuple[Any, ...]) -> bool:
        """Whether it was made of these very values, for `n` rows."""
        pairs = zip(self.values, values, strict=True)
        return self.n == n and all(old is new for old, new in pairs)


class BlockWeightedSampling(WeightedRows):
    """Cells drawn by weight, in blocks so that reads stay contiguous.

    With replacement the expected count of every cell in an epoch is exactly
    ``total_size * w[i] / w.sum()``, and the number of its copies is bounded: see
    :class:`scdataset_core.weighted.SystematicOrder`. Without replacement an epoch is
    made of rounds of `sampling_size` cells, no cell comes twice in a round, and the
    expected counts are approximate: see
    :class:`scdataset_core.weighted.WithoutReplacementOrder`.

    Parameters
    ----------
    block_size
        Cells of a draw.
    indices
        Rows that may be drawn, all by default: a RowSet, or an array. An array is
        sorted, with a warning, if it is not.
    weights
        A weight for each row of the source, or for each of `indices`; equal by default.
        Kept as a copy.
    total_size
        Cells of an epoch; by default as many as there are to draw from.
    replace
        Whether a cell may be drawn again before all others have been.
    sampling_size
        Cells of a round; needed with ``replace=False``.

    Raises
    ------
    ValueError
        If `weights` are negative, NaN, infinite or all zero, a size is below 1, or
        `sampling_size` is missing; when used, if the number of weights fits neither
        the source nor `indices`, the RowSet is of a source with another number of
        rows, or a round is larger than the cells there are.
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
        check_count("block_size", block_size)
        if total_size is not None:
            check_count("total_size", total_size)
        if sampling_size is not None:
            check_count("sampling_size", sampling_size)
        check_flag("replace", replace)
        if not replace and sampling_size is None:
            raise ValueError("sampling_size must be given when replace=False")
        if replace and sampling_size is not None:
            warnings.warn(
                "sampling_size is ignored when replace=True", UserWarning, stacklevel=2
            )
        self.block_size = int(block_size)
        self.weights = self._take_weights(weights)
        self.total_size = None if total_size is None else int(total_size)
        self.replace = bool(replace)
        self.sampling_size = None if sampling_size is None else int(sampling_size)
        self._prepared: _Prepared | None = None

    def order(self, source: Any, *, seed: int, epoch: int) -> Order:
        """Return the draws of this epoch."""
        subset = self._subset(source)
        total = subset.n if self.total_size is None else self.total_size
        reached = self._reached(subset, count_rows(source))
        if self.replace:
            return SystematicOrder(
                subset,
                reached,
                block_size=self.block_size,
                total_size=total,
                seed=seed,
                epoch=epoch,
            )
        assert self.sampling_size is not None  # checked at construction
        return WithoutReplacementOrder(
            subset,
            reached,
            block_size=self.block_size,
            total_size=total,
            sampling_size=self.sampling_size,
            seed=seed,
            epoch=epoch,
        )

    def _reached(self, subset: Subset, n: int) -> RunningSum:
        """Return the running sum of the weights, or of the chances in a round.

        It is kept until a value that it was made of has changed.
        """
        values = (self.weights, self.indices, self.replace, self.sampling_size)
        prepared = self._prepared  # another thread may replace it
        if prepared is None or not prepared.is_of(n, values):
            parts = self._weights_of(subset, n)
            if not self.replace:
                assert self.sampling_size is not None  # checked at construction
                parts = find_inclusion(parts, self.sampling_size)
            self._prepared = prepared = _Prepared(n, values, RunningSum(parts))
        return prepared.reached

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_prepared": None}


class ClassBalancedSampling(BlockWeightedSampling):
    """Cells drawn so that every class is as likely as another.

    The weight of a cell is one over the number of cells of its class. They are counted
    over all rows if `labels` has one for each row, and within `indices` if it has one
    for each of these. Rows that `indices` leave out may lack a label.

    Parameters
    ----------
    labels
        The class of each row of the source, or of each of `indices`: codes, numbers or
        strings. Every row that may be drawn needs one: NaN, None, and -1 in codes,
        are missing labels.
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
        indices: RowSet | npt.ArrayLike | None = None,
        total_size: int | None = None,
        replace: bool = True,
        sampling_size: int | None = None,
    ) -> None:
        super().__init__(
            block_size=block_size,
            indices=indices,
            total_size=total_size,
            replace=replace,
            sampling_size=sampling_size,
        )
        self.weights = self._fit_weights(balance_weights(labels, self.indices))
