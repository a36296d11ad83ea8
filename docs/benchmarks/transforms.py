"""Measure the transforms beside scanpy and the published code, on the same minibatches.

    scdataset make-data plates --cells 10000 --plates 4
    python transforms.py plates

Minibatches are 64 cells in CSR. Times are CPU milliseconds for each, so that threads of
another program cost nothing, and threads that scanpy takes are counted. A ratio is
taken within a repeat; the table gives the median, with the least and the greatest.
The published loops are those of Geneformer's ``rank_genes`` and scGPT's ``binning``,
row by row; scanpy works in place on a copy, without an AnnData object where it can.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

import scdataset_core as scd
from scdataset_core import transforms as tf

if TYPE_CHECKING:
    from collections.abc import Callable

Batch = dict[str, Any]


def scanpy_normalize(batch: Batch) -> None:
    """Run scanpy's normalize_total, which takes an AnnData object."""
    import scanpy as sc
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    sc.pp.normalize_total(AnnData(csr_matrix(batch["X"], copy=True)), target_sum=1e4)


def scanpy_log1p(batch: Batch) -> None:
    """Run scanpy's log1p."""
    import scanpy as sc
    from scipy.sparse import csr_matrix

    sc.pp.log1p(csr_matrix(batch["X"], copy=True))


def scanpy_scale(batch: Batch) -> None:
    """Run scanpy's scale, which finds means and deviations of the minibatch too."""
    import scanpy as sc

    sc.pp.scale(batch["X"].toarray(), max_value=10)


def rank_by_loop(tokens: Any, medians: Any) -> Callable[[Batch], None]:
    """Return Geneformer's ranking, row by row."""

    def rank(batch: Batch) -> None:
        x = batch["X"]
        for row in range(x.shape[0]):
            part = slice(x.indptr[row], x.indptr[row + 1])
            columns, counts = x.indices[part], x.data[part]
            kept = ~np.isnan(medians[columns])
            normed = counts[kept] / counts.sum() * 10_000 / medians[columns[kept]]
            tokens[columns[kept]][np.argsort(-normed)][:2048]

    return rank


def bin_by_loop(batch: Batch) -> None:
    """Run scGPT's binning, row by row, on the values that are stored."""
    x = batch["X"]
    for row in range(x.shape[0]):
        values = x.data[x.indptr[row] : x.indptr[row + 1]]
        np.digitize(values, np.quantile(values, np.linspace(0, 1, 50)))


def cases(n_vars: int) -> list[tuple[str, Any, Callable[[Batch], None] | None]]:
    """Return each transform, and what it is measured against."""
    rng = np.random.default_rng(0)
    tokens, medians = np.arange(n_vars) + 4, rng.gamma(2, 1, n_vars) + 0.1
    medians[::3] = np.nan
    mean, std = rng.random(n_vars) / 10, rng.random(n_vars) + 0.5
    return [
        ("`normalize_total()`", tf.normalize_total(), scanpy_normalize),
        ("`log1p()`", tf.log1p(), scanpy_log1p),
        ("`scale(mean, std, 10)`", tf.scale(mean, std, 10), scanpy_scale),
        ("`to_dense()`", tf.to_dense(), lambda batch: batch["X"].toarray()),
        (
            "`rank_tokens(...)`",
            tf.rank_tokens(tokens, medians),
            rank_by_loop(tokens, medians),
        ),
        ("`bin_values(51)`", tf.bin_values(), bin_by_loop),
        ('`bin_values(51, side="both")`', tf.bin_values(side="both"), None),
        ("`choose_genes(1024)`", tf.choose_genes(1024), None),
        ('`choose_genes(1024, "random")`', tf.choose_genes(1024, "random"), None),
        (
            '`choose_genes(2048, "expressed_then_zero")`',
            tf.choose_genes(2048, "expressed_then_zero"),
            None,
        ),
        ("`mask_values(0.15)`", tf.mask_values(0.15), None),
    ]


def measure(run: Callable[[Batch], Any], batches: list[Batch]) -> float:
    """Return the CPU milliseconds for a minibatch."""
    started = time.process_time()
    for batch in batches:
        run(batch)
    return (time.process_time() - started) / len(batches) * 1000


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batches", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    source = scd.open(str(options.folder / "*.h5ad"))
    loader = scd.Loader(source, scd.BlockShuffling(16), batch_size=64)
    batches = list(itertools.islice(loader, options.batches))
    print(
        "| | ms | cells/s | of the other, ms | times as fast |\n|---|---|---|---|---|"
    )
    for name, ours, theirs in cases(source.shape[1]):
        some = batches[:8] if "scale" in name else batches
        measure(ours, some[:2])
        mine, other = [], []
        if theirs is not None:
            measure(theirs, some[:2])
        for _ in range(options.repeats):
            mine.append(measure(ours, some))
            if theirs is not None:
                other.append(measure(theirs, some))
        rate = f"{64_000 / median(mine):,.0f}"
        print(f"| {name} | {median(mine):.2f} | {rate} | {_compare(mine, other)} |")


def _compare(mine: list[float], other: list[float]) -> str:
    if not other:
        return "|"
    ratios = [its / own for own, its in zip(mine, other, strict=True)]
    spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
    return f"{median(other):.2f} | {median(ratios):.1f} ({spread})"


if __name__ == "__main__":
    main()
