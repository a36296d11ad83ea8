"""Train the same models on minibatches of block sampling, random and file order.

    python docs/benchmarks/study.py --out docs/figures/study.png --results study.json

The script writes plates with strong plate effects (`study_plates.py`), trains three
small models in each order with each of several seeds (`study_models.py`), tests them on
cells that were held out, and measures how much processor time reading takes in each
order. It prints the table of `docs/study.md`, and draws its figure.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from report import describe_machine, table
from study_models import Models, prepare
from study_plates import write_plates

import scdataset_core as scd
from scdataset_core.metrics import measure_sampling

BATCH_SIZE = 64
HELD_OUT = 0.1  # share of the cells
TASKS = ("cell line", "drug", "autoencoder")
RANDOM_FETCH = 16  # with blocks of one cell f changes nothing but the speed

Found = dict[str, list[float]]  # of each task, by seed; "cells/s"; two measures


@dataclass(frozen=True)
class Way:
    """An order in which cells are read; file order has blocks of 0 cells."""

    block: int
    fetch: int

    @property
    def name(self) -> str:
        """Words that tell this way from the others."""
        named = {0: "file order", 1: "random order"}
        return named.get(self.block, f"b={self.block} f={self.fetch}")

    def loader(self, source: Any, rows: Any, seed: int) -> scd.Loader:
        """Return a loader over some rows of the plates, or of an array beside them."""
        strategy: Any = scd.Streaming(rows)
        if self.block:
            strategy = scd.BlockShuffling(self.block, rows)
        return scd.Loader(
            source, strategy, batch_size=BATCH_SIZE, fetch_factor=self.fetch, seed=seed
        )


@dataclass(frozen=True)
class Cells:
    """All cells in memory, normalised: the models see the minibatches of the files."""

    x: npt.NDArray[np.float32]
    obs: dict[str, npt.NDArray[Any]]

    @classmethod
    def read(cls, source: scd.Source) -> Cells:
        """Read all cells of the plates."""
        x = prepare(source.read(np.arange(len(source)))["X"])
        return cls(x, {name: source.obs[name] for name in source.obs_columns})

    def take(self, rows: Any) -> dict[str, Any]:
        """Return some cells as a batch."""
        obs = {name: column[rows] for name, column in self.obs.items()}
        return {"X": self.x[rows], "obs": obs}


def ways_of(blocks: Sequence[int], fetches: Sequence[int]) -> list[Way]:
    """Return file order, random order, and every pair of sizes."""
    pairs = [Way(block, fetch) for block in blocks for fetch in fetches]
    return [Way(0, RANDOM_FETCH), Way(1, RANDOM_FETCH), *pairs]


def train(
    way: Way, cells: Cells, rows: Any, test: Any, *, seed: int, n_epochs: int
) -> dict[str, float]:
    """Train the models, and return what they do on the test cells."""
    loader = way.loader(np.arange(len(cells.x)), rows, seed)
    n_steps = n_epochs * len(loader)
    models = Models(cells.x[rows[::20]], n_steps=n_steps, seed=seed)
    for _ in range(n_epochs):
        for batch in loader:
            models.fit_batch(cells.take(batch))
    return models.test(**cells.take(test))


def measure_speed(loader: scd.Loader) -> float:
    """Return the cells that a pass reads in a second of processor time.

    It is the time of all threads together, so that other work on the machine does not
    count. The files are in memory, and no time goes into waiting for a disk.
    """
    began = time.process_time()
    n_cells = sum(len(batch["index"]) for batch in loader)
    return n_cells / (time.process_time() - began)


def run(
    source: scd.Source,
    ways: Sequence[Way],
    *,
    n_seeds: int,
    n_epochs: int,
    n_passes: int,
) -> dict[Way, Found]:
    """Return what every way gives, with each of the seeds."""
    held_out = np.random.default_rng(0).random(len(source)) < HELD_OUT
    rows, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    cells = Cells.read(source)
    found: dict[Way, Found] = {way: {"cells/s": []} for way in ways}
    for seed in range(n_seeds):
        for way in ways:
            scores = train(way, cells, rows, test, seed=seed, n_epochs=n_epochs)
            for task, score in scores.items():
                found[way].setdefault(task, []).append(score)
        print(f"seed {seed} is done", flush=True)
    for way in ways:
        loader = way.loader(cells.x, rows, 0)
        quality = measure_sampling(loader, cells.obs["plate"], n_batches=None)
        for name in ("entropy", "variance"):
            found[way][name] = [getattr(quality.measured, name)]
    for number in range(n_passes):
        for way in ways:
            rate = measure_speed(way.loader(source, rows, number))
            found[way]["cells/s"].append(rate)
    return found


def compare(values: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Return a difference of means, and its standard error."""
    errors = [np.var(part, ddof=1) / len(part) for part in (values, others)]
    return float(np.mean(values) - np.mean(others)), float(np.sqrt(sum(errors)))


