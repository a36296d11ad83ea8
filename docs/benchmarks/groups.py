"""Measure sets of perturbed cells with matched controls against cell-load, in one run.

    python groups.py FOLDER --cell-load-python cell-load-env/bin/python

Both give sets of 16 cells of one cell line, drug and batch, and a control cell (DMSO)
beside each, of the same cell line and batch; where a batch has none of the line, of the
same line in another batch of the plate. cell-load gives dense tensors, so this library
gives tensors too: dense ones with `to_tensors("dense")`, and CSR as it comes by itself.

The script makes two plates in FOLDER, each of three batches, of which the last has no
control. It then compares how many sets each group has, how often each cell comes, and
where the controls are from, over an epoch. The speeds are taken in turn; a ratio is
taken within a repeat. Without --cell-load-python, cell-load is left out.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

SET_SIZE, SETS = 16, 16
COLUMNS = {"cell_type_key": "cell_line", "pert_col": "drug", "batch_col": "batch"}
CONTROL = "DMSO"


def make_data(folder: Path, *, cells: int, genes: int, compression: str) -> list[str]:
    """Make plates with a column `batch`; no cell of the last batch is a control."""
    import h5py
    import pandas as pd
    from anndata.io import read_elem, write_elem

    from scdataset_core.tools.synthetic import make_plates

    paths = make_plates(
        folder,
        n_plates=2,
        n_cells=cells,
        n_genes=genes,
        compression=None if compression == "none" else compression,
        existing="replace",
    )
    for path in paths:
        with h5py.File(path, "r+") as file:
            obs = read_elem(file["obs"])
            number = np.arange(len(obs)) % 3
            drug = obs["drug"].astype(str).to_numpy()
            drug[(drug == CONTROL) & (number == 2)] = "drug01"
            obs["drug"] = pd.Categorical(drug)
            names = [f"{path.stem}-{i}" for i in range(3)]
            obs["batch"] = pd.Categorical.from_codes(number, names)
            del file["obs"]
            write_elem(file, "obs", obs)
    return [str(path.resolve()) for path in paths]


class Ours:
    """This library: a Loader, and its minibatches as tensors."""

    def __init__(self, paths: list[str], *, dense: bool) -> None:
        import scdataset_core as scd

        self.source = scd.open(paths)
        self.strategy = scd.GroupSampling(
            ["cell_line", "drug"],
            SET_SIZE,
            control={"drug": CONTROL},
            match=["cell_line", "batch"],
        )
        self.loader = scd.Loader(
            self.source, self.strategy, batch_size=SET_SIZE * SETS, fetch_factor=16
        )
        self.dense = dense

    def epoch(self) -> Iterator[int]:
        """Yield the cells and controls of each minibatch."""
        if self.dense:
            from scdataset_torch import to_tensors

            collate = to_tensors("dense")
            batches: Any = map(collate, self.loader)
        else:
            batches = iter(self.loader)
        for batch in batches:
            yield len(batch["index"]) + len(batch["control"]["index"])

    def count(self) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the rows of each set of an epoch, and those of its controls."""
        order = self.strategy.order(self.source, seed=0, epoch=0)
        rows = order.rows(0, len(order)).reshape(-1, SET_SIZE)
        for cells, control in zip(rows, order.sets(0, len(rows)).control, strict=True):
            yield cells.tolist(), control.tolist()


