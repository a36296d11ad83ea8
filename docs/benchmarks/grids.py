"""Draw the paper's grids: cells a second and minibatch entropy over b and f.

    python grids.py --data FOLDER --out ../figures --results results

Block size and fetch factor run over 1, 2, 4, ... 64 with minibatches of 64, on the
plates of `throughput.py` in one of their layouts, for this library and scdataset. The
script writes `throughput-grid.png` and `entropy-grid.png` to `--out`, and their numbers
to `--results`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import page_cache
from cases import OURS
from contestants import BATCH_SIZE, Setting
from make_plates import folder_of
from pool import WorkerPool
from report import describe_machine, table

from scdataset_core.tools.plate_layouts import LAYOUTS, LayoutName

SIZES = (1, 2, 4, 8, 16, 32, 64)
LIBRARIES = (OURS, "scdataset")
# The paper's data set: 14 plates, one label each, stored one after the other.
N_PLATES, CELLS_PER_PLATE = 14, 50_000
ENTROPY_BATCHES = 1_000

Grid = dict[str, list[list[float]]]  # name: rows are block sizes, columns fetch factors


def throughput_grids(
    folder: Path,
    pool: WorkerPool,
    *,
    layout: LayoutName,
    sizes: Sequence[int],
    seconds: float,
) -> Grid:
    """Return warm cells a second, by library and compression."""
    grids: Grid = {}
    for compression in ("none", "gzip"):
        home = folder / folder_of(layout, compression)
        paths = tuple(map(str, sorted(home.glob("*.h5ad"))))
        if not paths:
            raise SystemExit(f"no plates in {home}; run make_plates.py")
        words = "gzip" if compression == "gzip" else "uncompressed"
        for library in LIBRARIES:
            grids[f"{library}, {words}"] = [[0.0] * len(sizes) for _ in sizes]
        for row, block in enumerate(sizes):
            for column, fetch in enumerate(sizes):
                for library in LIBRARIES:
                    pool[library].open(Setting(library, paths, block, fetch))
                    page_cache.load(paths)
                    found = pool[library].ask("measure", how="warm", seconds=seconds)
                    grids[f"{library}, {words}"][row][column] = found["rate"]
                    print(f"{words} b={block} f={fetch} {library} {found['rate']:,.0f}")
    return grids


def batches_of(library: str, block: int, fetch: int) -> Iterator[npt.NDArray[np.int64]]:
    """Return the row numbers of minibatches, drawn by the library itself."""
    rows = np.arange(N_PLATES * CELLS_PER_PLATE)
    if library == OURS:
        import scdataset_core as scd

        strategy = scd.BlockShuffling(block_size=block)
        return iter(
            scd.Loader(rows, strategy, batch_size=BATCH_SIZE, fetch_factor=fetch)
        )
    from scdataset import BlockShuffling, scDataset

    return iter(
        scDataset(rows, BlockShuffling(block), BATCH_SIZE, fetch_factor=fetch, seed=0)
    )


def entropy(labels: npt.NDArray[np.int64]) -> float:
    """Return the entropy of the labels of a minibatch, in bits."""
    share = np.bincount(labels) / len(labels)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def entropy_grids(sizes: Sequence[int]) -> Grid:
    """Return the mean plate entropy of minibatches, by library."""
    grids: Grid = {}
    for library in LIBRARIES:
        grids[library] = []
        for block in sizes:
            means = []
            for fetch in sizes:
                batches = zip(
                    range(ENTROPY_BATCHES),
                    batches_of(library, block, fetch),
                    strict=False,
                )
                found = [entropy(rows // CELLS_PER_PLATE) for _, rows in batches]
                means.append(float(np.mean(found)))
            grids[library].append(means)
    return grids


def draw(
    grids: Grid,
    path: Path,
    *,
    sizes: Sequence[int],
    form: str,
    label: str,
    shared: bool,
) -> None:
    """Draw grids side by side as heat maps, each cell with its figure."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    columns = 2
    rows = -(-len(grids) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(6.2 * columns, 4.9 * rows), layout="constrained"
    )
    top = max(np.max(grid) for grid in grids.values())
    for axis, (name, grid) in zip(np.ravel(axes), grids.items(), strict=False):
        values = np.array(grid)
        limit = top if shared else values.max()
        axis.imshow(values, cmap="viridis", vmin=0, vmax=limit, origin="lower")
        for row, line in enumerate(grid):
            for column, value in enumerate(line):
                colour = "white" if value < 0.6 * limit else "black"
                axis.text(
                    column,
                    row,
                    format(value, form),
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=8,
                )
        axis.set_xticks(range(len(sizes)), map(str, sizes))
        axis.set_yticks(range(len(sizes)), map(str, sizes))
        axis.set_xlabel("fetch factor f")
        axis.set_ylabel("block size b")
        axis.set_title(f"{name}: {label}")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def tables(grids: Mapping[str, Any], sizes: Sequence[int], form: str) -> str:
    """Return the grids as Markdown tables."""
    parts = []
    for name, grid in grids.items():
        lines = [
            [f"b={block}", *(format(value, form) for value in line)]
            for block, line in zip(sizes, grid, strict=True)
        ]
        parts.append(f"### {name}\n\n{table(['', *(f'f={f}' for f in sizes)], lines)}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, draw, and write the tables behind the drawings."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, help="plates; without it only entropy")
    parser.add_argument("--layout", choices=tuple(LAYOUTS), default="default")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a measurement")
    parser.add_argument("--out", type=Path, required=True, help="folder of the PNGs")
    parser.add_argument("--results", type=Path, required=True, help="folder of tables")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="b and f")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"machine": describe_machine(None), "sizes": options.sizes}
    found["entropy"] = entropy_grids(options.sizes)
    draw(
        found["entropy"],
        options.out / "entropy-grid.png",
        sizes=options.sizes,
        form=".2f",
        label="plate entropy of a minibatch, bits",
        shared=True,
    )
    text = "## Entropy of minibatches, bits\n\n" + tables(
        found["entropy"], options.sizes, ".2f"
    )
    if options.data is not None:
        pool = WorkerPool(None)
        try:
            rates = throughput_grids(
                options.data,
                pool,
                layout=options.layout,
                sizes=options.sizes,
                seconds=options.seconds,
            )
        finally:
            pool.close()
        found["throughput"] = rates
        draw(
            rates,
            options.out / "throughput-grid.png",
            sizes=options.sizes,
            form=",.0f",
            label="cells a second, warm",
            shared=False,
        )
        text += "\n## Cells a second, warm\n\n" + tables(rates, options.sizes, ",.0f")
    (options.results / "grids.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.results / "grids.md").write_text(text)


if __name__ == "__main__":
    main()
