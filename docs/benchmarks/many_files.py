"""Measures collections of many files: opening, memory, the first batch, the rate.

``make`` writes a collection and one file of the same cells. The other commands run a
case each, in a process of its own; the last line of each is JSON.

    python docs/benchmarks/many_files.py make DIR --files 5000 --cells 1000
    python docs/benchmarks/many_files.py open DIR --obs 3
    python docs/benchmarks/many_files.py index DIR
    python docs/benchmarks/many_files.py rate DIR
    python docs/benchmarks/many_files.py steady DIR --index
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import time
import tracemalloc
from functools import lru_cache
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

import scdataset_core as scd

LABELS = {"cell_line": 50, "drug": 380, "plate": 14, "sample": 1}


def make_cells(n_cells: int, n_genes: int, per_cell: int, seed: int) -> anndata.AnnData:
    """Return cells with counts and labels, of which a file has some only."""
    rng = np.random.default_rng(seed)
    genes = rng.integers(0, n_genes, (n_cells, per_cell), dtype=np.int32)
    genes.sort(axis=1)
    keep = np.diff(genes, axis=1, prepend=-1) > 0
    indptr = np.zeros(n_cells + 1, np.int64)
    np.cumsum(keep.sum(axis=1), out=indptr[1:])
    values = rng.integers(1, 9, int(indptr[-1])).astype(np.float32)
    x = sp.csr_matrix((values, genes[keep], indptr), shape=(n_cells, n_genes))
    obs = {}
    for name, n in list(LABELS.items())[:3]:
        own = rng.choice(n, min(n, 40), replace=False)
        obs[name] = pd.Categorical([f"{name}_{i}" for i in rng.choice(own, n_cells)])
    obs["sample"] = pd.Categorical([sample_name(seed)] * n_cells)
    names = [f"cell{seed}_{i}" for i in range(n_cells)]
    var = pd.DataFrame(index=[f"ENSG{i:011d}" for i in range(n_genes)])
    return anndata.AnnData(x, pd.DataFrame(obs, index=names), var)


def make(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Write the files; those beyond ``--distinct`` are links to others, or copies."""
    folder.mkdir(parents=True, exist_ok=True)
    distinct = options.distinct or options.files
    parts = []
    for i in range(options.files):
        path = folder / f"part{i:05d}.h5ad"
        if path.exists():
            continue
        if i >= distinct:
            origin = folder / f"part{i % distinct:05d}.h5ad"
            if options.patched:
                write_patched(origin, path, i)
            else:
                path.hardlink_to(origin)
            continue
        cells = make_cells(options.cells, options.genes, options.per_cell, i)
        cells.write_h5ad(path, compression=options.compression)
        if options.whole:
            parts.append(cells)
    if parts:
        anndata.concat(parts).write_h5ad(
            folder / "whole.h5ad", compression=options.compression
        )
    return {"files": options.files}


def write_patched(origin: Path, path: Path, number: int) -> None:
    """Write a copy with a sample, labels and counts of its own, at the same places."""
    rng = np.random.default_rng(number)
    data = bytearray(origin.read_bytes())
    for dtype, start, n in places_of(origin):
        values = np.frombuffer(data, dtype, n, start)
        values[:] = rng.permutation(values)
    own = sample_name(int(origin.stem.removeprefix("part"))).encode()
    path.write_bytes(data.replace(own, sample_name(number).encode()))


@lru_cache(None)
def places_of(path: Path) -> list[tuple[np.dtype[Any], int, int]]:
    """Return where counts and labels lie: type, first byte and number of entries."""
    arrays = ["X/data", *(f"obs/{name}/codes" for name in LABELS if name != "sample")]
    places = []
    with h5py.File(path) as file:
        for array in map(file.get, arrays):
            start, n = array.id.get_offset(), len(array)
            if array.chunks:  # of the values in the first one
                start = array.id.get_chunk_info(0).byte_offset
                n = min(n, array.chunks[0])
            places.append((array.dtype, start, n))
    return places


def sample_name(number: int) -> str:
    """Return the label that only cells of one file have, of the same length in all."""
    return f"SRX{number:08d}"


def paths_of(folder: Path, most: int | None) -> list[str]:
    """Return the paths of a collection."""
    return [str(path) for path in sorted(folder.glob("part*.h5ad"))][:most]


def peak_mib() -> float:
    """Return the most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def open_collection(options: argparse.Namespace) -> Any:
    """Return the source that a case reads."""
    obs = list(LABELS)[: options.obs]
    if options.whole:
        return scd.open(options.folder / "whole.h5ad", obs=obs)
    if options.index:
        return scd.open(scd.Index.load(options.folder / "index.scdindex"), obs=obs)
    return scd.open(paths_of(options.folder, options.most), obs=obs)


def timed_open(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Open a collection; return what that took."""
    warm = str(next(options.folder.glob("part*.h5ad")))
    scd.open(warm, obs=list(LABELS)).read([0])  # imports are no part of it
    before = peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    source = open_collection(options)
    return source, {
        "n_files": len(source.files),
        "open_s": round(time.perf_counter() - wall, 3),
        "open_cpu_s": round(time.process_time() - cpu, 3),
        "peak_more_mib": round(peak_mib() - before, 1),
    }


