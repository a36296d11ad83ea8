"""Mixing: several sources in given proportions, as one source and one strategy."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .checks import check_count
from .order_checks import CheckedOrder
from .orders import Order, Rows
from .permutation import Purpose, derive_key
from .proportions import find_integers
from .sources.base import Source
from .sources.combined.one_after_another import concat
from .sources.options import Join
from .strategies import BlockShuffling
from .strategy_orders import describe_strategy, order_of

__all__ = ["MixedOrder", "Mixture", "mix"]


def mix(
    sources: Sequence[Source],
    proportions: Sequence[float],
    *,
    strategies: Any = None,  # Any: of this library, of 0.3, or the user's own
    total_size: int | None = None,
    join: Join = "exact",
) -> "tuple[Source, Mixture]":
    """Draw from several sources in given proportions.

    The proportions are exact: of the first `p` cells of a run, over all its epochs,
    a source gives its share to within half the number of sources. The strategy of a
    source says which of its cells come, and in what order. When an epoch of the source
    is used up, its next one follows; what an epoch of the mixture leaves of it comes in
    the next epoch of the mixture. So each cell of a source comes as often as any other.

    Parameters
    ----------
    sources
        The sources, at least two.
    proportions
        The share of each, positive numbers in any unit: ``[0.7, 0.3]``, ``[7, 3]``.
    strategies
        How the cells of each source are drawn: one for all or a list of one for each;
        ``BlockShuffling()`` by default.
    total_size
        Cells of an epoch of the mixture; by default as many as one epoch of all the
        sources.
    join
        How genes are joined, see :func:`scdataset_core.concat`.

    Returns
    -------
    source
        All sources, one after the other, as :func:`scdataset_core.concat` gives them.
    strategy
        The mixture: give both to a :class:`scdataset_core.Loader`.

    Raises
    ------
    ValueError
        If there are not as many proportions or strategies as sources, a proportion is
        not positive, or a strategy draws nothing; and whatever ``concat`` raises.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> a, b = scd.open("plates/plate1.h5ad"), scd.open("plates/plate2.h5ad")
    >>> source, strategy = scd.mix([a, b], [0.75, 0.25], total_size=1200)
    >>> rows = strategy.order(source, seed=0, epoch=0).rows(0, 1200)
    >>> int((rows < len(a)).sum()), int((rows >= len(a)).sum())
    (900, 300)
    """
    joined = concat(sources, join=join)
    if len(sources) < 2:
        raise ValueError(f"mix needs at least two sources, got {len(sources)}")
    if not isinstance(strategies, list | tuple):
        one = BlockShuffling() if strategies is None else strategies
        strategies = [one] * len(sources)
    for name, given in (("proportions", proportions), ("strategies", strategies)):
        if len(given) != len(sources):
            raise ValueError(
                f"{name} must be one for each of the {len(sources)} sources,"
                f" got {len(given)}"
            )
    if total_size is not None:
        check_count("total_size", total_size)
        total_size = int(total_size)
    weights = find_integers(proportions)
    return joined, Mixture(sources, weights, strategies, total_size)


class Mixture:
    """The strategy of a mixture, made by :func:`scdataset_core.mix`.

    Parameters
    ----------
    sources
        The sources that are mixed.
    weights
        The share of each, as integers.
    strategies
        The strategy of each source.
    total_size
        Cells of an epoch; None: one epoch of each source.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        weights: Sequence[int],
        strategies: Sequence[Any],
        total_size: int | None,
    ) -> None:
        self.sources = tuple(sources)
        self.weights = tuple(weights)
        self.strategies = tuple(strategies)
        self.total_size = total_size

    def __repr__(self) -> str:
        pairs = zip(self.weights, self.strategies, strict=True)
        shown = ", ".join(f"{weight} of {strategy!r}" for weight, strategy in pairs)
        size = "" if self.total_size is None else f", total_size={self.total_size}"
        return f"Mixture({shown}{size})"

    def order(self, source: Any, *, seed: int, epoch: int) -> Order:
        """Return the order of epoch `epoch`.

        The strategy of source `i` gets the seed
        ``derive_key(seed, 0, Purpose.MIX, i)``, so that sources of one size are
        shuffled differently.
        """
        n = sum(map(len, self.sources))
        if len(source) != n:
            raise ValueError(
                f"the mixture is of {n} cells and the source has {len(source)}; give"
                " the Loader the source that mix() returned with the strategy"
            )
        children = [
            _Passes(one, strategy, derive_key(seed, 0, Purpose.MIX, i))
            for i, (one, strategy) in enumerate(
                zip(self.sources, self.strategies, strict=True)
            )
        ]
        total = self.total_size
        if total is None:
            total = sum(child.length for child in children)
        key = derive_key(seed, epoch, Purpose.SHUFFLE)
        return MixedOrder(children, self.weights, first=epoch * total, n=total, key=key)

    def describe(self, source: Any) -> dict[str, Any]:
        """Return what a state keeps of the mixture: JSON values."""
        described = [
            describe_strategy(strategy, one)
            for strategy, one in zip(self.strategies, self.sources, strict=True)
        ]
        return {
            "name": type(self).__name__,
            "weights": list(self.weights),
            "total_size": self.total_size,
            "strategies": described,
        }


