"""Synthetic plates: `.h5ad` files with the size, sparsity and order of real ones.

A cell is a number of molecules, each drawn from a skewed gene profile, or, for a
small share of them, from the genes that its cell line or its drug raises. A count is
how often a gene was drawn, so counts are skewed, sparse and as noisy as real ones,
and both labels can be learned from them.

Cells lie as an experiment leaves them. A file is a plate of 8 x 12 wells. A row of the
plate is seeded with one cell line, a column is given one drug, and the wells were
written one after the other: a plate holds mostly 8 of the lines, and neighbours in the
file share their drug and mostly their line. One cell in five is of any line.
Reading in file order therefore shows a model one line after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

__all__ = ["Compression", "make_plates"]

Compression = Literal["gzip", "lzf"]

N_LINES = 24
N_DRUGS = 48
WELL_ROWS = 8
WELL_COLUMNS = 12
STRAY_SHARE = 0.2  # of cells: another line than the one the well was seeded with
LINE_SHARE = 0.01  # of a cell's molecules: from the genes its line raises
DRUG_SHARE = 0.02
RAISED_GENES = 60  # by one line, or one drug
DEPTH_SIGMA = 0.35  # of the logarithm of a cell's number of molecules
PROFILE_SIGMA = 2.0  # of the logarithm of a gene's weight
PROFILE_SLOTS = 1 << 20
PIECE_COUNTS = 1 << 21  # stored counts drawn and written at a time


@dataclass(frozen=True)
class _Genes:
    """Where molecules are drawn from, the same for every plate of a seed."""

    profile: npt.NDArray[np.int32]  # (PROFILE_SLOTS,): a gene as often as its weight
    raised_by_line: npt.NDArray[np.int32]  # (N_LINES, n_raised)
    raised_by_drug: npt.NDArray[np.int32]  # (N_DRUGS, n_raised)
    n_genes: int
    depth: float  # median number of molecules of a cell


@dataclass(frozen=True)
class _Cells:
    """The labels of a plate's cells, in the order they lie in the file."""

    line: npt.NDArray[np.int64]
    drug: npt.NDArray[np.int64]
    well: npt.NDArray[np.int64]


