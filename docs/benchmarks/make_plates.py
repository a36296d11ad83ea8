"""Write the plates of the benchmarks: synthetic counts as AnnData lays them out.

A cell's transcripts are drawn one by one from a skewed gene distribution, so stored
values are small integers (most are 1), column ids are sorted, the number of stored
counts differs from cell to cell, and gzip compresses them about as well as real counts.

    python make_plates.py FOLDER --plates 4 --cells 50000 --compression none gzip

The same cells can be written in several layouts: chunks of the size that h5py chooses
for these arrays (default), and int64 column ids with the chunks of the largest real
files (tahoe: those of Tahoe-100M's plates; cellxgene: those of CELLxGENE's files).

    python make_plates.py FOLDER --layout default tahoe cellxgene

A plate is written a piece at a time, so memory does not grow with its cells.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scdataset_core.tools.plate_layouts import LAYOUTS, LayoutName, create_x

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from scipy.sparse import csr_matrix

DEPTH_SIGMA = 0.45  # spread of transcripts a cell (log scale)
GENE_SIGMA = 2.2  # spread of gene abundances (log scale)
TABLE_BITS = 22  # resolution of the abundance table genes are drawn from
CELLS_AT_ONCE = 2_000


def gene_abundance(n_genes: int, *, seed: int) -> npt.NDArray[np.float64]:
    """Return the probability of each gene, shape ``(n_genes,)``, sum 1."""
    rng = np.random.default_rng([seed, 1])
    weight = rng.lognormal(0.0, GENE_SIGMA, n_genes)
    weight /= weight.sum()
    return weight


def transcripts_for(abundance: npt.NDArray[np.float64], stored_per_cell: float) -> int:
    """Return the median transcripts a cell that gives this mean of distinct genes."""
    depths = np.exp(DEPTH_SIGMA * np.linspace(-2.5, 2.5, 41))
    share = np.exp(-0.5 * np.linspace(-2.5, 2.5, 41) ** 2)
    share /= share.sum()
    low, high = 1.0, 1e7
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        distinct = [
            -np.expm1(-middle * depth * abundance).sum() for depth in depths.tolist()
        ]
        if float(share @ np.array(distinct)) < stored_per_cell:
            low = middle
        else:
            high = middle
    return round(high)


class CellMaker:
    """Draws cells of one kind of tissue; the same `seed` gives the same cells."""

    def __init__(self, n_genes: int, stored_per_cell: float, *, seed: int) -> None:
        abundance = gene_abundance(n_genes, seed=seed)
        self.n_genes = n_genes
        self.stored_per_cell = stored_per_cell
        self.median = transcripts_for(abundance, stored_per_cell)
        self.bits = int(n_genes - 1).bit_length()
        edges = np.arange(1 << TABLE_BITS) / (1 << TABLE_BITS)
        table = np.searchsorted(np.cumsum(abundance), edges, side="right")
        self.table = np.minimum(table, n_genes - 1).astype(np.uint32)

    def counts(
        self, n_cells: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return column ids, counts and stored counts a cell of `n_cells` new cells."""
        depth = rng.lognormal(np.log(self.median), DEPTH_SIGMA, n_cells)
        drawn = np.maximum(depth, 1.0).astype(np.int64)
        keys = np.repeat(np.arange(n_cells, dtype=np.uint32) << self.bits, drawn)
        spots = rng.integers(0, 1 << TABLE_BITS, keys.size, dtype=np.uint32)
        keys |= self.table[spots]
        keys.sort()
        first = np.flatnonzero(np.diff(keys, prepend=keys[0] ^ np.uint32(1)))
        values = np.diff(first, append=keys.size).astype(np.float32)
        stored = keys[first]
        cells = np.bincount(stored >> self.bits, minlength=n_cells)
        columns = (stored & np.uint32((1 << self.bits) - 1)).astype(np.int32)
        return columns, values, cells

    def pieces(self, n_cells: int, rng: np.random.Generator) -> Iterator[csr_matrix]:
        """Yield `n_cells` cells as CSR matrices of float32 counts."""
        from scipy.sparse import csr_matrix

        for start in range(0, n_cells, CELLS_AT_ONCE):
            n_new = min(CELLS_AT_ONCE, n_cells - start)
            columns, values, cells = self.counts(n_new, rng)
            pointers = np.concatenate([[0], np.cumsum(cells)]).astype(np.int32)
            parts = (values, columns, pointers)
            yield csr_matrix(parts, shape=(n_new, self.n_genes), copy=False)


