"""The parts that the scripts measuring adapters share: rates beside the Loader's own.

All cases run in one process, in turn, over the same warm files with the same settings.
Before each case the Loader alone is measured in the same form, and a ratio compares the
case with that. The tables give the median of the repeats, the least and the greatest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from make_plates import folder_of, make_plates

import scdataset_core as scd
from scdataset_core.tools.plate_layouts import LAYOUTS

BATCH = 64

Maker = Callable[[scd.Loader], Iterator[Any]]
Cases = Mapping[str, tuple[str, Maker]]


def make_loader(files: list[str], output: str) -> scd.Loader:
    """Return the Loader that all cases are given."""
    return scd.Loader(
        scd.open(files),
        scd.BlockShuffling(block_size=16),
        batch_size=BATCH,
        fetch_factor=16,
        output=output,
        drop_last=True,
    )


def engine(loader: scd.Loader) -> Iterator[Any]:
    """Yield the Loader's own batches, epoch after epoch."""
    while True:
        yield from loader


def rate(make: Maker, loader: scd.Loader, seconds: float) -> tuple[float, float]:
    """Return cells/s in the steady state, and the seconds to the first minibatch."""
    started = time.perf_counter()
    batches = make(loader)
    next(batches)
    first_s = time.perf_counter() - started
    warm = time.perf_counter() + seconds / 4
    while time.perf_counter() < warm:
        next(batches)
    n_batches, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        next(batches)
        n_batches += 1
    per_second = n_batches * BATCH / (time.perf_counter() - started)
    getattr(batches, "close", lambda: None)()
    return per_second, first_s


def measure(
    cases: Cases, files: list[str], *, repeats: int, seconds: float
) -> list[dict[str, Any]]:
    """Return a row for each case, its ratios to the Loader just before it."""
    rates: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    firsts: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, (output, make) in cases.items():
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


def run(cases: Cases, description: str | None, versions: list[ModuleType]) -> None:
    """Measure as the command line asks; print tables, and write the numbers."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", type=int, default=10_000, help="of a plate")
    parser.add_argument("--layout", choices=tuple(LAYOUTS), default="default")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    make_plates(
        options.data,
        n_plates=2,
        n_cells=options.cells,
        n_genes=62_710,
        stored_per_cell=1_950,
        compressions=("none", "gzip"),
        seed=0,
        layouts=[options.layout],
    )
    machine = platform.processor() or platform.machine()
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{machine}, {os.cpu_count()} cores",
        "versions": {m.__name__: m.__version__ for m in [*versions, scd]},
    }
    for compression in ("none", "gzip"):
        home = options.data / folder_of(options.layout, compression)
        files = sorted(map(str, home.glob("*.h5ad")))
        rows = measure(cases, files, repeats=options.repeats, seconds=options.seconds)
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