def make_plates(
    folder: str | Path,
    *,
    n_plates: int = 4,
    n_cells: int = 50_000,
    n_genes: int = 62_710,
    stored_per_cell: int = 2_000,
    compression: Compression | None = None,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> list[Path]:
    """Write synthetic plates as `.h5ad` files and return their paths.

    X is a float32 CSR matrix of raw counts; obs has the categoricals ``plate``,
    ``sample`` (the well), ``cell_line`` and ``drug``. Memory is bounded by a piece of
    about two million stored counts, whatever the size of a plate.

    Parameters
    ----------
    folder
        Where ``plate01.h5ad``, ``plate02.h5ad``, ... are written; made if missing.
        Files of these names are replaced, each once it is complete.
    n_plates
        Number of files, from 1 to 99.
    n_cells
        Cells in each plate.
    n_genes
        Genes, the same in every plate; by default as many as Tahoe-100M has.
    stored_per_cell
        Mean number of genes with a count above zero in a cell, at most a quarter of
        `n_genes`.
    compression
        Filter of the arrays of X, as in ``AnnData.write_h5ad``; ``None``: none.
    seed
        Another seed gives other genes, labels and counts.
    progress
        Called with the number of cells just written, several times a plate.

    Returns
    -------
    paths
        The files, in order of their numbers.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    _check(n_plates, n_cells, n_genes, stored_per_cell)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    genes = _make_genes(np.random.default_rng([seed, 0]), n_genes, stored_per_cell)
    piece_rows = max(1, PIECE_COUNTS // stored_per_cell)
    paths = []
    for plate in range(n_plates):
        path = folder / f"plate{plate + 1:02d}.h5ad"
        cells = _lay_out(np.random.default_rng([seed, plate + 1]), plate, n_cells)
        partial = path.with_suffix(".partial")
        _write(
            partial,
            _obs(plate, cells),
            _draw_ahead(genes, cells, piece_rows, key=(seed, plate + 1)),
            n_stored=n_cells * stored_per_cell,
            compression=compression,
            progress=progress,
        )
        partial.replace(path)
        paths.append(path)
    return paths


def _check(n_plates: int, n_cells: int, n_genes: int, stored_per_cell: int) -> None:
    if not 1 <= n_plates <= 99:
        raise ValueError(f"n_plates must be from 1 to 99, got {n_plates}")
    if n_cells < 1:
        raise ValueError(f"n_cells must be at least 1, got {n_cells}")
    if n_genes < 4:
        raise ValueError(f"n_genes must be at least 4, got {n_genes}")
    if not 1 <= stored_per_cell <= n_genes // 4:
        raise ValueError(
            f"stored_per_cell must be from 1 to a quarter of the {n_genes} genes,"
            f" got {stored_per_cell}"
        )


def _make_genes(rng: np.random.Generator, n_genes: int, stored: int) -> _Genes:
    weights = rng.lognormal(sigma=PROFILE_SIGMA, size=n_genes)
    weights /= weights.sum()
    # Raised genes are not the strongest ones, so that a label is a matter of many
    # small counts; drawn with weights so that they are seldom the silent ones either.
    pool = np.argsort(weights)[n_genes // 4 : max(n_genes - n_genes // 50, 3)]
    n_raised = min(RAISED_GENES, len(pool))
    raised = np.stack(
        [rng.choice(pool, n_raised, replace=False) for _ in range(N_LINES + N_DRUGS)]
    ).astype(np.int32)
    slots = (np.arange(PROFILE_SLOTS) + 0.5) / PROFILE_SLOTS
    profile = np.searchsorted(np.cumsum(weights), slots).clip(max=n_genes - 1)
    by_line, by_drug = raised[:N_LINES], raised[N_LINES:]
    share = weights * (1 - LINE_SHARE - DRUG_SHARE)
    share[by_line[0]] += LINE_SHARE / n_raised
    share[by_drug[0]] += DRUG_SHARE / n_raised
    depth = _depth_for(stored, share)
    return _Genes(profile.astype(np.int32), by_line, by_drug, n_genes, depth)


def _depth_for(stored: int, share: npt.NDArray[np.float64]) -> float:
    """Median number of molecules that gives a mean of `stored` genes drawn."""
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(5)
    spread = np.exp(DEPTH_SIGMA * nodes)[:, None]
    node_weights = node_weights / node_weights.sum()
    low, high = 1.0, 1e9
    while high > low * 1.001:
        depth = (low * high) ** 0.5
        genes_drawn = -np.expm1(-depth * spread * share).sum(axis=1)
        low, high = (
            (depth, high) if node_weights @ genes_drawn < stored else (low, depth)
        )
    return low


def _lay_out(rng: np.random.Generator, plate: int, n_cells: int) -> _Cells:
    """Fill the wells of a plate unevenly, a line a row and a drug a column."""
    n_wells = WELL_ROWS * WELL_COLUMNS
    fill = rng.lognormal(sigma=0.3, size=n_wells)
    well = np.repeat(np.arange(n_wells), rng.multinomial(n_cells, fill / fill.sum()))
    line = (plate * WELL_ROWS + well // WELL_COLUMNS) % N_LINES
    stray = rng.random(n_cells) < STRAY_SHARE
    line[stray] = rng.integers(N_LINES, size=int(stray.sum()))
    # Column 1 of every plate is the untreated control, drug 0.
    column = well % WELL_COLUMNS
    treated = (plate * (WELL_COLUMNS - 1) + column - 1) % (N_DRUGS - 1) + 1
    return _Cells(line, np.where(column == 0, 0, treated), well)


def _draw_ahead(
    genes: _Genes, cells: _Cells, piece_rows: int, key: tuple[int, int]
) -> Iterator[csr_matrix]:
    """Draw pieces of a plate, one ahead of the writer, each from a seed of its own."""
    starts = range(0, len(cells.line), piece_rows)
    with ThreadPoolExecutor(1) as pool:
        ahead = None
        for number, start in enumerate(starts):
            rng = np.random.default_rng([*key, number])
            part = slice(start, start + piece_rows)
            task = pool.submit(_draw, rng, genes, cells.line[part], cells.drug[part])
            if ahead is not None:
                yield ahead.result()
            ahead = task
        if ahead is not None:
            yield ahead.result()


def _draw(
    rng: np.random.Generator,
    genes: _Genes,
    line: npt.NDArray[np.int64],
    drug: npt.NDArray[np.int64],
) -> csr_matrix:
    """Draw the molecules of some cells and count them by gene."""
    from scipy.sparse import csr_matrix

    n = len(line)
    depth = genes.depth * rng.lognormal(sigma=DEPTH_SIGMA, size=n)
    of_line = rng.poisson(depth * LINE_SHARE)
    of_drug = rng.poisson(depth * DRUG_SHARE)
    of_none = rng.poisson(depth * (1 - LINE_SHARE - DRUG_SHARE))
    # One number for (cell, gene): sorting brings equal ones together. Half the bytes
    # sort twice as fast.
    key = np.int32 if n * genes.n_genes < 2**31 else np.int64
    base = (np.arange(n + 1) * genes.n_genes).astype(key)
    slot = rng.integers(PROFILE_SLOTS, size=int(of_none.sum()), dtype=np.uint32)
    keys = np.concatenate(
        [
            np.repeat(base[:-1], of_none) + genes.profile[slot],
            _raised(rng, genes.raised_by_line, line, of_line, base),
            _raised(rng, genes.raised_by_drug, drug, of_drug, base),
        ]
    )
    keys.sort()
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    counts = np.diff(first, append=len(keys)).astype(np.float32)
    keys = keys[first]
    indptr = np.searchsorted(keys, base).astype(np.int32)
    indices = (keys - np.repeat(base[:-1], np.diff(indptr))).astype(np.int32)
    return csr_matrix((counts, indices, indptr), shape=(n, genes.n_genes))


def _raised(
    rng: np.random.Generator,
    raised: npt.NDArray[np.int32],
    label: npt.NDArray[np.int64],
    molecules: npt.NDArray[np.int64],
    base: npt.NDArray[Any],  # int32 or int64
) -> npt.NDArray[Any]:
    """Draw each cell's molecules from the genes its label raises, evenly."""
    pick = rng.integers(raised.shape[1], size=int(molecules.sum()))
    keys: npt.NDArray[Any] = np.repeat(base[:-1], molecules)
    keys += raised[np.repeat(label, molecules), pick]
    return keys


def _write(
    path: Path,
    obs: pd.DataFrame,
    pieces: Iterator[csr_matrix],
    *,
    n_stored: int,
    compression: str | None,
    progress: Callable[[int], object] | None,
) -> None:
    """Write a plate by AnnData's own writer, X a piece at a time."""
    import h5py
    import pandas as pd
    from anndata import AnnData
    from anndata.io import sparse_dataset, write_elem

    first = next(pieces)
    var = pd.DataFrame(index=[f"gene{i:05d}" for i in range(first.shape[1])])
    how = {
        "compression": compression,
        "chunks": _chunks(n_stored),
        "indptr_dtype": np.dtype(np.int32 if n_stored < 2**30 else np.int64),
    }
    with h5py.File(str(path), "w") as file:
        write_elem(file, "/", AnnData(obs=obs, var=var))
        write_elem(file, "X", first, dataset_kwargs=how)
        x = sparse_dataset(file["X"])
        if progress is not None:
            progress(first.shape[0])
        for piece in pieces:
            x.append(piece)
            if progress is not None:
                progress(piece.shape[0])


def _chunks(n_stored: int) -> tuple[int, ...]:
    """Return the chunk shape h5py would choose for an array written at once."""
    import h5py

    with h5py.File("shape", "w", driver="core", backing_store=False) as file:
        array = file.create_dataset("x", (n_stored,), np.float32, maxshape=(None,))
        return tuple(array.chunks or (n_stored,))


def _obs(plate: int, cells: _Cells) -> pd.DataFrame:
    import pandas as pd

    def labels(codes: npt.NDArray[np.int64], names: list[str]) -> pd.Series[str]:
        column = pd.Categorical.from_codes(codes, pd.Index(names))
        return pd.Series(column.remove_unused_categories(), index=index)

    name = f"plate{plate + 1:02d}"
    index = pd.Index([f"{name}-{i}" for i in range(len(cells.well))])
    rows = "ABCDEFGH"
    wells = [f"{name}-{row}{column + 1:02d}" for row in rows for column in range(12)]
    drugs = ["DMSO", *(f"drug{i:02d}" for i in range(1, N_DRUGS))]
    columns = {
        "plate": labels(np.zeros_like(cells.well), [name]),
        "sample": labels(cells.well, wells),
        "cell_line": labels(cells.line, [f"line{i + 1:02d}" for i in range(N_LINES)]),
        "drug": labels(cells.drug, drugs),
    }
    return pd.DataFrame(columns, index=index)
