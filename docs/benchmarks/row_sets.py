"""Row sets, filters and splits at 100 million rows: seconds, and memory at the peak.

An `.h5ad` file without counts is made, so that only obs and rows cost anything. Every
step runs in a process of its own. Memory is the peak of the resident set above what it
was once the file had been opened; workers are started by `spawn`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scdataset_core as scd

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 1 << 20
LINES, DONORS = 50, 1000
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
FOUND = 4096


def make_file(path: Path, n_rows: int) -> None:
    """Write cells without counts: a cell line, a donor and a number for each."""
    import h5py

    rng = np.random.default_rng(0)
    chunks = (min(WINDOW, n_rows),)
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        x.attrs["shape"] = [n_rows, 2]
        x.create_dataset("data", (0,), "f4", chunks=(1024,), maxshape=(None,))
        x.create_dataset("indices", (0,), "i4", chunks=(1024,), maxshape=(None,))
        small = {"chunks": chunks, "compression": "gzip", "compression_opts": 1}
        pointers = x.create_dataset("indptr", (n_rows + 1,), "i8", **small)
        pointers[-1:] = 0
        for frame, names in (("obs", ["line", "donor", "count"]), ("var", [])):
            group = file.create_group(frame)
            group.attrs.update({"encoding-type": "dataframe", "_index": "_index"})
            group.attrs.update({"encoding-version": "0.2.0", "column-order": names})
        file["var"]["_index"] = ["gene0", "gene1"]
        obs = file["obs"]
        cell_names = obs.create_dataset("_index", (n_rows,), "S1", **small)
        columns = {}
        for name, dtype, n_labels in (("line", "i1", LINES), ("donor", "i2", DONORS)):
            group = obs.create_group(name)
            group.attrs.update({"encoding-type": "categorical", "ordered": False})
            group.attrs["encoding-version"] = "0.2.0"
            group["categories"] = [f"{name}{i:04d}" for i in range(n_labels)]
            columns[name] = group.create_dataset(
                "codes", (n_rows,), dtype, chunks=chunks
            )
        counts = obs.create_dataset("count", (n_rows,), "f4", chunks=chunks)
        for start in range(0, n_rows, WINDOW):
            stop = min(start + WINDOW, n_rows)
            n = stop - start
            pointers[start:stop], cell_names[start:stop] = 0, b"c"
            columns["line"][start:stop] = rng.integers(0, LINES, n, np.int8)
            # Donors come in runs, as plates do.
            donor = np.arange(start, stop) * DONORS // n_rows
            columns["donor"][start:stop] = donor
            counts[start:stop] = rng.random(n, np.float32) * 5000


def thirty_percent(n_rows: int) -> scd.RowSet:
    """Return three tenths of the rows, drawn at random."""
    rng = np.random.default_rng(1)
    masks = (
        rng.random(min(WINDOW, n_rows - start)) < 0.3
        for start in range(0, n_rows, WINDOW)
    )
    return scd.RowSet.from_masks(n_rows, masks)


def find(source: scd.Source) -> None:
    """Find rows at random positions of a set; says how long, without making the set."""
    rows = thirty_percent(len(source))
    positions = np.random.default_rng(2).integers(0, len(rows), FOUND)
    began = time.perf_counter()
    for _ in range(20):
        rows[positions]
    milliseconds = (time.perf_counter() - began) / 20 * 1000
    print(json.dumps({"milliseconds to find 4,096 rows": milliseconds}))


def make_loader(source: scd.Source, rows: Any) -> scd.Loader:
    """Return a loader over some rows, after its first minibatch and state."""
    strategy = scd.BlockShuffling(16, indices=rows)
    loader = scd.Loader(source, strategy, batch_size=64, fetch_factor=64)
    next(iter(loader))
    loader.state_dict()
    return loader


STEPS: dict[str, Callable[[scd.Source], object]] = {
    "where, one label": lambda s: s.where(line="line0007"),
    "where, labels and a range": lambda s: s.where(
        line=["line0001", "line0002", "line0003"], count=(1000, None)
    ),
    "find 4,096 rows": find,
    "split, shares": lambda s: scd.split(s, SHARES),
    "split, shares, blocks of 16": lambda s: scd.split(s, SHARES, block_size=16),
    "split, stratified by 50 lines": lambda s: scd.split(s, SHARES, stratify="line"),
    "split, by 1,000 donors": lambda s: scd.split(s, SHARES, by="donor"),
    "split, by donors, stratified by lines": lambda s: scd.split(
        s, SHARES, by="donor", stratify="line"
    ),
    "split, named donors": lambda s: scd.split(
        s, {"train": None, "test": {"donor": ["donor0003", "donor0007"]}}
    ),
    "loader, first minibatch, state": lambda s: make_loader(s, thirty_percent(len(s))),
    "the same, rows as an array": lambda s: make_loader(
        s, thirty_percent(len(s)).to_numpy()
    ),
}


def megabytes(name: str) -> float:
    """Return an entry of /proc/self/status: VmRSS, or VmHWM, which is its peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def reset_peak() -> float:
    """Forget the peak of the resident set so far; return the set as it is."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return megabytes("VmRSS")


def measure(path: str, step: str) -> dict[str, float]:
    """Run one step in this process."""
    source = scd.open(path)
    source.read([0])
    before, began = reset_peak(), time.perf_counter()
    cpu = time.process_time()
    STEPS[step](source)
    return {
        "seconds": time.perf_counter() - began,
        "cpu seconds": time.process_time() - cpu,
        "megabytes": megabytes("VmHWM") - before,
    }


def _work(pipe: Any) -> None:
    """Read a minibatch of a loader that was sent here."""
    source = pickle.loads(pipe.recv_bytes())
    source.read([0])
    before = reset_peak()
    next(iter(pickle.loads(pipe.recv_bytes())))
    pipe.send(megabytes("VmHWM") - before)


def measure_worker(path: str, *, as_array: bool) -> dict[str, float]:
    """Return the bytes that a worker is sent, and the memory that it takes."""
    source = scd.open(path)
    rows: Any = thirty_percent(len(source))
    loader = make_loader(source, rows.to_numpy() if as_array else rows)
    sent = pickle.dumps(loader.shard(worker=0, num_workers=2))
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there,))
    process.start()
    here.send_bytes(pickle.dumps(source))
    here.send_bytes(sent)
    taken = here.recv()
    process.join()
    return {"sent megabytes": len(sent) / 2**20, "megabytes": taken}


def main() -> None:
    """Make the file if it is not there, run every step, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**8)
    parser.add_argument("--data", type=Path, required=True, help="folder of the file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    path = options.data / f"rows_{options.rows}.h5ad"
    if options.step:
        workers = {"worker": False, "worker, rows as an array": True}
        if options.step in workers:
            as_array = workers[options.step]
            print(json.dumps(measure_worker(str(path), as_array=as_array)))
        else:
            print(json.dumps(measure(str(path), options.step)))
        return
    if not path.exists():
        make_file(path, options.rows)
    results = {}
    for step in [*STEPS, "worker", "worker, rows as an array"]:
        command = [
            sys.executable,
            __file__,
            "--rows",
            str(options.rows),
            "--step",
            step,
        ]
        command += ["--data", str(options.data), "--out", str(options.out)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        results[step] = {key: x for line in lines for key, x in line.items()}
        shown = ", ".join(f"{key} {x:.3g}" for key, x in results[step].items())
        print(f"{step}: {shown}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "row_sets.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