class Theirs:
    """cell-load: its data module for training, with its `batch` mapping of controls."""

    def __init__(self, paths: list[str], *, workers: int = 0) -> None:
        import torch
        from cell_load.data_modules import PerturbationDataModule

        logging.disable(logging.WARNING)
        torch.set_num_threads(1)
        names = [f"plate{i}" for i in range(len(paths))]
        lines = [
            "[datasets]",
            *(f'{n} = "{p}"' for n, p in zip(names, paths, strict=True)),
        ]
        lines += ["[training]", *(f'{name} = "train"' for name in names)]
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write("\n".join(lines))
            config.flush()
            self.module = PerturbationDataModule(
                toml_config_path=config.name,
                batch_size=SETS,
                num_workers=workers,
                control_pert=CONTROL,
                basal_mapping_strategy="batch",
                should_yield_control_cells=False,
                cell_sentence_len=SET_SIZE,
                **COLUMNS,
            )
            self.module.setup()
        starts = np.cumsum([0, *(_count_cells(path) for path in paths)])
        self.starts = dict(zip(paths, starts.tolist(), strict=False))
        self.loader = self._make_loader(workers)

    def _make_loader(self, workers: int) -> Any:
        """Return the training loader; the module's own asks for workers."""
        from cell_load.data_modules.samplers import PerturbationBatchSampler
        from cell_load.dataset import MetadataConcatDataset, PerturbationDataset
        from torch.utils.data import DataLoader

        if workers:
            return self.module.train_dataloader()
        data = MetadataConcatDataset(self.module.train_datasets)
        sampler = PerturbationBatchSampler(
            data, SETS, cell_sentence_len=SET_SIZE, use_batch=True
        )
        collate = PerturbationDataset.collate_fn
        return DataLoader(data, batch_sampler=sampler, collate_fn=collate)

    def epoch(self) -> Iterator[int]:
        """Yield the cells and controls of each minibatch."""
        for batch in self.loader:
            yield len(batch["pert_cell_emb"]) + len(batch["ctrl_cell_emb"])

    def count(self) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the rows of each set of an epoch, and those of its controls."""
        sampler = self.loader.batch_sampler
        ends = np.cumsum([len(part) for part in sampler.dataset.datasets])
        for minibatch in sampler:
            for first in range(0, len(minibatch), SET_SIZE):
                cells, controls = [], []
                for at in minibatch[first : first + SET_SIZE]:
                    number = int(np.searchsorted(ends, at, side="right"))
                    part = sampler.dataset.datasets[number]
                    row = int(part.indices[at - ends[number] + len(part)])
                    data = part.dataset
                    start = self.starts[str(data.h5_path)]
                    control = data.mapping_strategy.get_control_index(
                        data, data._find_split_for_idx(row), row
                    )
                    cells.append(start + row)
                    controls.append(start + int(control))
                yield cells, controls


def _count_cells(path: str) -> int:
    import h5py

    with h5py.File(path) as file:
        return len(file["X/indptr"]) - 1


def measure_rate(epoch: Any, seconds: float) -> dict[str, float]:
    """Return the cells of whole minibatches a second, and a second of processor time.

    They are counted after a warm-up; the processor time is that of this process.
    """
    cells, warm = 0, False
    began, began_work = time.perf_counter(), time.process_time()
    while True:
        for n in epoch():
            cells += n
            took = time.perf_counter() - began
            if not warm and took >= seconds / 4:
                cells, warm = 0, True
                began, began_work = time.perf_counter(), time.process_time()
            elif warm and took >= seconds:
                work = time.process_time() - began_work
                return {"rate": cells / took, "rate_of_work": cells / work}


CONTESTANTS = {
    "scdataset-core, CSR": lambda paths: Ours(paths, dense=False),
    "scdataset-core, dense tensors": lambda paths: Ours(paths, dense=True),
    "cell-load": Theirs,
    "cell-load, 2 workers": lambda paths: Theirs(paths, workers=2),
}
THEIRS = ("cell-load", "cell-load, 2 workers")
COMPARED = ("scdataset-core, CSR", "cell-load")


def answer(name: str, paths: list[str], seconds: float) -> dict[str, Any]:
    """Return the rate of a contestant, or (0 seconds) the rows of an epoch."""
    contestant = CONTESTANTS[name](paths)
    if seconds:
        return measure_rate(contestant.epoch, seconds)
    return {"sets": list(contestant.count())}


def ask(python: str, name: str, paths: list[str], seconds: float) -> dict[str, Any]:
    """Return the answer of a contestant in a process of its own."""
    words = [python, __file__, *paths, "--contestant", name, "--seconds", str(seconds)]
    result = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def check(holds: Any, message: str) -> None:
    """Raise unless something holds."""
    if not holds:
        raise AssertionError(message)


def compare(sets: dict[str, list[Any]], paths: list[str]) -> None:
    """Print what the sets of an epoch of each library hold, and whether it is equal."""
    import scdataset_core as scd

    source = scd.open(paths, obs=[*COLUMNS.values()])
    obs = {name: source.obs[name] for name in COLUMNS.values()}
    keys = np.column_stack([*obs.values()])
    is_control = obs["drug"] == source.categories["drug"].index(CONTROL)
    summaries = {}
    for name, found in sets.items():
        groups: Counter[Any] = Counter()
        controls: Counter[Any] = Counter()
        counts = np.zeros(len(source), int)
        for cells, control in found:
            of_set = {tuple(key) for key in keys[cells].tolist()}
            check(len(of_set) == 1, "a set is of several groups")
            groups[of_set.pop()] += 1
            counts += np.bincount(cells, minlength=len(source))
            check(is_control[control].all(), "a control is none")
            lines = obs["cell_line"]
            check(
                (lines[control] == lines[cells]).all(), "a control is of another line"
            )
            same = obs["batch"][control] == obs["batch"][cells]
            controls["same batch"] += int(same.sum())
            controls["another batch"] += int((~same).sum())
        summaries[name] = groups, controls
        missed = np.count_nonzero(counts[~is_control] == 0)
        print(
            f"{name}: {len(found):,} sets of {len(groups):,} groups;"
            f" cells that never come: {missed:,}; most copies {counts.max()};"
            f" controls: {dict(controls)}"
        )
    first, *others = summaries.values()
    if others:
        check(all(other == first for other in others), "the sets differ")
        print("sets of each group, and controls by batch: equal")


def main() -> None:
    """Compare, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", help="a folder to make plates in")
    parser.add_argument("--cells", type=int, default=20_000, help="of a plate")
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--compression", choices=["none", "gzip"], default="none")
    parser.add_argument("--cell-load-python", default="")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.contestant is not None:
        found = answer(options.contestant, options.paths, options.seconds)
        print(json.dumps(found))
        return
    paths = make_data(
        Path(options.paths[0]),
        cells=options.cells,
        genes=options.genes,
        compression=options.compression,
    )
    pythons = {
        name: options.cell_load_python if name in THEIRS else sys.executable
        for name in CONTESTANTS
    }
    pythons = {name: python for name, python in pythons.items() if python}
    compared = [name for name in COMPARED if name in pythons]
    sets = {name: ask(pythons[name], name, paths, 0)["sets"] for name in compared}
    compare(sets, paths)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for _ in range(options.repeats):
        for name, python in pythons.items():
            found[name].append(ask(python, name, paths, options.seconds))
    for kind, words in (("rate", "a second"), ("rate_of_work", "a processor second")):
        # The processor time of workers is not that of the process that they work for.
        names = [n for n in found if kind == "rate" or "workers" not in n]
        show({name: [f[kind] for f in found[name]] for name in names}, words)


def show(rates: dict[str, list[float]], words: str) -> None:
    """Print a table; the ratios are to the faster of cell-load's ways."""
    theirs = [rates[name] for name in THEIRS if name in rates]
    best = [max(found) for found in zip(*theirs, strict=True)]
    print(f"\n| | cells {words} | times as many as cell-load |\n|---|---|---|")
    for name, found in rates.items():
        ratios = [rate / other for rate, other in zip(found, best, strict=False)]
        ratio = ""
        if ratios:
            ratio = f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        low, high = min(found), max(found)
        print(
            f"| {name} | {median(found):,.0f} ({low:,.0f} to {high:,.0f}) | {ratio} |"
        )


if __name__ == "__main__":
    main()
