"""All measures of a Loader's minibatches, beside the predicted and the ideal ones."""

import math
from dataclasses import asdict, dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_count, count_rows
from ..loader import Loader
from ..plan import Plan
from ..position import Position
from ..row_sets import as_index
from ..sources.base import Source
from ..strategies import BlockShuffling, Streaming
from .composition import (
    chi_squares,
    label_shares,
    successive_correlation,
    total_variations,
)
from .entropy import batch_entropies
from .expectation import expect_independent, predict_sampling
from .expression import mean_variance_ratio
from .measures import Measures
from .minibatch_x import read_x
from .plans import distinct_blocks, plan_blocks, plan_labels

__all__ = ["SamplingQuality", "measure_sampling"]

Labels = npt.NDArray[Any]

_ROWS_AT_ONCE = 1 << 20
_WORDS = {
    "entropy": "entropy, bits",
    "blocks": "distinct blocks",
    "total_variation": "total variation",
    "chi_square": "chi-square",
    "correlation": "correlation with the next",
    "variance": "variance of the mean of X",
}


@dataclass(frozen=True, repr=False)
class SamplingQuality:
    """How random the minibatches of a Loader are.

    Parameters
    ----------
    label
        Name of the obs column, or ``"labels"``.
    n_labels
        Values that it has in the epoch.
    n_batches, batch_size
        Minibatches that were measured, and cells of each.
    measured
        The means over these minibatches.
    predicted
        What :func:`predict_sampling` expects, or None for strategies other than plain
        block shuffling.
    independent
        What cells drawn one by one at random would give.
    """

    label: str
    n_labels: int
    n_batches: int
    batch_size: int
    measured: Measures
    predicted: Measures | None
    independent: Measures

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values; measures that are not known are None."""
        plain: dict[str, Any] = asdict(self)
        for name, part in plain.items():
            if isinstance(part, dict):
                plain[name] = {
                    measure: None if math.isnan(value) else value
                    for measure, value in part.items()
                }
        return plain

    def __repr__(self) -> str:
        lines = [
            f"SamplingQuality({self.n_batches:,} minibatches of {self.batch_size},"
            f" {self.label}: {self.n_labels:,} values)",
            f"{'':28}{'measured':>10}{'predicted':>11}{'independent':>13}",
        ]
        for field in fields(Measures):
            found = _show(self.measured, field.name)
            expected = _show(self.predicted, field.name)
            ideal = _show(self.independent, field.name)
            name = _WORDS[field.name]
            lines.append(f"  {name:26}{found:>10}{expected:>11}{ideal:>13}")
        return "\n".join(lines)


def _show(measures: Measures | None, name: str) -> str:
    value = math.nan if measures is None else getattr(measures, name)
    if math.isnan(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.0005 else "0"


def measure_sampling(
    loader: Loader,
    label: str | npt.ArrayLike,
    *,
    n_batches: int | None = 256,
    x: bool | str = True,
) -> SamplingQuality:
    """Measure how random the minibatches of a Loader are.

    They are those of the epoch ``loader.epoch`` of the loader's rank and worker, from
    its beginning. The loader stays where it is. Everything but the variance of the mean
    of X is measured on the plan, and reads no cell.

    Parameters
    ----------
    loader
        The Loader.
    label
        The obs column that is watched, such as the plate; or the label of every row,
        shape ``(n,)``. A missing label, such as the code -1, counts as a label of its
        own.
    n_batches
        Minibatches to measure; with None all of the epoch.
    x
        Whether minibatches are read, with all hooks applied, for the variance of the
        mean of X; the name of one array where X is several.

    Returns
    -------
    quality
        The measures, beside what was to be expected and what independent cells give.
        Deviations are from the shares of the label in the whole epoch.

    Raises
    ------
    MissingNameError
        If the source carries no such obs column.
    TypeError
        If a minibatch holds no X that is a matrix.
    ValueError
        If there is no minibatch, or `label` has not one value for each row.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> source = scd.open("plates/*.h5ad", obs=["plate"])
    >>> loader = scd.Loader(source, scd.BlockShuffling(8), batch_size=32)
    >>> quality = measure_sampling(loader, "plate", x=False)
    >>> quality.n_labels, quality.n_batches, quality.measured.entropy > 1.4
    (3, 38, True)
    """
    if not isinstance(loader, Loader):
        raise TypeError(
            f"loader must be a scdataset_core.Loader, got {type(loader).__name__}"
        )
    if n_batches is not None:
        check_count("n_batches", n_batches)
    labels = _find_labels(loader.source, label)
    plan = loader._epochs.plan(Position(loader.epoch), loader._shard)
    batches = list(islice(plan_labels(plan, labels), n_batches))
    if not batches:
        raise ValueError(f"epoch {loader.epoch} of the loader has no minibatch")
    of_epoch = _labels_of_epoch(loader.strategy, plan, labels)
    shares = label_shares(of_epoch)
    sizes = [len(batch) for batch in batches]
    blocks = distinct_blocks(islice(plan_blocks(plan), n_batches))
    return SamplingQuality(
        label=label if isinstance(label, str) else "labels",
        n_labels=len(shares),
        n_batches=len(batches),
        batch_size=loader.batch_size,
        measured=Measures(
            entropy=float(batch_entropies(batches).mean()),
            blocks=float(blocks.mean()),
            total_variation=float(total_variations(batches, shares).mean()),
            chi_square=float(chi_squares(batches, shares).mean()),
            correlation=successive_correlation(batches, shares),
            variance=(
                math.nan
                if x is False
                else mean_variance_ratio(read_x(loader.fresh(), sizes, x))
            ),
        ),
        predicted=_predict(loader, plan, of_epoch),
        independent=expect_independent(
            list(shares.values()), batch_size=loader.batch_size
        ),
    )


def _find_labels(source: Any, label: str | npt.ArrayLike) -> Labels:
    """Return the label of every row; Any: a Source, or any object indexed by row."""
    if isinstance(label, str):
        if isinstance(source, Source):
            return source.obs[label]
        raise TypeError(
            f"a {type(source).__name__} has no obs columns; give the label of every"
            f" row, shape ({count_rows(source)},), in place of {label!r}"
        )
    labels = np.asarray(label)
    if labels.shape != (count_rows(source),):
        raise ValueError(
            "label must be the name of an obs column, or have one value for each of"
            f" the {count_rows(source)} rows, got shape {labels.shape}"
        )
    return labels


def _labels_of_epoch(strategy: Any, plan: Plan, labels: Labels) -> Labels:
    """Return the labels of all rows that an epoch has, as often as it has them."""
    # A subclass may order other rows.
    if type(strategy) in (BlockShuffling, Streaming):
        indices = strategy.indices
        return labels if indices is None else labels[as_index(indices, len(labels))]
    n = len(plan.order)
    parts = [
        labels[plan.order.rows(start, min(start + _ROWS_AT_ONCE, n))]
        for start in range(0, n, _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def _predict(loader: Loader, plan: Plan, of_epoch: Labels) -> Measures | None:
    strategy = loader.strategy
    if type(strategy) is not BlockShuffling or strategy.stratify is not None:
        return None
    block_size = strategy.block_size
    if block_size == "storage":
        n = min(len(plan.order), _ROWS_AT_ONCE)
        _, sizes = np.unique(plan.order.blocks(0, n), return_counts=True)
        block_size = round(float((sizes**2).sum() / sizes.sum()))
    return predict_sampling(
        of_epoch, int(block_size), loader.fetch_factor, loader.batch_size
    )
