"""Measure this library and `datasets` on the very same Arrow files, in one run.

    python huggingface.py --data FOLDER --out results

The data set has Tahoe-100M's layout: list columns of gene ids and values, with a marker
in front. The script makes it in FOLDER if it is not there. It asks `datasets` for the
rows of the same fetches, `dataset[rows]`, in each of its formats, and does nothing with
what it gets. So the rates of `datasets` leave out the work of checking the rows and of
making a matrix and minibatches of them, which the rates of this library include. The
usual way of using `datasets` is b=1 f=1: 64 rows from anywhere.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import page_cache
import pyarrow as pa
from report import describe_machine, table

import scdataset_core as scd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

N_GENES, FIRST_ID, PER_BATCH = 62_710, 3, 1000
BATCH = 64
LEAST = 4 * BATCH * 64  # three fetches of a cold measurement, and some that are left
OURS = "scdataset-core"
FORMATS = {"lists": None, "numpy": "numpy", "arrow": "arrow"}


def make(folder: Path, n_cells: int) -> None:
    """Write a data set in Tahoe-100M's layout, about 1,945 counts a cell."""
    rng = np.random.default_rng(0)
    pieces = []
    for _ in range(n_cells // PER_BATCH):
        lengths = rng.negative_binomial(4, 4 / 1949, PER_BATCH) + 1
        bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        ids = rng.integers(FIRST_ID, FIRST_ID + N_GENES, bounds[-1])
        values = rng.geometric(0.4, bounds[-1]).astype(np.float32)
        ids[bounds[:-1]], values[bounds[:-1]] = 1, -2
        drugs = [f"drug{i}" for i in rng.integers(0, 300, PER_BATCH)]
        pieces.append(
            pa.table(
                {
                    "genes": pa.ListArray.from_arrays(bounds, ids),
                    "expressions": pa.ListArray.from_arrays(bounds, values),
                    "drug": drugs,
                }
            )
        )
    datasets.disable_progress_bars()
    datasets.Dataset(pa.concat_tables(pieces)).save_to_disk(folder)


def fetches(source: Any, block: int, fetch: int, epoch: int) -> Iterator[Any]:
    """Yield the rows of the Loader's own fetches."""
    order = scd.BlockShuffling(block).order(source, seed=0, epoch=epoch)
    for found in scd.Plan(order, batch_size=BATCH, fetch_factor=fetch).fetches():
        yield found.rows


def ours(folder: Path, block: int, fetch: int) -> Iterator[int]:
    """Yield the cells of each minibatch of this library."""
    names = {FIRST_ID + i: f"gene{i}" for i in range(N_GENES)}
    source = scd.open(folder, vocabulary=names, obs="drug")
    loader = scd.Loader(
        source, scd.BlockShuffling(block), batch_size=BATCH, fetch_factor=fetch
    )
    while True:
        for batch in loader:
            yield len(batch["index"])


def theirs(folder: Path, form: str | None, block: int, fetch: int) -> Iterator[int]:
    """Yield the cells of each read of `datasets`."""
    held = datasets.load_from_disk(str(folder)).with_format(form)
    is_arrow = form == "arrow"  # whose rows are views, until they are brought together
    epoch = 0
    while True:
        for rows in fetches(np.empty((len(held), 0)), block, fetch, epoch):
            read = held[rows].combine_chunks() if is_arrow else held[rows]
            yield len(rows)
            del read
        epoch += 1


def rate(cells: Iterator[int], seconds: float, most: float) -> float:
    """Return cells a second, after the first read, of `most` cells at most."""
    next(cells)
    begun, spent, seen = time.perf_counter(), 0.0, 0
    while spent < seconds and seen < most:
        seen += next(cells)
        spent = time.perf_counter() - begun
    return seen / spent


def contestants(folder: Path) -> dict[str, Callable[[int, int], Iterator[int]]]:
    """Return who is measured."""

    def reader(form: str | None) -> Callable[[int, int], Iterator[int]]:
        return lambda block, fetch: theirs(folder, form, block, fetch)

    return {
        OURS: lambda block, fetch: ours(folder, block, fetch),
        **{f"dataset[rows], {name}": reader(form) for name, form in FORMATS.items()},
    }


def measure(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the rates of everyone in every case, in turns."""
    cases = {
        f"b={block} f={fetch}, {'cold' if cold else 'warm'}": (block, fetch, cold)
        for block, fetch, cold in (
            (1, 1, False),
            (16, 16, False),
            (16, 64, False),
            (64, 64, False),
            (1, 1, True),
            (16, 64, True),
        )
    }
    found: dict[str, dict[str, Any]] = {}
    for case, (block, fetch, cold) in cases.items():
        rates: dict[str, list[float]] = {}
        for _ in range(options.repeats):
            for name, start in contestants(folder).items():
                gc.collect()  # pages that are still mapped would not be dropped
                (page_cache.drop if cold else page_cache.load)([folder])
                share = page_cache.resident_share([folder])
                if cold and share > 0.05:
                    raise SystemExit(f"{share:.0%} of the files stayed in memory")
                # A cold measurement ends before anything is read a second time.
                most = options.cells - 2 * BATCH * fetch if cold else math.inf
                rates.setdefault(name, []).append(
                    rate(start(block, fetch), options.seconds, most)
                )
        found[case] = rates
        print(case, {name: round(median(own)) for name, own in rates.items()})
    return found


def rows_of(found: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return medians, and this library's against each; by repeat, then the range."""
    out = []
    for case, rates in found.items():
        for name, own in rates.items():
            ratios = [a / b for a, b in zip(rates[OURS], own, strict=True)]
            shown = f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
            out.append([case, name, f"{median(own):,.0f}", shown])
    return out


def main() -> None:
    """Run the benchmark and write `huggingface.json` and `huggingface.md`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder for the files")
    parser.add_argument("--out", type=Path, required=True, help="for the results")
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.cells < LEAST:
        parser.error(f"--cells must be at least {LEAST}, for the largest fetches")
    folder = options.data / f"tahoe-{options.cells}"
    if not folder.exists():
        make(folder, options.cells)
    found = measure(folder, options)
    machine = {**describe_machine(None), "datasets": datasets.__version__}
    options.out.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine, "cells_per_second": found}
    (options.out / "huggingface.json").write_text(json.dumps(results, indent=1))
    described = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    heads = ["case", "reader", "cells/s", "scdataset-core against it"]
    text = "\n\n".join([described, table(heads, rows_of(found))]) + "\n"
    (options.out / "huggingface.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
