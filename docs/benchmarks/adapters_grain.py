"""Measure what the Grain adapter and the generators cost on top of the engine.

    python adapters_grain.py --data FOLDER --out results/adapters_grain.json

FOLDER gets two small plates if they are not there (0.3 GB, 0.1 GB with gzip). All run
in one process, turn by turn, over the same warm files with the same settings. Before
each case the Loader alone is measured in the same form; a ratio is of these two. The
median of the repeats is given, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grain
import jax
from absl import flags
from make_plates import make_plates
from scdataset_generators import cells, forever
from scdataset_grain import (
    BatchIterDataset,
    CellSource,
    FetchDataset,
    SplitFetches,
    device_prefetch,
)

import scdataset_core as scd

BATCH = 64
WARM_UP_S = 0.5
READING = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
TWO_WORKERS = grain.multiprocessing.MultiprocessingOptions(num_workers=2)


def make_loader(files: list[str], output: str) -> scd.Loader:
    return scd.Loader(
        scd.open(files),
        scd.BlockShuffling(block_size=16),
        batch_size=BATCH,
        fetch_factor=16,
        output=output,
        drop_last=True,
    )


def engine(loader: scd.Loader) -> Iterator[Any]:
    while True:
        yield from loader


def all_cells(loader: scd.Loader) -> Iterator[Any]:
    """Yield groups of cells taken one by one, so that all are counted alike."""
    while True:
        singles = cells(loader)
        while group := list(itertools.islice(singles, BATCH)):
            yield group


def grain_batches(loader: scd.Loader) -> Iterator[Any]:
    return iter(BatchIterDataset(loader, num_epochs=None))


def grain_workers(loader: scd.Loader) -> Iterator[Any]:
    return iter(BatchIterDataset(loader, num_epochs=None).mp_prefetch(TWO_WORKERS))


def on_device(loader: scd.Loader) -> Iterator[Any]:
    for batch in device_prefetch(BatchIterDataset(loader, num_epochs=None)):
        jax.block_until_ready(batch)
        yield batch


def grain_fetches(loader: scd.Loader) -> Iterator[Any]:
    fetches = FetchDataset(loader).shuffle(seed=0).repeat()
    return iter(fetches.to_iter_dataset(READING).apply(SplitFetches()))


def grain_cells(loader: scd.Loader) -> Iterator[Any]:
    source = CellSource(loader.source)
    singles = grain.MapDataset.source(source).shuffle(seed=0).repeat()
    return iter(singles.batch(BATCH).to_iter_dataset(READING))


Maker = Callable[[scd.Loader], Iterator[Any]]
CASES: dict[str, tuple[str, Maker]] = {
    "generators.forever, CSR": ("csr", forever),
    "generators.cells, CSR": ("csr", all_cells),
    "BatchIterDataset, CSR": ("csr", grain_batches),
    "BatchIterDataset, padded": ("padded", grain_batches),
    "BatchIterDataset, padded, device_prefetch": ("padded", on_device),
    "BatchIterDataset, CSR, mp_prefetch of 2": ("csr", grain_workers),
    "BatchIterDataset, padded, mp_prefetch of 2": ("padded", grain_workers),
    "FetchDataset, CSR, 2 threads": ("csr", grain_fetches),
    "CellSource, dense, 2 threads": ("csr", grain_cells),
}


def rate(make: Maker, loader: scd.Loader, seconds: float) -> tuple[float, float]:
    """Return cells/s in the steady state, and the seconds to the first minibatch."""
    started = time.perf_counter()
    batches = make(loader)
    next(batches)
    first_s = time.perf_counter() - started
    warm = time.perf_counter() + WARM_UP_S
    while time.perf_counter() < warm:
        next(batches)
    n_batches, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        next(batches)
        n_batches += 1
    per_second = n_batches * BATCH / (time.perf_counter() - started)
    getattr(batches, "close", lambda: None)()
    return per_second, first_s


def measure(files: list[str], *, repeats: int, seconds: float) -> list[dict[str, Any]]:
    """Return a row for each case, its ratios to the Loader just before it."""
    rates: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    firsts: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, (output, make) in CASES.items():
            alone, _ = rate(engine, make_loader(files, output), seconds)
            per_second, first_s = rate(make, make_loader(files, output), seconds)
            rates.setdefault(f"Loader, {output}", []).append(alone)
            rates.setdefault(name, []).append(per_second)
            ratios.setdefault(name, []).append(per_second / alone)
            firsts.setdefault(name, []).append(first_s)
    return [
        {
            "case": name,
            "cells_per_s": statistics.median(values),
            "ratio": statistics.median(ratios.get(name, [1.0])),
            "ratio_least": min(ratios.get(name, [1.0])),
            "ratio_greatest": max(ratios.get(name, [1.0])),
            "first_batch_s": statistics.median(firsts.get(name, [0.0])),
        }
        for name, values in rates.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    make_plates(
        options.data,
        n_plates=2,
        n_cells=10_000,
        n_genes=62_710,
        stored_per_cell=1_950,
        compressions=("none", "gzip"),
        seed=0,
    )
    machine = platform.processor() or platform.machine()
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{machine}, {os.cpu_count()} cores",
        "versions": {m.__name__: m.__version__ for m in (grain, jax, scd)},
    }
    for compression in ("none", "gzip"):
        files = sorted(map(str, (options.data / compression).glob("*.h5ad")))
        rows = measure(files, repeats=options.repeats, seconds=options.seconds)
        results[compression] = rows
        print(f"\n{compression}\n| | cells/s | of the Loader's | first batch |")
        print("|---|---|---|---|")
        for row in rows:
            span = f"{row['ratio_least']:.2f} to {row['ratio_greatest']:.2f}"
            print(
                f"| {row['case']} | {row['cells_per_s']:,.0f} |"
                f" {row['ratio']:.2f} ({span}) | {row['first_batch_s']:.2f} s |"
            )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    flags.FLAGS.mark_as_parsed()  # outside of absl's app.run, Grain asks for this
    main()
