"""Measure the AnnData minibatches of this library and of scDataset, in one run.

    scdataset make-data plates/gzip --cells 20000 --plates 2 --compression gzip
    python anndata_batches.py plates/gzip

Both give AnnData objects of 64 cells with all obs columns, from blocks of 16 cells and
fetches of 16 minibatches. "made anew" is this library if it makes the indices of genes
and labels for every minibatch, as it did before they were shared. A ratio is taken
within a repeat; the table gives the median, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import scdataset_core as scd
from scdataset_core.anndata_maker import AnnDataMaker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS, ANEW, THEIRS = "scdataset-core", "scdataset-core, made anew", "scDataset"
SIZES: dict[str, Any] = {"batch_size": 64, "fetch_factor": 16, "seed": 0}
BLOCK = 16


def ours(paths: list[str]) -> Callable[[], Iterator[Any]]:
    """Return what iterates over this library's AnnData minibatches."""
    source = scd.open(paths, obs=True)
    loader = scd.Loader(source, scd.BlockShuffling(BLOCK), output="anndata", **SIZES)
    return lambda: iter(loader)


def anew(paths: list[str]) -> Callable[[], Iterator[Any]]:
    """Return the same with nothing kept from one minibatch to the next."""
    source = scd.open(paths, obs=True)

    def annotated(batch: dict[str, Any]) -> Any:
        names = batch["index"].astype(str)
        return AnnDataMaker(source.info).make(batch["X"], batch["obs"], names)

    loader = scd.Loader(
        source, scd.BlockShuffling(BLOCK), batch_transform=annotated, **SIZES
    )
    return lambda: iter(loader)


def theirs(paths: list[str]) -> Callable[[], Iterator[Any]]:
    """Return what iterates over scDataset's AnnData minibatches, as in its paper."""
    import anndata
    from anndata.experimental import AnnCollection
    from scdataset import BlockShuffling, scDataset

    plates = [anndata.read_h5ad(path, backed="r") for path in paths]
    dataset = scDataset(
        AnnCollection(plates, join_vars="inner"),
        BlockShuffling(block_size=BLOCK),
        fetch_transform=lambda view: view.to_adata(),
        **SIZES,
    )
    return lambda: iter(dataset)


def rate(epoch: Callable[[], Iterator[Any]], n_cells: int) -> float:
    """Return the cells a second of the first `n_cells` of an epoch."""
    gc.collect()
    started, n_seen = time.perf_counter(), 0
    batches = epoch()
    for adata in batches:
        n_seen += adata.n_obs
        if n_seen >= n_cells:
            break
    seconds = time.perf_counter() - started
    del batches
    return n_seen / seconds


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=16_384)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    paths = sorted(str(path) for path in options.folder.glob("*.h5ad"))
    makers = {OURS: ours, ANEW: anew, THEIRS: theirs}
    epochs = {name: make(paths) for name, make in makers.items()}
    rates: dict[str, list[float]] = {name: [] for name in epochs}
    for epoch in epochs.values():
        rate(epoch, 1024)  # warm
    for _ in range(options.repeats):
        for name, epoch in epochs.items():
            rates[name].append(rate(epoch, options.cells))
    print("| | cells/s | times as fast |\n|---|---|---|")
    for name, measured in rates.items():
        ratios = [mine / its for mine, its in zip(rates[OURS], measured, strict=True)]
        print(f"| {name} | {_spread(measured, ',.0f')} | {_spread(ratios, '.2f')} |")


def _spread(values: list[float], form: str) -> str:
    least, most = min(values), max(values)
    return f"{median(values):{form}} ({least:{form}} to {most:{form}})"


if __name__ == "__main__":
    main()
