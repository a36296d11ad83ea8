"""The base of strategies that draw rows by weight."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .listed_rows import ListedRows, copy_frozen
from .orders import Subset
from .row_sets import as_index
from .weights_by_class import ScaledWeights, Weights, WeightsByClass

__all__ = ["WeightedRows"]


Given = npt.NDArray[np.float64] | WeightsByClass


class WeightedRows(ListedRows):
    """Base of the strategies that take a weight for each row.

    Attributes
    ----------
    weights
        A weight for each row of the source, or for each of `indices`; None: all alike.
    """

    weights: Given | None

    def _take_weights(
        self, weights: npt.ArrayLike | None
    ) -> npt.NDArray[np.float64] | None:
        """Return a copy of the weights that a user gave, checked.

        Raises
        ------
        ValueError
            If they are negative, NaN, infinite or all zero, or too few.
        """
        if weights is None:
            return None
        if np.ma.is_masked(weights):  # NumPy would forget what is masked
            raise ValueError(
                "weights must not be masked; give weights.filled(0) to draw no masked"
                " cell"
            )
        try:
            array = np.asarray(weights, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"weights must be numbers, one for each cell: {error};"
                " scd.class_weights(source.obs[column]) makes them of labels"
            ) from error
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
        return copy_frozen(np.asarray(self._fit_weights(array)))

    def _fit_weights(self, weights: Given) -> Given:
        """Return weights for each row or each of `indices`, as these were sorted.

        Raises
        ------
        ValueError
            If they are too few.
        """
        if self.indices is not None and len(weights) < len(self.indices):
            given = "labels" if isinstance(weights, WeightsByClass) else "weights"
            raise ValueError(
                f"{given} must be given for every row or for each of the"
                f" {len(self.indices)} indices, got {len(weights)}"
            )
        if self._sorting is not None and len(weights) == len(self._sorting):
            return _select(weights, self._sorting)
        return weights

    def _weights_of(self, subset: Subset, n: int) -> Weights:
        """Return the weight of each row that may be drawn."""
        if self.weights is None:
            return WeightsByClass.equal(subset.n)
        if self.indices is not None and len(self.weights) == subset.n:
            chosen = self.weights
        elif len(self.weights) == n:
            chosen = self.weights
            if self.indices is not None:
                chosen = _select(chosen, as_index(self.indices, n))
        else:
            listed = "" if self.indices is None else f" or the {subset.n} indices"
            given = "labels" if isinstance(self.weights, WeightsByClass) else "weights"
            raise ValueError(
                f"{given} must be given for each of the {n} rows{listed},"
                f" got {len(self.weights)}"
            )
        if not chosen.any():
            raise ValueError("weights must not all be zero for the rows in indices")
        # The weights are scaled so that their sum does not overflow.
        if isinstance(chosen, WeightsByClass):
            return chosen.weigh(chosen.by_class / chosen.max())
        return ScaledWeights(chosen, chosen.max())


def _select(weights: Given, index: npt.NDArray[Any]) -> Given:
    """Return the weights that an index picks."""
    if isinstance(weights, WeightsByClass):
        return weights.select(index)
    picked: npt.NDArray[np.float64] = weights[index]
    return picked
