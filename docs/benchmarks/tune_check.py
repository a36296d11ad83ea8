"""Check `tune` and `suggest` against a full grid, on the same files in the same run.

    python tune_check.py --data FOLDER --out results/tune_check.json

For each folder of plates that `make_plates.py` writes, `bench` times its whole grid,
`tune` and `suggest` choose settings, and what they chose is timed by turns with the
best of the grid, among those that mix the plates as well and fit the same memory. The
goals: `tune` within 10 % of the best, in a minute; `suggest`, which times nothing,
within 25 %.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import table

import scdataset_core as scd
from scdataset_core.candidates import Candidate, price_settings
from scdataset_core.tools import bench, tune
from scdataset_core.tools.machine import describe_machine
from scdataset_core.tools.timing import time_settings

LABEL, MIN_ENTROPY = "plate", 0.98
N_BEST = 3  # of the grid are timed again, beside what was chosen

Trial = tuple[int, int, int | None]  # block size, fetch factor, threads


def check(
    path: str,
    *,
    memory: str,
    grid_s: float,
    tune_s: float,
    turn_s: float,
    turns: int,
) -> dict[str, Any]:
    """Return what the grid, `tune` and `suggest` find, and how quick it is."""
    source = scd.open(path, obs=[LABEL])
    limits = {"memory": memory, "label": LABEL}
    grid = bench(source, **limits, seconds=grid_s)["grid"]
    began = time.perf_counter()
    tuned = tune(source, **limits, min_entropy=MIN_ENTROPY, seconds=tune_s)["best"]
    tune_took = time.perf_counter() - began
    suggested = scd.suggest(source, **limits, min_entropy=MIN_ENTROPY)
    fits = [
        one
        for one in grid
        if one["cells_per_s"] and one["predicted_entropy"] >= MIN_ENTROPY
    ]
    fits.sort(key=lambda one: -one["cells_per_s"])
    chosen: dict[str, Trial] = {
        "tune": (tuned["block_size"], tuned["fetch_factor"], tuned["threads"]),
        "suggest": (suggested.block_size, suggested.fetch_factor, None),
    }
    best: list[Trial] = [
        (one["block_size"], one["fetch_factor"], None) for one in fits[:N_BEST]
    ]
    rates = time_by_turns(
        source, list(dict.fromkeys([*best, *chosen.values()])), turn_s, turns
    )
    quickest = max(rates[one] for one in best)
    return {
        "path": path,
        "grid": grid,
        "best": max(best, key=lambda one: rates[one]),
        "best_rate": quickest,
        "tune_s": tune_took,
        **{
            name: [one, rates[one], rates[one] / quickest]
            for name, one in chosen.items()
        },
    }


def time_by_turns(
    source: scd.Source, trials: Sequence[Trial], seconds: float, turns: int
) -> dict[Trial, float]:
    """Return the cells a second of the quickest turn of each."""
    priced = {
        (one.block_size, one.fetch_factor): one
        for one in price_settings(source, label=None, batch_size=64)
    }
    rates: dict[Trial, float] = {}
    for _ in range(turns):
        for trial in trials:
            settings: Candidate = priced[trial[:2]]
            rate = time_settings(source, settings, trial[2], seconds)
            rates[trial] = max(rate, rates.get(trial, 0.0))
    return rates


def show(found: Sequence[dict[str, Any]]) -> str:
    """Return a table of what was found."""
    rows = [
        [
            Path(one["path"]).parent.name
            if "*" in one["path"]
            else Path(one["path"]).name,
            f"{_name(one['best'])}: {one['best_rate']:,.0f}",
            f"{_name(one['tune'][0])}: {one['tune'][2]:.0%}",
            f"{one['tune_s']:.0f} s",
            f"{_name(one['suggest'][0])}: {one['suggest'][2]:.0%}",
        ]
        for one in found
    ]
    head = ["files", "best of the grid, cells/s", "tune", "in", "suggest"]
    return table(head, rows)


def _name(trial: Trial) -> str:
    threads = "" if trial[2] is None else f" threads={trial[2]}"
    return f"b={trial[0]} f={trial[1]}{threads}"


def main() -> None:
    """Check all data; print a table after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of folders")
    parser.add_argument("--only", nargs="*", help="names of the folders and stores")
    parser.add_argument("--memory", default="1GiB", help="of fetches, at most")
    parser.add_argument("--grid-s", type=float, default=60.0)
    parser.add_argument("--tune-s", type=float, default=40.0)
    parser.add_argument("--turn-s", type=float, default=1.0)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for place in sorted(options.data.iterdir()):
        if options.only and place.name not in options.only:
            continue
        is_store = (place / "zarr.json").exists()
        if not is_store and not list(place.glob("*.h5ad")):
            continue
        path = str(place) if is_store else str(place / "*.h5ad")
        one = check(
            path,
            memory=options.memory,
            grid_s=options.grid_s,
            tune_s=options.tune_s,
            turn_s=options.turn_s,
            turns=options.turns,
        )
        found.append(one)
        print(show(found[-1:]), flush=True)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            results = {"machine": describe_machine(), "found": found}
            options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print("all of it", show(found), sep="\n\n")


if __name__ == "__main__":
    main()