def is_within_error(values: Sequence[float], others: Sequence[float]) -> bool:
    """Return whether two means differ by at most two standard errors."""
    difference, error = compare(values, others)
    return abs(difference) <= 2 * error


def rows_of_table(found: dict[Way, Found]) -> Iterator[list[str]]:
    """Yield the rows of the table; an asterisk marks a result within error."""
    at_random = next(found[way] for way in found if way.block == 1)
    for way, scores in found.items():
        cells = [
            way.name,
            f"{scores['entropy'][0]:.2f}",
            f"{scores['variance'][0]:.1f}",
        ]
        for task in TASKS:
            values = 100 * np.array(scores[task])
            text = f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"
            if way.block > 1 and is_within_error(scores[task], at_random[task]):
                text += " \\*"
            cells.append(text)
        rates = scores["cells/s"]
        yield [*cells, f"{max(rates):,.0f}" if rates else "-"]


def draw(found: dict[Way, Found], path: Path) -> None:
    """Draw each task, and the speed, over the fetch factor."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes = figure.subplots(1, 4)
    blocks = sorted({way.block for way in found if way.block > 1})
    titles = ("cell line: accuracy", "drug: accuracy", "autoencoder: unexplained")
    measures = [
        *zip(TASKS, titles, strict=True),
        ("cells/s", "cells read a second, one core"),
    ]
    for axis, (measure, title) in zip(axes, measures, strict=True):
        for number, block in enumerate(blocks):
            some = [way for way in found if way.block == block]
            values = [found[way][measure] for way in some]
            axis.errorbar(
                [way.fetch * 1.04 ** (number - 1) for way in some],
                [
                    max(v, default=0) if measure == "cells/s" else np.mean(v)
                    for v in values
                ],
                [0 if measure == "cells/s" else np.std(v, ddof=1) for v in values],
                marker="o",
                markersize=3,
                label=f"b={block}",
            )
        for way, style in zip(found, (":", "--"), strict=False):
            value = found[way][measure]
            level = max(value, default=0) if measure == "cells/s" else np.mean(value)
            axis.axhline(level, color="black", ls=style, lw=1, label=way.name)
        axis.set_xscale("log", base=4)
        axis.set_xticks(sorted({way.fetch for way in found}))
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.set(xlabel="fetch factor f")
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_ylim(0, None)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--plates", type=int, default=14)
    parser.add_argument("--cells", type=int, default=4_000, help="of each plate")
    parser.add_argument("--genes", type=int, default=1_000)
    parser.add_argument("--blocks", type=int, nargs="+", default=(4, 16, 64, 256))
    parser.add_argument("--fetches", type=int, nargs="+", default=(1, 4, 16, 64))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--passes", type=int, default=3, help="that only read")
    parser.add_argument("--out", type=Path, help="the figure")
    parser.add_argument("--results", type=Path, help="file of all numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"n_cells": options.cells, "n_genes": options.genes}
        write_plates(Path(folder), n_plates=options.plates, **sizes)
        obs = ["plate", "cell_line", "drug"]
        source = scd.open(f"{folder}/*.h5ad", obs=obs)
        ways = ways_of(options.blocks, options.fetches)
        found = run(
            source,
            ways,
            n_seeds=options.seeds,
            n_epochs=options.epochs,
            n_passes=options.passes,
        )
    head = ["order", "entropy", "variance", *TASKS, "cells/s"]
    print(table(head, rows_of_table(found)))
    if options.results is not None:
        plain = {"machine": describe_machine(None)}
        plain |= {way.name: scores for way, scores in found.items()}
        options.results.write_text(json.dumps(plain, indent=1), encoding="utf-8")
    if options.out is not None:
        draw(found, options.out)


if __name__ == "__main__":
    main()
