"""Measure the peak memory of a fetch, and the cost of larger and of more files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import page_cache
from cases import OURS
from contestants import BATCH_SIZE, Setting
from make_plates import make_plates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pool import WorkerPool

BLOCK, FETCH = 16, 64
MEMORY_FETCHES = 24  # at most, of those of an epoch: 200,000 cells are 49 fetches
FEWEST_FETCHES = 3


@dataclass(frozen=True)
class FileSet:
    """A set of plates to compare with another."""

    name: str
    n_plates: int
    n_cells: int  # of each plate
    stored_per_cell: int


# Each pair holds the same kind of cells: the second is the larger, or the more split.
PAIRS: tuple[tuple[FileSet, FileSet], ...] = (
    (FileSet("short", 4, 50_000, 195), FileSet("tall", 4, 500_000, 195)),
    (FileSet("few", 4, 50_000, 1_950), FileSet("many", 50, 4_000, 1_950)),
)


def count(paths: tuple[str, ...]) -> tuple[int, int]:
    """Return the cells of all plates, and their stored counts."""
    import h5py

    stored = cells = 0
    for path in paths:
        with h5py.File(path, "r") as file:
            stored += file["X"]["data"].shape[0]
            cells += file["X"]["indptr"].shape[0] - 1
    return cells, stored


def peak(library: str, paths: tuple[str, ...], pool: WorkerPool) -> dict[str, float]:
    """Return memory after open and at its peak, in a process of its own."""
    page_cache.load(paths)
    cells, stored = count(paths)
    of_epoch = max(FEWEST_FETCHES, cells // (FETCH * BATCH_SIZE))
    fetches = min(MEMORY_FETCHES, of_epoch)
    with pool.fresh(library) as worker:
        opened = worker.open(Setting(library, paths, BLOCK, FETCH))
        result = worker.ask("measure", how="memory", fetches=fetches)
    fetch_mib = FETCH * BATCH_SIZE * stored / cells * 8 / 2**20
    return {**result, "open_s": opened, "fetch_mib": fetch_mib}


def measure_memory(
    plates: Mapping[str, tuple[str, ...]], pool: WorkerPool
) -> list[dict[str, object]]:
    """Measure the peak at b=16 f=64, of this library and of scdataset."""
    return [
        {
            "compression": compression,
            "library": library,
            **peak(library, paths, pool),
        }
        for compression, paths in plates.items()
        for library in (OURS, "scdataset", "scdataset-anndata")
    ]


def _files(
    folder: Path, files: FileSet, compression: str, scale: float
) -> tuple[str, ...]:
    if files.name != "few":  # the plates of the main benchmark
        folder = folder / files.name
        make_plates(
            folder,
            n_plates=files.n_plates,
            n_cells=round(files.n_cells * scale),
            n_genes=62_710,
            stored_per_cell=files.stored_per_cell,
            compressions=(compression,),
            seed=0,
        )
    return tuple(map(str, sorted((folder / compression).glob("*.h5ad"))))


def measure_scaling(
    folder: Path,
    pool: WorkerPool,
    *,
    seconds: float,
    repeats: int,
    scale: float = 1.0,  # of the numbers of cells
) -> list[dict[str, object]]:
    """Measure this library on both sets of each pair, turn by turn, warm."""
    rows: list[dict[str, object]] = []
    for compression in ("none", "gzip"):
        for pair in PAIRS:
            sets = [
                (files, _files(folder, files, compression, scale)) for files in pair
            ]
            rates: dict[str, list[float]] = {files.name: [] for files in pair}
            for _ in range(repeats):
                for files, paths in sets:
                    pool[OURS].open(Setting(OURS, paths, BLOCK, FETCH))
                    page_cache.load(paths)
                    result = pool[OURS].ask("measure", how="warm", seconds=seconds)
                    rates[files.name].append(result["rate"])
            for files, paths in sets:
                row = {"compression": compression, **asdict(files)}
                memory = peak(OURS, paths, pool)
                rows.append({**row, "rates": rates[files.name], **memory})
                print(f"{compression} {files.name}: {rates[files.name]}", flush=True)
    return rows
