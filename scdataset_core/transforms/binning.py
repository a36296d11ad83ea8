"""Values of each cell in bins of its own."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..checks import check_count, check_seed
from ..permutation import Purpose, hash_numbers
from .hook import Hook, RowsOfBatch
from .layouts import (
    Entries,
    add_up_repeats,
    check_counts,
    find_entries,
    get_values,
    put_entries,
)
from .row_order import find_row_order

__all__ = ["bin_values"]

Side = Literal["one", "both"]


def bin_values(
    n_bins: int = 51, *, side: Side = "one", seed: int = 0, x: str | None = None
) -> Hook:
    """Return a hook that replaces the values of each cell by the numbers of their bins.

    It is scGPT's binning. The edges of a cell's bins are quantiles of its own values
    that are not zero: ``np.quantile(values, np.linspace(0, 1, n_bins - 1))``. A value
    gets the number of edges that are not above it, from 1 to ``n_bins - 1``; 0 stays 0,
    the first bin.

    Parameters
    ----------
    n_bins
        Number of bins, that of the zeros included; at least 2.
    side
        What a value gets that equals several edges, as small counts do: ``"one"``, the
        highest of their bins, so that nothing is random; or ``"both"``, any of them, as
        scGPT's own training does, keyed by (seed, epoch, global row, column).
    seed
        Key of the randomness of ``side="both"``.
    x
        Where X is several arrays: the name of the one to change.

    Returns
    -------
    hook
        For ``fetch_transform`` or ``batch_transform``. X may be CSR, dense or padded,
        raw counts or after `normalize_total` and `log1p`, and keeps its layout; values
        become int32.

    Raises
    ------
    TypeError, ValueError
        If `n_bins` is not an integer of at least 2, or `side` is neither of the two.

    Notes
    -----
    Cui et al., "scGPT: toward building a foundation model for single-cell multi-omics
    using generative AI", Nature Methods 2024; ``Preprocessor`` and ``_digitize`` in
    ``scgpt/preprocess.py`` of its code, whose argument ``side`` is this one.

    Examples
    --------
    The values 1, 2, 3 and 5 have the quantiles 1, 2.5 and 5 (at 0, 1/2 and 1). One edge
    is not above 1, nor 2; two are not above 3, and three are not above 5:

    >>> bin_values(n_bins=4)(np.array([[5, 0, 1, 2, 3]]))
    array([[3, 0, 1, 1, 2]], dtype=int32)
    """
    check_count("n_bins", n_bins, least=2)
    if side not in ("one", "both"):
        raise ValueError(f'bin_values: side must be "one" or "both", got {side!r}')
    check_seed(seed)
    return _BinValues(x, int(n_bins), side, int(seed))


@dataclass(frozen=True, repr=False)
class _BinValues(Hook):
    name = "bin_values"
    n_bins: int
    side: Side
    seed: int

    def change(self, x: Any, rows: RowsOfBatch) -> Any:
        check_counts(get_values(x))
        x = add_up_repeats(x)
        stored = find_entries(x, zeros=True)
        filled = stored.values != 0
        entries = stored.keep(filled)
        draws = None
        if self.side == "both":
            keys = rows.keys(seed=self.seed, purpose=Purpose.BIN_SIDES)
            each = hash_numbers(entries.columns, key=np.repeat(keys, entries.lengths))
            draws = (each >> np.uint64(11)).astype(np.float64) * 2.0**-53
        binned = np.zeros(len(stored.values), np.int32)
        binned[filled] = _bin_rows(entries, self.n_bins, draws)
        return put_entries(x, stored, binned)


def _bin_rows(
    entries: Entries, n_bins: int, draws: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.int32]:
    """Return the bin of each entry, none of which is zero."""
    order = find_row_order(-entries.values.astype(np.float64), entries.starts)
    ascending = entries.values[order]
    if ascending.dtype.kind == "b":  # NumPy does not subtract bools
        ascending = ascending.view(np.uint8)
    edges = _find_edges(ascending, entries, n_bins)
    binned = np.empty(len(ascending), np.int32)
    bins = np.arange(n_bins, dtype=np.int32)
    starts = entries.starts.tolist()
    filled = [row for row, n in enumerate(entries.lengths.tolist()) if n]
    for row, its_edges in zip(filled, edges, strict=True):
        start, stop = starts[row], starts[row + 1]
        values = ascending[start:stop]
        # Values that stand before an edge are below it.
        below = np.searchsorted(values, its_edges, side="left")
        high = _number_bins(below, len(values), bins)
        if draws is not None:
            to = np.searchsorted(values, its_edges, side="right")
            low = _number_bins(to, len(values), bins)
            drawn = draws[order[start:stop]] * (low - high) + high
            high = np.ceil(drawn).astype(np.int32)
        binned[order[start:stop]] = high
    return binned


def _number_bins(
    firsts: npt.NDArray[np.int64], n: int, bins: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Return the bins of `n` sorted values; bin i starts at ``firsts[i - 1]``."""
    bounds = np.empty(len(firsts) + 2, np.int64)
    bounds[0], bounds[1:-1], bounds[-1] = 0, firsts, n
    return np.repeat(bins, np.diff(bounds))


def _find_edges(
    ascending: npt.NDArray[Any], entries: Entries, n_bins: int
) -> npt.NDArray[np.float64]:
    """Return the quantiles of each row that has entries, shape ``(n, n_bins - 1)``.

    They are those of `numpy.quantile`, bit for bit, of values that are sorted already.
    """
    lengths = entries.lengths[entries.lengths > 0, None]
    at = np.linspace(0, 1, n_bins - 1) * (lengths - 1)
    lower = np.floor(at)
    share = at - lower
    first = entries.starts[:-1][entries.lengths > 0, None] + lower.astype(np.int64)
    last = np.minimum(first + 1, entries.starts[1:][entries.lengths > 0, None] - 1)
    a, b = ascending[first], ascending[last]
    step = b - a
    edges: npt.NDArray[np.float64] = np.where(
        share >= 0.5, b - step * (1 - share), a + step * share
    )
    return edges