def measure_open(options: argparse.Namespace) -> dict[str, Any]:
    """Open a collection, and say what is held of a file."""
    import pickle

    source, found = timed_open(options)
    found["pickle_mib"] = round(len(pickle.dumps(source)) / 2**20, 2)
    del source
    if options.held:
        tracemalloc.start()
        source = open_collection(options)
        held = tracemalloc.get_traced_memory()[0]
        found["held_kb_a_file"] = round(held / len(source.files) / 1000, 1)
    return found


def measure_index(options: argparse.Namespace) -> dict[str, Any]:
    """Build and save the index of a collection, and load it."""
    paths = paths_of(options.folder, options.most)
    path = options.folder / "index.scdindex"
    wall, cpu = time.perf_counter(), time.process_time()
    index = scd.Index.build(paths)
    found = {
        "build_s": round(time.perf_counter() - wall, 3),
        "build_cpu_s": round(time.process_time() - cpu, 3),
    }
    index.save(path)
    return {**found, "n_files": len(paths), "index_bytes": path.stat().st_size}


def measure_rate(options: argparse.Namespace) -> dict[str, Any]:
    """Read shuffled minibatches; rates come second by second of processor time."""
    source, found = timed_open(options)
    loader = scd.Loader(
        source, scd.BlockShuffling(16), batch_size=64, fetch_factor=16, threads=1
    )
    wall, cpu = time.perf_counter(), time.process_time()
    rates: list[int] = []
    n, since = 0, time.process_time()
    for batch in loader:
        if "first_s" not in found:
            found["first_s"] = round(time.perf_counter() - wall, 3)
            found["first_cpu_s"] = round(time.process_time() - cpu, 3)
        n += len(batch["index"])
        now = time.process_time()
        if now - since >= 1:
            rates.append(round(n / (now - since)))
            n, since = 0, now
        if now - cpu > options.seconds:
            break
    found["cells_a_cpu_s"] = rates
    found["peak_mib"] = round(peak_mib())
    return found


def time_block(source: Any, options: argparse.Namespace, seed: int, warm: int) -> float:
    """Return the microseconds of processor time that a block of 16 cells takes."""
    rows = None if len(source) == options.n_cells else np.arange(options.n_cells)
    loader = scd.Loader(
        source,
        scd.BlockShuffling(16, indices=rows),
        batch_size=64,
        fetch_factor=16,
        threads=1,
        seed=seed,
    )
    batches = iter(loader)
    for _ in range(16 * warm):
        next(batches)
    begun, n = time.process_time(), 0
    for batch in batches:
        n += len(batch["index"])
        if time.process_time() - begun > options.seconds:
            break
    took = time.process_time() - begun
    batches.close()
    return took / n * 16e6


def measure_steady(options: argparse.Namespace) -> dict[str, Any]:
    """Read files, all of them met before, and one file of the same cells by turns."""
    if options.limit:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.limit, hard))
    many = open_collection(options)
    options.whole = True
    one = open_collection(options)
    options.n_cells = len(many)
    firsts = many.file_starts[:-1]
    for start in range(0, len(firsts), 200):
        many.read(firsts[start : start + 200])
    took: dict[str, list[float]] = {"many": [], "one": []}
    for turn in range(options.turns):
        # Before the rate is steady, as many files are open as may be.
        took["many"].append(time_block(many, options, turn, len(firsts) // 10))
        took["one"].append(time_block(one, options, turn, 4))
        gc.collect()  # so that no loader of before has files open
    us = {name: float(np.median(each)) for name, each in took.items()}
    return {
        "n_files": len(firsts),
        "us_a_block": {name: round(each, 1) for name, each in us.items()},
        "cells_a_cpu_s": {name: round(16e6 / each) for name, each in us.items()},
        "share_of_one_file": round(us["one"] / us["many"], 2),
    }


CASES = {
    "open": measure_open,
    "index": measure_index,
    "rate": measure_rate,
    "steady": measure_steady,
}


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=["make", *CASES])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--distinct", type=int, help="the others are like these")
    parser.add_argument("--patched", action="store_true", help="copies, not links")
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--per-cell", type=int, default=20)
    parser.add_argument("--compression", choices=["gzip"])
    parser.add_argument("--whole", action="store_true", help="one file of all cells")
    parser.add_argument("--most", type=int, help="open so many of the files")
    parser.add_argument("--obs", type=int, default=0, help="obs columns to carry")
    parser.add_argument("--index", action="store_true", help="open by the index")
    parser.add_argument("--held", action="store_true", help="trace what is held")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--turns", type=int, default=5, help="of the steady rate")
    parser.add_argument("--limit", type=int, help="files that the process may open")
    options = parser.parse_args()
    if options.case == "make":
        print(json.dumps(make(options.folder, options)))
    else:
        print(json.dumps({"case": options.case, **CASES[options.case](options)}))


if __name__ == "__main__":
    main()
