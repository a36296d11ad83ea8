"""What block sampling with batched fetching gives, from a label alone.

A fetch is blocks of neighbouring rows drawn at random, and a minibatch is cells of a
fetch drawn at random, both without replacement (Algorithm 2 of the paper of scDataset).
So the number of cells of a minibatch that have a label is hypergeometric, given how
many cells of the fetch have it; and that is a sum over the blocks of the fetch. The
runs of the label say how many cells of a block have it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..checks import check_count
from .fetch_sums import FetchSizes, LabelSums, sum_labels
from .label_runs import LabelRuns
from .measures import Measures

__all__ = [
    "expect_independent",
    "expected_entropy",
    "predict_entropy",
    "predict_sampling",
]

Floats = npt.NDArray[np.float64]

_TABLE_CELLS = 1 << 22  # most numbers of a table
_PHASES_LEAST, _PHASES_MOST = 4, 64  # ways that fetches cut blocks, looked at
_MANY = 1e12  # fetches of a large epoch
_TINY = 1e-9


def predict_sampling(
    labels: npt.ArrayLike | LabelRuns,
    block_size: int,
    fetch_factor: int,
    batch_size: int,
) -> Measures:
    """Predict how random minibatches of block sampling are, from a label alone.

    No cell is read and nothing is drawn. The blocks of
    :class:`scdataset_core.BlockShuffling` begin anywhere, so each window of
    `block_size` neighbouring rows is as likely to be a block as any other; the runs of
    the label say what the windows hold. The distribution of a label in a fetch is the
    convolution over the blocks; where an epoch has few fetches, its deviations are
    scaled by the correction for finite populations (W. G. Cochran, Sampling Techniques,
    1977, section 2.6). Entropy and total variation are means over it. Chi-square and
    correlation follow from its variance: as for samples of clusters, the excess is
    ``batch_size - 1`` times the correlation of two cells (L. Kish, Survey Sampling,
    1965, section 5.4).

    Parameters
    ----------
    labels
        The label of every row of the epoch, shape ``(n,)``, in the order of the file:
        codes, numbers or strings; or its :class:`LabelRuns`. A missing label, such as
        the code -1, counts as a label of its own.
    block_size
        Rows of a block. For blocks of storage chunks, which differ in size, give the
        mean size of the block that a row lies in, ``(sizes**2).sum() / sizes.sum()``.
    fetch_factor
        Minibatches of a fetch.
    batch_size
        Cells of a minibatch.

    Returns
    -------
    measures
        Means over the minibatches of an epoch, short ones left aside. The variance of
        means is NaN, since it depends on X.

    Raises
    ------
    TypeError
        If a size is no integer.
    ValueError
        If a size is below 1, or `labels` are empty.

    Examples
    --------
    The setting of Table 2 of the paper: 14 plates, and minibatches of 64.

    >>> plates = LabelRuns(range(14), [7_000_000] * 14)
    >>> predicted = predict_sampling(plates, 16, 4, 64)
    >>> round(predicted.entropy, 2), round(predicted.blocks, 1)
    (3.04, 15.9)
    """
    check_count("block_size", block_size)
    check_count("fetch_factor", fetch_factor)
    check_count("batch_size", batch_size)
    runs = LabelRuns.of(labels)
    n = runs.n_rows
    m = min(int(batch_size), n)
    rows = min(m * int(fetch_factor), n)
    whole = FetchSizes(
        block_size=min(int(block_size), n),
        batch_size=m,
        rows=rows,
        n_rows=n,
        n_fetches=n // rows,
        # Of a label with many runs every way takes its time.
        n_phases=max(_PHASES_LEAST, min(_PHASES_MOST, _TABLE_CELLS // runs.n_runs)),
    )
    fetches = [_Fetches(whole, n // rows, _sum_runs(whole, runs))]
    if n % rows >= m:  # the last fetch of the epoch is short
        last = replace(whole, rows=n % rows, n_fetches=1, first=n - n % rows)
        fetches.append(_Fetches(last, 1, _sum_runs(last, runs)))
    return _average(fetches)


def predict_entropy(
    labels: npt.ArrayLike | LabelRuns,
    block_size: int,
    fetch_factor: int,
    batch_size: int,
) -> float:
    """Predict the mean entropy of a label in minibatches of block sampling, in bits.

    It is the entropy of :func:`predict_sampling`, which says how it is computed.

    Parameters
    ----------
    labels
        The label of every row of the epoch, shape ``(n,)``, or its :class:`LabelRuns`.
    block_size
        Rows of a block.
    fetch_factor
        Minibatches of a fetch.
    batch_size
        Cells of a minibatch.

    Examples
    --------
    >>> drugs = np.repeat(np.arange(16), 20)  # wells of 20 cells
    >>> [round(predict_entropy(drugs, block_size, 2, 32), 2) for block_size in (1, 32)]
    [3.64, 2.13]
    """
    return predict_sampling(labels, block_size, fetch_factor, batch_size).entropy


def expect_independent(shares: npt.ArrayLike, *, batch_size: int) -> Measures:
    """Return what minibatches of independent cells give.

    The number of cells with a label is then binomial: chi-square has the number of
    labels less 1 as its mean, whatever the shares are (K. Pearson, 1900), and total
    variation is half the sum of the mean absolute deviations of binomials (P. Diaconis
    and S. Zabell, Statistical Science 6:284-302, 1991).

    Parameters
    ----------
    shares
        How common each label is, shape ``(n_labels,)``; scaled to sum to 1.
    batch_size
        Cells of a minibatch.

    Raises
    ------
    ValueError
        If `batch_size` is below 1, or `shares` are negative or sum to 0.

    Examples
    --------
    >>> independent = expect_independent([0.5, 0.5], batch_size=2)
    >>> independent.entropy, independent.total_variation, independent.chi_square
    (0.5, 0.25, 1.0)
    """
    check_count("batch_size", batch_size)
    measures = _expect(shares, FetchSizes(1, batch_size, batch_size))
    return replace(measures, variance=1.0)


def expected_entropy(
    shares: npt.ArrayLike,
    *,
    batch_size: int,
    block_size: int = 1,
    fetch_factor: int = 1,
) -> float:
    """Return the mean entropy of a label that block sampling gives, in bits.

    The data set is taken to be large, and the label to lie in runs much longer than a
    block, as a plate does: all cells of a block share it. A fetch is then
    ``batch_size * fetch_factor / block_size`` blocks drawn at random by `shares`, and
    a minibatch is cells of a fetch drawn at random, without replacement. Under these
    assumptions the result is exact. :func:`predict_entropy` needs neither of the two,
    but all labels or their runs.

    Parameters
    ----------
    shares
        How common each value of the label is; scaled to sum to 1.
    batch_size
        Cells of a minibatch.
    block_size
        Cells of a block. With 1 cells are drawn at random one by one, and
        `fetch_factor` does not matter.
    fetch_factor
        Minibatches of a fetch.

    Raises
    ------
    ValueError
        If a size is below 1, or `shares` are negative or sum to 0.

    Examples
    --------
    Four minibatches a fetch bring back most of what blocks of 16 cells take away:

    >>> shares = np.ones(14)
    >>> round(expected_entropy(shares, batch_size=64), 2)
    3.65
    >>> round(expected_entropy(shares, batch_size=64, block_size=16), 2)
    1.79
    >>> sizes = {"batch_size": 64, "block_size": 16}
    >>> round(expected_entropy(shares, fetch_factor=4, **sizes), 2)
    3.04
    """
    for name, size in (
        ("batch_size", batch_size),
        ("block_size", block_size),
        ("fetch_factor", fetch_factor),
    ):
        check_count(name, size)
    rows = batch_size * fetch_factor
    sizes = FetchSizes(min(block_size, rows), batch_size, rows, n_phases=1)
    return _expect(shares, sizes).entropy


class _Fetches(NamedTuple):
    """The fetches of an epoch that are of one size."""

    sizes: FetchSizes
    number: float
    sums: LabelSums

    @property
    def n_batches(self) -> int:
        """Minibatches of each."""
        return self.sizes.rows // self.sizes.batch_size


def _sum_runs(sizes: FetchSizes, runs: LabelRuns) -> LabelSums:
    """Return the part of each label in the measures, from its runs."""
    n_labels = len(runs.shares)
    step = max(1, _TABLE_CELLS // max(sizes.block_size, 2 * sizes.rows))
    parts = [
        _sum_range(sizes, runs, first, min(first + step, n_labels))
        for first in range(0, n_labels, step)
    ]
    return LabelSums(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _sum_range(sizes: FetchSizes, runs: LabelRuns, first: int, last: int) -> LabelSums:
    """Return the part of some labels; one label of a single cell stands for all such.

    A label that differs from cell to cell, as a number of counts does, has so many of
    them that their parts would take minutes to compute one by one.
    """
    shares = runs.shares[first:last]
    occurs = np.flatnonzero(shares > 0)
    is_single = np.rint(shares[occurs] * runs.n_rows) == 1
    alike = np.where(is_single, -1, np.arange(len(occurs)))
    _, which, numbers = np.unique(alike, return_index=True, return_inverse=True)
    chosen, is_single = occurs[which], is_single[which]

    def count_windows(size: int) -> Floats:
        chances = runs.window_counts(size, first, last)[chosen]
        chances[is_single] = 0
        chances[is_single, 1] = size / runs.n_rows
        chances[is_single, 0] = 1 - size / runs.n_rows
        return chances

    sums = sum_labels(sizes, shares[chosen], count_windows)
    return LabelSums(*(part[numbers] for part in sums))


def _expect(shares: npt.ArrayLike, sizes: FetchSizes) -> Measures:
    """Return the measures of a large data set, in which blocks are of one label."""
    parts = np.asarray(shares, dtype=np.float64)
    if parts.ndim != 1 or (parts < 0).any() or not 0 < parts.sum() < np.inf:
        raise ValueError(
            f"shares must be 1-D, not negative and not all 0, got {shares!r}"
        )
    parts = parts[parts > 0] / parts.sum()
    values, numbers = np.unique(parts, return_inverse=True)

    def count_windows(size: int) -> Floats:
        chances = np.zeros((len(values), size + 1))
        chances[:, 0] = 1 - values
        chances[:, size] = values
        return chances

    sums = sum_labels(sizes, values, count_windows)
    of_labels = LabelSums(*(part[numbers] for part in sums))
    return _average([_Fetches(sizes, _MANY, of_labels)])


def _average(fetches: Sequence[_Fetches]) -> Measures:
    """Return the means over all minibatches of an epoch."""
    m = fetches[0].sizes.batch_size
    n_labels = len(fetches[0].sums.entropy)
    n_batches = sum(part.number * part.n_batches for part in fetches)
    shares = [part.number * part.n_batches / n_batches for part in fetches]

    def mean(values: Iterable[float]) -> float:
        return float(np.dot(shares, list(values)))

    chi_square = n_labels - 1 + (m - 1) * mean(f.sums.within.sum() for f in fetches)
    # Two minibatches that follow each other are of one fetch, or of two.
    products = (sum(part.number for part in fetches) - 1) * fetches[0].sums.across.sum()
    for part in fetches:
        products += part.number * (part.n_batches - 1) * part.sums.within.sum()
    correlation = math.nan
    if n_batches > 1 and chi_square > _TINY:
        correlation = float(m * products / (n_batches - 1) / chi_square)
    return Measures(
        entropy=mean(part.sums.entropy.sum() for part in fetches),
        blocks=mean(part.sizes.distinct_blocks for part in fetches),
        total_variation=mean(part.sums.total_variation.sum() for part in fetches),
        chi_square=max(0.0, chi_square),
        correlation=correlation,
        variance=math.nan,
    )
