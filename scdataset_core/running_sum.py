"""Running sums of the weights of many cells, of which few are held."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .weights_by_class import Weights

__all__ = ["RunningSum"]

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

# A sum is held for every group of so many cells: a quarter of a byte a cell. To find a
# point takes the sums within a group; 4,096 points take a millisecond.
_GROUP = 32
_POINTS = 1 << 11  # points that are looked up at a time
_WINDOW = 1 << 20  # cells looked at at a time; a multiple of a group


class RunningSum:
    """The sums of the first 0, 1, ... weights, computed where they are asked for.

    They are those of ``numpy.cumsum``, bit for bit: the sums that are not held are
    added up in the same order from the one before them that is.

    Parameters
    ----------
    weights
        The weights, none negative, not all of them zero; shape ``(n,)``.

    Examples
    --------
    >>> reached = RunningSum(np.array([1.0, 0.0, 2.0]))
    >>> reached.at(np.array([0, 1, 2, 3])).tolist()
    [0.0, 1.0, 1.0, 3.0]
    >>> reached.find(np.array([0.5, 1.0, 2.5])).tolist()
    [0, 2, 2]
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._n = n = len(weights)
        self._held = np.zeros(max(1, -(-n // _GROUP)))
        total = 0.0
        for start in range(0, n, _WINDOW):
            sums = self._add_up(start, min(start + _WINDOW, n), total)
            held = sums[:-1:_GROUP]
            self._held[start // _GROUP :][: len(held)] = held
            total = float(sums[-1])
        self.total = total
        self.last = self._find_last()

    def __len__(self) -> int:
        """Return the number of weights."""
        return self._n

    def _add_up(self, start: int, stop: int, begun: float) -> Floats:
        return np.cumsum(np.concatenate([[begun], self._weights[start:stop]]))

    def between(self, start: int, stop: int) -> Floats:
        """Return the sums of the first `start` weights up to those of the first `stop`.

        Shape ``(stop - start + 1,)``.
        """
        first = start // _GROUP * _GROUP
        if first >= self._n:
            return np.array([self.total])
        sums = self._add_up(first, stop, float(self._held[first // _GROUP]))
        return sums[start - first :]

    def at(self, positions: Positions) -> Floats:
        """Return the sum of the weights before each position, in ``[0, n]``."""
        found = np.empty(positions.shape)
        flat, out = positions.reshape(-1), found.reshape(-1)
        for piece in _pieces(len(flat)):
            groups, steps = np.divmod(flat[piece], _GROUP)
            # Where no group begins, all weights end with the last group.
            is_end = groups == len(self._held)
            sums = self._sums_of(groups - is_end)
            out[piece] = sums[np.arange(len(steps)), steps + _GROUP * is_end]
        return found

    def find(self, points: Floats) -> Positions:
        """Return the position of the weight whose share of the sum holds each point.

        It is how many weights have ended at the point, ``n`` beyond the sum of all; a
        weight of 0 holds no point.
        """
        found = np.empty(points.shape, np.int64)
        flat, out = points.reshape(-1), found.reshape(-1)
        for piece in _pieces(len(flat)):
            groups = np.searchsorted(self._held, flat[piece], side="right") - 1
            groups = np.maximum(groups, 0)
            ended = self._sums_of(groups)[:, 1:] <= flat[piece][:, None]
            out[piece] = groups * _GROUP + np.count_nonzero(ended, axis=1)
        return np.minimum(found, self._n)

    def _sums_of(self, groups: Positions) -> Floats:
        """Return the sums before and within groups, shape ``(k, _GROUP + 1)``."""
        sums = np.zeros((len(groups), _GROUP + 1))
        if not self._n:
            return sums
        sums[:, 0] = self._held[groups]
        cells = groups[:, None] * _GROUP + np.arange(_GROUP)
        sums[:, 1:] = self._weights[np.minimum(cells, self._n - 1)]
        sums[:, 1:][cells >= self._n] = 0.0
        return np.cumsum(sums, axis=1, out=sums)

    def _find_last(self) -> int:
        """Return the position of the last weight that adds to the sum."""
        group = max(int(np.searchsorted(self._held, self.total)) - 1, 0)
        sums = self._sums_of(np.array([group]))[0, 1:]
        return group * _GROUP + int(np.count_nonzero(sums < self.total))


def _pieces(n: int) -> Iterator[slice]:
    """Yield slices of few of `n` points, whose groups fit the processor's cache."""
    for start in range(0, n, _POINTS):
        yield slice(start, start + _POINTS)
