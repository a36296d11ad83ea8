"""Write the plates of the benchmarks: synthetic counts in AnnData's own layout.

A cell's transcripts are drawn one by one from a skewed gene distribution, so stored
values are small integers (most are 1), column ids are sorted, the number of stored
counts differs from cell to cell, and gzip compresses them about as well as real counts.
AnnData itself writes the files, so their chunks are its defaults.

    python make_plates.py FOLDER --plates 4 --cells 50000 --compression none gzip

One plate is held in memory at a time (8 bytes a stored count).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
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

    def plate(self, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        """Return `n_cells` cells as a CSR matrix of float32 counts."""
        from scipy.sparse import csr_matrix

        room = int(n_cells * self.stored_per_cell * 1.15) + 1_000_000
        indices = np.empty(room, np.int32)
        data = np.empty(room, np.float32)
        indptr = np.zeros(n_cells + 1, np.int64)
        end = 0
        for start in range(0, n_cells, CELLS_AT_ONCE):
            n_new = min(CELLS_AT_ONCE, n_cells - start)
            columns, values, cells = self.counts(n_new, rng)
            indices[end : end + columns.size] = columns
            data[end : end + columns.size] = values
            indptr[start + 1 : start + n_new + 1] = end + np.cumsum(cells)
            end += columns.size
        parts = (data[:end], indices[:end], indptr.astype(np.int32))
        return csr_matrix(parts, shape=(n_cells, self.n_genes), copy=False)


def annotate(counts: csr_matrix, *, plate: int, rng: np.random.Generator) -> AnnData:
    """Return an AnnData of one plate, with labels as a screen has them."""
    import pandas as pd
    from anndata import AnnData

    n_cells, n_genes = counts.shape
    lines = [f"CVCL_{number:04d}" for number in range(50)]
    drugs = [f"drug_{number:03d}" for number in range(96)]
    obs = pd.DataFrame(
        {
            "cell_line": pd.Categorical.from_codes(rng.integers(0, 50, n_cells), lines),
            "drug": pd.Categorical.from_codes(
                np.arange(n_cells) * 96 // n_cells, drugs
            ),
            "plate": pd.Categorical([f"plate_{plate:02d}"] * n_cells),
            "total_counts": np.asarray(counts.sum(axis=1)).ravel().astype(np.float32),
        },
        index=pd.Index([f"{plate:02d}_{cell}" for cell in range(n_cells)]),
    )
    names = [f"ENSG{number:011d}" for number in range(n_genes)]
    return AnnData(X=counts, obs=obs, var=pd.DataFrame(index=pd.Index(names)))


def make_plates(
    folder: Path,
    *,
    n_plates: int,
    n_cells: int,
    n_genes: int,
    stored_per_cell: float,
    compressions: Sequence[str],
    seed: int,
) -> None:
    """Write the same cells once for each compression, in ``folder/COMPRESSION/``.

    Files that are there already are kept, so an interrupted run can be continued.
    """
    maker = CellMaker(n_genes, stored_per_cell, seed=seed)
    for plate in range(n_plates):
        paths = {
            compression: folder / compression / f"plate_{plate:02d}.h5ad"
            for compression in compressions
        }
        missing = {name: path for name, path in paths.items() if not path.exists()}
        if not missing:
            continue
        began = time.perf_counter()
        rng = np.random.default_rng([seed, 2, plate])
        adata = annotate(maker.plate(n_cells, rng), plate=plate, rng=rng)
        for compression, path in missing.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            adata.write_h5ad(
                unfinished, compression=None if compression == "none" else "gzip"
            )
            unfinished.rename(path)
        print(
            f"plate {plate}: {adata.X.nnz / n_cells:,.0f} stored counts a cell,",
            ", ".join(
                f"{n} {p.stat().st_size / 1e6:,.0f} MB" for n, p in paths.items()
            ),
            f"in {time.perf_counter() - began:.0f} s",
            flush=True,
        )


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
    )


if __name__ == "__main__":
    main()
