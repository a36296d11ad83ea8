"""What planning, states, weights and obs cost for very many cells, ranks and files.

The plans are real, over a source that only says how many rows it has and where its
files start. Each step runs in a process of its own. CPU seconds are those of the
process; memory is the peak of the resident set above what it was before the step.
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
from typing import TYPE_CHECKING, Any, Self

import numpy as np

import scdataset_core as scd

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, FETCH = 64, 16
WINDOW = 1 << 20
Figures = dict[str, float]


class Cells:
    """Rows of a number of files, and nothing else."""

    def __init__(self, n_rows: int, n_files: int) -> None:
        self.shape = (n_rows, 2)
        self.file_starts = np.linspace(0, n_rows, n_files + 1).astype(np.int64)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        return np.asarray(rows)


class Cost:
    """CPU seconds and peak memory of what runs inside."""

    def __enter__(self) -> Self:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before, self._began = megabytes("VmRSS"), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.cpu = time.process_time() - self._began
        self.peak = megabytes("VmHWM") - self._before

    def figures(self, **others: float) -> Figures:
        """Return what it cost, and other figures, by name."""
        return {"CPU s": self.cpu, "peak MiB": self.peak, **others}


def megabytes(name: str) -> float:
    """Return an entry of /proc/self/status: VmRSS, or VmHWM, which is its peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def make_loader(options: Any, strategy: Any = None, fetch: int = FETCH) -> scd.Loader:
    """Return a loader over all cells."""
    cells = Cells(options.rows, options.files)
    strategy = scd.BlockShuffling(16) if strategy is None else strategy
    return scd.Loader(cells, strategy, batch_size=BATCH, fetch_factor=fetch)


def first_fetch(loader: scd.Loader) -> Any:
    """Return the next fetch of a loader, which is not read."""
    start = loader._epochs.first_position(loader._start, loader._shard)
    plan = loader._epochs.plan(start, loader._shard)
    return next(plan.fetches(skip=start.yielded))


def last_shard(loader: scd.Loader, options: Any) -> scd.Loader:
    """Return the share of the last worker of the last rank."""
    ranks, workers = options.ranks, options.workers
    return loader.shard(ranks - 1, ranks, workers - 1, workers)


def plan_first_fetch(options: Any) -> Figures:
    """Begin an epoch, up to the rows of the first fetch and where they lie."""
    with Cost() as cost:
        fetch = first_fetch(last_shard(make_loader(options), options))
    cells = Cells(options.rows, options.files)
    files = np.searchsorted(cells.file_starts, fetch.rows, side="right")
    runs = 1 + int(np.count_nonzero((np.diff(fetch.rows) != 1) | (np.diff(files) != 0)))
    return cost.figures(**{"runs of rows": runs, "files": len(np.unique(files))})


def begun(options: Any, share: float) -> tuple[scd.Loader, list[dict[str, Any]]]:
    """Return a loader, and the states of all workers in the middle of an epoch."""
    loader = make_loader(options)
    n = len(loader.shard(0, options.ranks, 0, options.workers))
    states = []
    for rank in range(options.ranks):
        for worker in range(options.workers):
            shard = loader.shard(rank, options.ranks, worker, options.workers)
            # No two workers stand at the same place of their share.
            late = (rank + 3 * worker) % FETCH
            yielded = max(0, int(n * share) - late)
            states.append({**shard.state_dict(), "yielded": yielded})
    return loader, json.loads(json.dumps(states))


def merge(options: Any) -> Figures:
    """Merge the states of all workers, which stand at different places."""
    _, states = begun(options, 0.5)
    with Cost() as cost:
        merged = scd.merge_states(states)
    sizes = {"bytes of a state": len(json.dumps(states[0]))}
    sizes["bytes of the merged state"] = len(json.dumps(merged))
    return cost.figures(**sizes)


def state_after(options: Any) -> Figures:
    """Compute the merged state of all workers in mid-epoch, as checkpoints do."""
    from scdataset_torch.states import compute_state_after

    loader = make_loader(options)
    n_batches = options.rows // BATCH // options.ranks // 2
    with Cost() as cost:
        state = compute_state_after(
            loader, n_batches, world_size=options.ranks, num_workers=options.workers
        )
    return cost.figures(**{"bytes of the merged state": len(json.dumps(state))})