class _Passes:
    """The order of one source, epoch after epoch, as one endless sequence.

    Parameters
    ----------
    source
        The source.
    strategy
        Draws its cells.
    seed
        The seed that the strategy gets.
    """

    def __init__(self, source: Source, strategy: Any, seed: int) -> None:
        self._source, self._strategy, self._seed = source, strategy, seed
        self._held: tuple[int, CheckedOrder] | None = None
        first = self._pass(0)
        self.length = len(first)
        self.shuffle = bool(first.shuffle)
        self.n_rows = len(source)
        if first.is_arranged:
            raise ValueError(
                f"{strategy!r} arranges the cells of whole fetches, and a mixture takes"
                " cells from several sources for each; mix with a strategy without"
                " strata or groups"
            )
        if self.length == 0:
            raise ValueError(
                f"{strategy!r} draws no cells from a source of the mixture"
            )

    def _pass(self, number: int) -> CheckedOrder:
        held = self._held  # a thread of another rank's loader may replace it
        if held is None or held[0] != number:
            order = order_of(
                self._strategy, self._source, seed=self._seed, epoch=number
            )
            self._held = held = number, order
        return held[1]

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows of the source at positions ``[start, stop)``."""
        pieces = []
        while start < stop:
            number, at = divmod(start, self.length)
            order = self._pass(number)
            if len(order) != self.length:
                raise ValueError(
                    f"{self._strategy!r} draws {self.length} cells in one epoch and"
                    f" {len(order)} in another; in a mixture they must be as many"
                )
            n = min(self.length - at, stop - start)
            pieces.append(order.rows(at, at + n))
            start += n
        return np.concatenate(pieces)


class MixedOrder:
    """Several orders interleaved in exact proportions.

    The position alone says which source a cell comes from: the first source has
    ``round(p * w[0] / sum(w))`` of the first `p` positions, and the rest is divided
    among the others in the same way. Positions are counted through all epochs.

    Parameters
    ----------
    children
        The endless order of each source.
    weights
        The share of each.
    first
        Number of positions of the epochs before.
    n
        Number of positions of this epoch.
    key
        Key of the shuffle inside fetches.
    """

    def __init__(
        self,
        children: Sequence[_Passes],
        weights: Sequence[int],
        *,
        first: int,
        n: int,
        key: int,
    ) -> None:
        self._children = children
        self._weights = weights
        self._left = list(itertools.accumulate(reversed(weights)))[::-1]
        self._bases = np.cumsum(
            [0, *(child.n_rows for child in children)], dtype=np.int64
        )
        self._first = first
        self._n = n
        self.key = key
        self.shuffle = any(child.shuffle for child in children)

    def __len__(self) -> int:
        return self._n

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows at positions ``[start, stop)``."""
        positions = np.arange(self._first + start, self._first + stop + 1)
        out = np.empty(stop - start, np.int64)
        for i, counts in enumerate(self._counts(positions)):
            mine = np.flatnonzero(counts[1:] > counts[:-1])
            if len(mine):
                rows = self._children[i].rows(int(counts[0]), int(counts[-1]))
                out[mine] = self._bases[i] + rows
        return out

    def _counts(self, positions: Rows) -> list[Rows]:
        """Return how many cells of each source come before each position."""
        counts = []
        rest = positions
        for weight, left in zip(self._weights[:-1], self._left[:-1], strict=True):
            # Two steps keep every product below 2**60.
            rounds, at = rest // left, rest % left
            taken = rounds * weight + (at * weight + left // 2) // left
            counts.append(taken)
            rest = rest - taken
        return [*counts, rest]