def annotate(
    totals: npt.NDArray[np.float32], *, plate: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the obs of one plate, with labels as a screen has them."""
    import pandas as pd

    n_cells = len(totals)
    lines = [f"CVCL_{number:04d}" for number in range(50)]
    drugs = [f"drug_{number:03d}" for number in range(96)]
    return pd.DataFrame(
        {
            "cell_line": pd.Categorical.from_codes(rng.integers(0, 50, n_cells), lines),
            "drug": pd.Categorical.from_codes(
                np.arange(n_cells) * 96 // n_cells, drugs
            ),
            "plate": pd.Categorical([f"plate_{plate:02d}"] * n_cells),
            "total_counts": totals,
        },
        index=pd.Index([f"{plate:02d}_{cell}" for cell in range(n_cells)]),
    )


def folder_of(layout: LayoutName, compression: str) -> str:
    """Return the folder of the plates of a layout: gzip, none, tahoe, tahoe-none..."""
    if layout == "default":
        return compression
    return layout if compression == "gzip" else f"{layout}-{compression}"


def write_plate(
    paths: dict[tuple[LayoutName, str], Path],
    maker: CellMaker,
    *,
    plate: int,
    n_cells: int,
    seed: int,
) -> None:
    """Write the same cells to several files, each of a layout and a compression."""
    import h5py
    import pandas as pd
    from anndata import AnnData
    from anndata.io import write_elem

    rng = np.random.default_rng([seed, 2, plate])
    names = pd.Index([f"ENSG{number:011d}" for number in range(maker.n_genes)])
    with ExitStack() as stack:
        files, arrays = [], []
        for (layout, compression), path in paths.items():
            file = stack.enter_context(h5py.File(path.with_suffix(".part"), "w"))
            write_elem(file, "/", AnnData(var=pd.DataFrame(index=names)))
            x = create_x(
                file,
                LAYOUTS[layout],
                shape=(n_cells, maker.n_genes),
                n_stored=int(n_cells * maker.stored_per_cell),
                compression=None if compression == "none" else compression,
            )
            files.append(file)
            arrays.append(x)
        totals = []
        for piece in maker.pieces(n_cells, rng):
            for x in arrays:
                x.append(piece)
            totals.append(np.asarray(piece.sum(axis=1), np.float32).ravel())
        obs = annotate(np.concatenate(totals), plate=plate, rng=rng)
        for file in files:
            write_elem(file, "obs", obs)
    for path in paths.values():
        path.with_suffix(".part").rename(path)


def make_plates(
    folder: Path,
    *,
    n_plates: int,
    n_cells: int,
    n_genes: int,
    stored_per_cell: float,
    compressions: Sequence[str],
    seed: int,
    layouts: Sequence[LayoutName] = ("default",),
) -> None:
    """Write the same cells for each layout and compression, see `folder_of`.

    Files that are there already are kept, so an interrupted run can be continued.
    """
    maker = CellMaker(n_genes, stored_per_cell, seed=seed)
    for plate in range(n_plates):
        missing = {}
        for layout, compression in product(layouts, compressions):
            home = folder / folder_of(layout, compression)
            home.mkdir(parents=True, exist_ok=True)
            path = home / f"plate_{plate:02d}.h5ad"
            if not path.exists():
                missing[layout, compression] = path
        if not missing:
            continue
        began = time.perf_counter()
        write_plate(missing, maker, plate=plate, n_cells=n_cells, seed=seed)
        took = time.perf_counter() - began
        sizes = (
            f"{path.parent.name} {path.stat().st_size / 1e6:,.0f} MB"
            for path in missing.values()
        )
        print(f"plate {plate}: {', '.join(sizes)} in {took:.0f} s", flush=True)


def main() -> None:
    """Write plates as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plates", type=int, default=4)
    parser.add_argument("--cells", type=int, default=50_000, help="in each plate")
    parser.add_argument("--genes", type=int, default=62_710)
    parser.add_argument("--stored", type=float, default=1_950, help="counts a cell")
    parser.add_argument(
        "--compression", nargs="+", choices=("none", "gzip"), default=("none", "gzip")
    )
    parser.add_argument(
        "--layout", nargs="+", choices=tuple(LAYOUTS), default=("default",)
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make_plates(
        options.folder,
        n_plates=options.plates,
        n_cells=options.cells,
        n_genes=options.genes,
        stored_per_cell=options.stored,
        compressions=options.compression,
        seed=options.seed,
        layouts=options.layout,
    )


if __name__ == "__main__":
    main()