def resume(options: Any) -> Figures:
    """Resume from a merged state on half as many ranks, up to the first fetch."""
    loader, states = begun(options, 0.5)
    state = scd.merge_states(states)
    with Cost() as cost:
        fresh = loader.fresh()
        fresh.load_state_dict(state)
        half = max(1, options.ranks // 2)
        first_fetch(fresh.shard(half - 1, half, 0, options.workers))
    return cost.figures()


def join_outer(options: Any) -> Figures:
    """Join the genes of all files: 40 lists of 36,000 out of 60,000 genes."""
    from scdataset_core.sources.genes.joins import join_genes

    genes = np.array([f"ENSG{i:011d}" for i in range(60_000)], object)
    rng = np.random.default_rng(0)
    lists = [genes[np.sort(rng.permutation(60_000)[:36_000])] for _ in range(40)]
    names = [lists[i % len(lists)] for i in range(options.files)]
    files = [f"{i}.h5ad" for i in range(options.files)]
    with Cost() as cost:
        joined = join_genes(files, names, "outer", None)
    return cost.figures(genes=len(joined.names))


class Held:
    """What a user gives, an entry for each cell, and the strategy made of it."""

    def __init__(
        self, make: Callable[[int], Any], strategy: Callable[[Any], Any]
    ) -> None:
        self.make = make
        self.strategy = strategy

    def to_first_fetch(self, options: Any) -> Figures:
        """Make the strategy, a loader and its first fetch."""
        given = self.make(options.rows)
        with Cost() as cost:
            first_fetch(self._load(options, given))
        return cost.figures()

    def two_states(self, options: Any) -> Figures:
        """Take the first state of a loader, and that of another shard."""
        loader = self._load(options, self.make(options.rows))
        with Cost() as cost:
            loader.state_dict()
            loader.shard(1, 2).state_dict()
        return cost.figures()

    def a_worker(self, options: Any) -> Figures:
        """Send a loader to a worker that is spawned, up to its first fetch."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=work, args=(there,))
        process.start()
        here.send_bytes(pickle.dumps(self._load(options, self.make(options.rows))))
        found: Figures = here.recv()
        process.join()
        return found

    def _load(self, options: Any, given: Any) -> scd.Loader:
        return make_loader(options, self.strategy(given), 64)


def work(pipe: Any) -> None:
    """Plan a fetch of a loader that was sent here."""
    sent = pipe.recv_bytes()
    with Cost() as cost:
        first_fetch(pickle.loads(sent))
    pipe.send(cost.figures(**{"MiB sent": len(sent) / 2**20}))


def make_rows(n: int) -> Any:
    """Return four fifths of the rows, from all over."""
    rows = np.arange(n, dtype=np.int64)
    return rows[np.random.default_rng(0).random(n, np.float32) < 0.8]


def make_labels(n: int) -> Any:
    """Return one of 50 labels for each cell."""
    return np.random.default_rng(0).integers(0, 50, n, np.int32)


INDICES = Held(make_rows, lambda rows: scd.BlockShuffling(16, rows))
BALANCED = Held(make_labels, lambda labels: scd.ClassBalancedSampling(labels, 16))


def rounds(options: Any) -> Figures:
    """Draw ten rounds of 1,000 cells without replacement, and the first of an epoch."""
    weights = np.random.default_rng(0).random(options.rows)
    strategy = scd.BlockWeightedSampling(
        16, weights=weights, replace=False, sampling_size=1000
    )
    order = strategy.order(Cells(options.rows, 1), seed=0, epoch=0)
    order.rows(0, 1000)
    with Cost() as cost:
        order.rows(1000, 11_000)
    with Cost() as epoch:
        strategy.order(Cells(options.rows, 1), seed=0, epoch=1).rows(0, 1000)
    return cost.figures(**{"CPU s to begin an epoch": epoch.cpu})


def make_file(path: Path, n_rows: int) -> None:
    """Write cells without counts, and three columns of labels that are compressed."""
    import h5py

    rng = np.random.default_rng(0)
    columns = {"line": 50, "drug": 100, "donor": 1000}

    def write(group: Any, name: str, n: int, dtype: Any, labels: int = 1) -> None:
        packed = {"compression": "gzip", "compression_opts": 1, "chunks": True}
        written = group.create_dataset(name, (n,), dtype, **packed)
        for start in range(0, n, WINDOW):
            size = min(WINDOW, n - start)
            piece = rng.integers(0, labels, size)
            # Many labels come in runs, as donors and plates do.
            piece = np.sort(piece) if labels > 100 else piece
            written[start : start + size] = piece.astype(dtype)

    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        x.attrs["shape"] = [n_rows, 2]
        for name, dtype in (("data", "f4"), ("indices", "i4")):
            x.create_dataset(name, (0,), dtype, chunks=(1024,), maxshape=(None,))
        write(x, "indptr", n_rows + 1, "i8")
        for frame, names in (("obs", list(columns)), ("var", [])):
            group = file.create_group(frame)
            group.attrs.update({"encoding-type": "dataframe", "_index": "_index"})
            group.attrs.update({"encoding-version": "0.2.0", "column-order": names})
        file["var"]["_index"] = ["gene0", "gene1"]
        write(file["obs"], "_index", n_rows, "S1")
        for name, n_labels in columns.items():
            group = file["obs"].create_group(name)
            group.attrs.update({"encoding-type": "categorical", "ordered": False})
            group.attrs["encoding-version"] = "0.2.0"
            group["categories"] = [f"{name}{i:04d}" for i in range(n_labels)]
            write(group, "codes", n_rows, np.min_scalar_type(-n_labels), n_labels)


def read_column(options: Any) -> Figures:
    """Read a column of labels as a whole."""
    source = scd.open(options.file, obs=["line"])
    source.read([0])
    with Cost() as cost:
        column = source.obs["line"]
    return cost.figures(**{"MiB of the result": column.nbytes / 2**20})


def read_batches(*columns: str) -> Callable[[Any], Figures]:
    """Return the step that reads minibatches of cells with some columns."""

    def step(options: Any) -> Figures:
        source = scd.open(options.file, obs=list(columns))
        loader = scd.Loader(
            source, scd.BlockShuffling(16), batch_size=BATCH, fetch_factor=64
        )
        batches = iter(loader)
        with Cost() as first:
            next(batches)
        n = min(64 * 10, len(loader) - 1)
        with Cost() as cost:
            for _ in range(n):
                next(batches)
        figures = cost.figures(**{"CPU s to the first": first.cpu})
        figures["peak MiB"] = max(first.peak, cost.peak)
        return figures | {"CPU us a cell": cost.cpu / n / BATCH * 1e6}

    return step


SIMULATED: dict[str, Callable[[Any], Figures]] = {
    "plan to the first fetch": plan_first_fetch,
    "state_after": state_after,
    "merge_states": merge,
    "resume, to the first fetch": resume,
    "outer join of genes": join_outer,
}
IN_MEMORY: dict[str, Callable[[Any], Figures]] = {
    "indices as an array: to the first fetch": INDICES.to_first_fetch,
    "indices as an array: two states": INDICES.two_states,
    "indices as an array: a worker": INDICES.a_worker,
    "ClassBalancedSampling: to the first fetch": BALANCED.to_first_fetch,
    "ClassBalancedSampling: two states": BALANCED.two_states,
    "ClassBalancedSampling: a worker": BALANCED.a_worker,
    "ten rounds without replacement": rounds,
}
STORED: dict[str, Callable[[Any], Figures]] = {
    "source.obs[column]": read_column,
    "minibatches without obs": read_batches(),
    "minibatches with three columns": read_batches("line", "drug", "donor"),
}
STEPS = SIMULATED | IN_MEMORY | STORED


def run(step: str, options: Any, **changed: int) -> Figures:
    """Run a step in a process of its own."""
    given = {**vars(options), **changed, "step": step}
    arguments = [f"--{name}={value}" for name, value in given.items() if value]
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    shown = ", ".join(f"{name} {x:,.4g}" for name, x in figures.items())
    sizes = ", ".join(f"{name}={n:,}" for name, n in changed.items())
    print(f"{step}{f' ({sizes})' if sizes else ''}: {shown}", flush=True)
    return figures


def run_all(options: Any) -> dict[str, Figures]:
    """Run every step, and the plan over more and more rows, ranks and files."""
    small = {"rows": options.held or min(options.rows, 10**8)}
    results = {step: run(step, options) for step in SIMULATED}
    results |= {step: run(step, options, **small) for step in IN_MEMORY}
    if options.file:
        if not Path(options.file).exists():
            make_file(Path(options.file), small["rows"])
        results |= {step: run(step, options) for step in STORED}
    enough = BATCH * FETCH * options.ranks * options.workers  # a fetch for each worker
    for name, least in (("rows", enough), ("ranks", 1), ("files", 1)):
        parts = (getattr(options, name) // part for part in (1000, 30, 1))
        for size in dict.fromkeys(max(least, size) for size in parts):
            for step in ("plan to the first fetch", "state_after"):
                results[f"{step}, {size} {name}"] = run(step, options, **{name: size})
    return results


def main() -> None:
    """Run one step, or all and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**9)
    parser.add_argument("--ranks", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--files", type=int, default=61_378)
    parser.add_argument("--held", type=int, help="rows of what is held in memory")
    parser.add_argument("--file", help="an .h5ad file for obs; made if it is not there")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--step", choices=STEPS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(STEPS[options.step](options)))
        return
    results = run_all(options)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "scale.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
