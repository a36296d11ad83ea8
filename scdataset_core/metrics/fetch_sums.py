"""How many cells of a fetch, and of its minibatches, have a label."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .draws import chance_of_none, draw_chances, mean_entropy_terms

__all__ = ["FetchSizes", "LabelSums", "Windows", "sum_labels"]

Floats = npt.NDArray[np.float64]
Windows = Callable[[int], Floats]
"""From a size, the chance of each count of each label in a window of that size."""

_GRID = 1024  # counts of a fetch for which the mean over its minibatches is computed
_TABLE_CELLS = 1 << 22  # most numbers of a table


@dataclass(frozen=True)
class FetchSizes:
    """The sizes of the fetches of an epoch.

    Parameters
    ----------
    block_size, batch_size
        Cells of a block, and of a minibatch.
    rows
        Cells of a fetch.
    n_rows
        Cells of the epoch; infinity stands for many.
    n_phases
        How many of the ways that fetches cut blocks are looked at, at most; with 1
        every fetch begins with a whole block.
    n_fetches
        How many fetches there are; infinity stands for many.
    first
        Where the first of them begins in the order of the epoch.
    """

    block_size: int
    batch_size: int
    rows: int
    n_rows: float = math.inf
    n_phases: int = 1
    n_fetches: float = math.inf
    first: int = 0

    def pieces(self, n_rows: int) -> list[dict[int, int]]:
        """Return how stretches of `n_rows` of the order are made of pieces of blocks.

        There is one dict for each place of a block where a stretch may begin, from the
        size of a piece to the number of such pieces.
        """
        ways = []
        for begin in self._begins():
            first = min(-begin % self.block_size, n_rows)
            whole, last = divmod(n_rows - first, self.block_size)
            parts: dict[int, int] = {}
            for size, times in ((self.block_size, whole), (first, 1), (last, 1)):
                if size and times:
                    parts[size] = parts.get(size, 0) + times
            ways.append(parts)
        return ways

    def _begins(self) -> list[int]:
        """Return the places of a block where fetches begin: of each, or of some."""
        step = math.gcd(self.rows, self.block_size)
        n_places = self.block_size // step
        n_phases = min(n_places, self.n_phases)
        if self.n_fetches <= n_phases:  # they may not come to all places
            return [self.first + k * self.rows for k in range(int(self.n_fetches))]
        return [place * n_places // n_phases * step for place in range(n_phases)]

    def correction(self, n_rows: int) -> float:
        """Return the variance of a sum over `n_rows`, over that of many blocks.

        Blocks that are drawn without replacement differ from each other.
        """
        if math.isinf(self.n_rows) or n_rows <= self.block_size:
            return 1.0
        if n_rows >= self.n_rows:
            return 0.0
        return (self.n_rows - n_rows) / (self.n_rows - self.block_size)

    @property
    def distinct_blocks(self) -> float:
        """Mean number of distinct blocks in a minibatch."""
        sizes = {"n_cells": self.rows, "n_drawn": self.batch_size}
        ways = [
            sum(n * (1 - chance_of_none(size, **sizes)) for size, n in parts.items())
            for parts in self.pieces(self.rows)
        ]
        return float(np.mean(ways))

    @cached_property
    def grid(self) -> npt.NDArray[np.int64]:
        """Counts of a fetch, all of them or enough to interpolate between."""
        most = min(_GRID, _TABLE_CELLS // (self.batch_size + 1))
        if self.rows <= 2 * most:
            return np.arange(self.rows + 1)
        even = np.linspace(0, self.rows, most).astype(np.int64)
        return np.union1d(even, np.arange(most // 4))

    @cached_property
    def chances(self) -> Floats:
        """Chance of each count of a minibatch, for each count of `grid`."""
        return draw_chances(self.grid, n_cells=self.rows, n_drawn=self.batch_size)


class LabelSums(NamedTuple):
    """The part of each label in the measures, each of shape ``(n_labels,)``.

    Attributes
    ----------
    entropy, total_variation
        Means over minibatches.
    within, across
        Excess of the chance that two cells of a fetch, or one of a fetch and one of the
        next fetch, both have the label over that of independent cells, divided by the
        share of the label.
    """

    entropy: Floats
    total_variation: Floats
    within: Floats
    across: Floats


def sum_labels(sizes: FetchSizes, shares: Floats, windows: Windows) -> LabelSums:
    """Return the part of some labels in the measures.

    Parameters
    ----------
    sizes
        The sizes of fetches.
    shares
        The share of each label, shape ``(n_labels,)``, each above 0.
    windows
        Gives the chance of each count of each label in a window of neighbouring rows,
        shape ``(n_labels, size + 1)``.
    """
    rows, m = sizes.rows, sizes.batch_size
    variance = _variances(sizes, rows, shares, windows)
    both = _variances(sizes, 2 * rows, shares, windows)
    pairs = max(1, rows * (rows - 1))
    within = (variance - rows * shares * (1 - shares)) / pairs
    across = (both - 2 * variance) / 2 / rows**2
    # The number of cells in a fetch keeps its mean, and its variance is corrected.
    chances = _fetch_chances(sizes, windows)
    means = rows * shares[:, None]
    scaled = means + math.sqrt(sizes.correction(rows)) * (np.arange(rows + 1) - means)
    entropy_terms = mean_entropy_terms(sizes.chances)
    distances = np.abs(np.arange(m + 1)[:, None] / m - shares)
    distance_terms = sizes.chances @ distances
    entropy, total_variation = np.empty((2, len(shares)))
    for label, chance in enumerate(chances):
        at = np.clip(scaled[label], 0, rows)
        entropy[label] = chance @ np.interp(at, sizes.grid, entropy_terms)
        distance = np.interp(at, sizes.grid, distance_terms[:, label])
        total_variation[label] = chance @ distance / 2
    return LabelSums(entropy, total_variation, within / shares, across / shares)


def _variances(
    sizes: FetchSizes, n_rows: int, shares: Floats, windows: Windows
) -> Floats:
    """Return the variance of the number of cells with a label in `n_rows` rows."""
    ways = sizes.pieces(n_rows)
    of_piece = {
        size: windows(size) @ np.arange(size + 1) ** 2.0 - (size * shares) ** 2
        for size in set().union(*ways)
    }
    total = np.zeros(len(shares))
    for parts in ways:
        for size, times in parts.items():
            total += times * of_piece[size]
    variances: Floats = total / len(ways) * sizes.correction(n_rows)
    return variances


def _fetch_chances(sizes: FetchSizes, windows: Windows) -> Floats:
    """Return the chance of each count of each label in a fetch of many blocks.

    Its shape is ``(n_labels, rows + 1)``.
    """
    rows = sizes.rows
    length = 1 << rows.bit_length()  # the first power of two above
    ways = sizes.pieces(rows)
    waves: dict[int, npt.NDArray[np.complex128]] = {}
    if sizes.block_size <= rows:
        waves[sizes.block_size] = np.fft.rfft(windows(sizes.block_size), length)
    total: npt.NDArray[np.complex128] | int = 0
    for parts in ways:
        product: npt.NDArray[np.complex128] | int = 1
        for size, times in parts.items():
            wave = waves.get(size)
            if wave is None:  # of a block that is cut
                wave = np.fft.rfft(windows(size), length)
            product = product * wave**times
        total = total + product
    chances = np.fft.irfft(total / len(ways), length)[:, : rows + 1]
    return np.clip(chances, 0, None)
