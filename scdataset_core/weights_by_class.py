"""Weights of cells that take little memory: by class, or scaled when asked for."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .checks import digest_pieces
from .row_sets import WINDOW_ROWS

__all__ = ["ScaledWeights", "Weights", "WeightsByClass"]


class WeightsByClass:
    """A weight for each cell, given by its class; used like an array of the weights.

    Parameters
    ----------
    codes
        The class of each cell, unsigned integers, shape ``(n,)``; kept as they are.
    by_class
        The weight of each class, float64, shape ``(n_classes,)``.
    counts
        How many cells each class has; they are counted by default.
    """

    dtype = np.dtype(np.float64)

    def __init__(
        self,
        codes: npt.NDArray[np.unsignedinteger[Any]],
        by_class: npt.NDArray[np.float64],
        counts: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.codes = codes
        self.by_class = by_class
        if counts is not None:
            self.counts = counts

    @classmethod
    def equal(cls, n: int) -> Self:
        """Return the weights of `n` cells that all weigh 1."""
        return cls(np.zeros(n, np.uint8), np.ones(1), np.array([n]))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def shape(self) -> tuple[int]:
        """The shape of an array of the weights."""
        return (len(self),)

    def __getitem__(self, key: Any) -> Any:  # Any: what picks out of an array
        """Return the weights of some cells, as an array would."""
        return self.by_class[self.codes[key]]

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("weights by class have codes; their array is always new")
        weights: npt.NDArray[Any] = self.by_class[self.codes]
        return weights if dtype is None else weights.astype(dtype, copy=False)

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many cells each class has."""
        counts = np.zeros(len(self.by_class), np.int64)
        for codes in self._windows():
            counts += np.bincount(codes, minlength=len(counts))
        return counts

    def select(self, index: npt.NDArray[Any]) -> "WeightsByClass":
        """Return the weights of the cells that an index picks."""
        return WeightsByClass(self.codes[index], self.by_class)

    def weigh(self, by_class: npt.NDArray[np.float64]) -> "WeightsByClass":
        """Return other weights for the same classes."""
        return WeightsByClass(self.codes, by_class, self.counts)

    def any(self) -> bool:
        """Return whether any cell has a weight."""
        return bool(self.by_class[self.counts > 0].any())

    def max(self) -> float:
        """Return the largest weight of any cell."""
        return float(self.by_class[self.counts > 0].max())

    def digest(self) -> str:
        """Return the digest of the array of weights, without making the array."""
        pieces = (self.by_class[codes] for codes in self._windows())
        return digest_pieces(self.dtype, self.shape, pieces)

    def _windows(self) -> Iterator[npt.NDArray[np.unsignedinteger[Any]]]:
        for start in range(0, len(self), WINDOW_ROWS):
            yield self.codes[start : start + WINDOW_ROWS]


class ScaledWeights:
    """Weights divided by a number where they are asked for, so that there is no copy.

    Parameters
    ----------
    weights
        The weights, shape ``(n,)``.
    by
        What they are divided by.
    """

    def __init__(self, weights: npt.NDArray[np.float64], by: float) -> None:
        self._weights = weights
        self._by = by

    def __len__(self) -> int:
        return len(self._weights)

    def __getitem__(self, key: Any) -> Any:  # Any: what picks out of an array
        """Return the scaled weights of some cells, as an array would."""
        return self._weights[key] / self._by

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        scaled: npt.NDArray[Any] = self._weights / self._by
        return scaled if dtype is None else scaled.astype(dtype, copy=False)


Weights = npt.NDArray[np.float64] | WeightsByClass | ScaledWeights
"""A weight for each cell, by position."""
