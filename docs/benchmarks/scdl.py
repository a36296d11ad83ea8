"""Measure this library and bionemo-scdl's `get_row` on the same SCDL folders.

    pip install 'scdataset-core[parquet]' bionemo-scdl
    python scdl.py --data FOLDER --out results

bionemo-scdl itself converts the plates of `make_plates.py`, if that was not done
before. Both libraries shuffle the same blocks of rows and give minibatches of 64. Those
of bionemo-scdl are put together from `get_row`, as SciPy's CSR and, without SciPy's
checks, as its three arrays. Each measurement has a process of its own, and they take
turns.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import page_cache
from make_plates import make_plates
from report import describe_machine, spread, table

if TYPE_CHECKING:
    from collections.abc import Iterator

GOAL = 1.5  # times the faster of their ways, warm, with b=16 and f=64
BATCH = 64
COLD_CELLS = 16_384
OURS = "scdataset-core"
ARRAYS, CSR = "get_row, arrays", "get_row, CSR"


class Case(NamedTuple):
    """The sizes that everyone is asked for."""

    block: int
    fetch: int
    cold: bool = False

    def __str__(self) -> str:
        return f"b={self.block} f={self.fetch}, {'cold' if self.cold else 'warm'}"


CASES = [Case(1, 1), Case(16, 64), Case(64, 64), Case(16, 64, cold=True)]


def our_batches(folder: str, case: Case) -> Iterator[Any]:
    """Yield minibatches of one epoch after another."""
    import scdataset_core as scd

    loader = scd.Loader(
        scd.open(folder),
        scd.BlockShuffling(block_size=case.block),
        batch_size=BATCH,
        fetch_factor=case.fetch,
        drop_last=True,
    )
    while True:
        for batch in loader:
            yield batch["X"]


def their_batches(folder: str, case: Case, *, scipy: bool) -> Iterator[Any]:
    """Yield minibatches put together from `get_row`."""
    from bionemo.scdl.io.single_cell_memmap_dataset import SingleCellMemMapDataset
    from scipy.sparse import csr_array

    cells = SingleCellMemMapDataset(folder)
    n_cells, n_genes = len(cells), cells.number_of_variables()[0]
    rng = np.random.default_rng(0)
    while True:
        starts = rng.permutation(np.arange(0, n_cells, case.block))
        order = (starts[:, None] + np.arange(case.block)).reshape(-1)
        order = order[order < n_cells]
        size = BATCH * case.fetch
        for start in range(0, len(order) - size + 1, size):
            fetch = rng.permutation(order[start : start + size])
            for batch in fetch.reshape(-1, BATCH).tolist():
                rows = [cells.get_row(row)[0] for row in batch]
                values = np.concatenate([row[0] for row in rows])
                columns = np.concatenate([row[1] for row in rows], dtype=np.int32)
                pointers = np.zeros(BATCH + 1, np.int32)
                np.cumsum([len(row[0]) for row in rows], out=pointers[1:])
                arrays = values, columns, pointers
                yield csr_array(arrays, shape=(BATCH, n_genes)) if scipy else arrays


def batches_of(name: str, folder: str, case: Case) -> Iterator[Any]:
    """Return the minibatches of one contestant."""
    if name == OURS:
        return our_batches(folder, case)
    return their_batches(folder, case, scipy=name == CSR)


def measure(name: str, folder: str, case: Case, seconds: float) -> dict[str, Any]:
    """Return cells a second: from the first cell on if cold, else after a warm-up."""
    batches = batches_of(name, folder, case)
    if case.cold:
        page_cache.drop([folder])
        resident = page_cache.resident_share([folder])
        start = time.perf_counter()
        n_batches = sum(1 for _ in islice(batches, COLD_CELLS // BATCH))
        took = time.perf_counter() - start
        return {"rate": n_batches * BATCH / took, "resident": resident}
    page_cache.load([folder])
    resident = page_cache.resident_share([folder])
    end = time.perf_counter() + seconds / 4
    while time.perf_counter() < end:
        sum(1 for _ in islice(batches, case.fetch))
    start, n_batches = time.perf_counter(), 0
    while (took := time.perf_counter() - start) < seconds:
        n_batches += sum(1 for _ in islice(batches, case.fetch))
    return {"rate": n_batches * BATCH / took, "resident": resident}


def prepare(data: Path, n_cells: int) -> str:
    """Return the folder of the cells, made if it is not there."""
    folder = data / "scdl"
    if not folder.exists():
        from bionemo.scdl.io.single_cell_memmap_dataset import SingleCellMemMapDataset

        make_plates(
            data,
            n_plates=1,
            n_cells=n_cells,
            n_genes=62_710,
            stored_per_cell=1_950,
            compressions=["none"],
            seed=0,
        )
        SingleCellMemMapDataset(
            str(folder), str(data / "none" / "plate_00.h5ad"), use_X_not_raw=True
        )
    return str(folder)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder for the files")
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the results"
    )
    options = parser.parse_args()
    if options.cells < COLD_CELLS:
        parser.error(f"--cells must be at least {COLD_CELLS}, which a cold one reads")
    return options


def main() -> None:
    """Run the benchmark and write `scdl.json` and `scdl.md`."""
    options = arguments()
    folder = prepare(options.data, options.cells)
    rates: dict[Case, dict[str, list[float]]] = {
        case: defaultdict(list) for case in CASES
    }
    measurements = []
    context = multiprocessing.get_context("spawn")
    for repeat in range(options.repeats):
        for case in CASES:
            for name in (OURS, ARRAYS, CSR):
                with context.Pool(1) as pool:
                    asked = (name, folder, case, options.seconds)
                    found = pool.apply(measure, asked)
                rates[case][name].append(found["rate"])
                facts = {"case": str(case), "library": name, "repeat": repeat}
                measurements.append({**facts, **found})
                print(measurements[-1], flush=True)
    write(options.out, rates, measurements)


def write(
    out: Path,
    rates: dict[Case, dict[str, list[float]]],
    measurements: list[dict[str, Any]],
) -> None:
    """Write the measurements, and a page of tables."""
    names = (OURS, ARRAYS, CSR)
    lines = []
    for case, found in rates.items():
        pairs = zip(found[OURS], found[ARRAYS], found[CSR], strict=True)
        over = [ours / max(theirs) for ours, *theirs in pairs]
        cells = [spread(found[name], ",.0f") for name in names]
        lines.append([str(case), *cells, spread(over, ".2f")])
    machine = describe_machine(None)
    described = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    head = ["cells a second", *names, f"over the faster (goal: {GOAL} with b=16 warm)"]
    out.mkdir(parents=True, exist_ok=True)
    (out / "scdl.json").write_text(
        json.dumps({"machine": machine, "measurements": measurements}, indent=1)
    )
    text = f"{described}\n\n{table(head, lines)}\n"
    (out / "scdl.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
