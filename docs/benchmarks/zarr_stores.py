"""Measure this library and annbatch on the very same zarr store, in one run.

    python zarr_stores.py --data FOLDER --annbatch-python ENV/bin/python --out results

The store is annbatch's own: its collection of the plates that `throughput.py` uses,
shuffled, sharded, in its default chunks and codec, made in FOLDER if it is not there.
Both libraries take blocks of the same rows into a buffer of the same size.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cases import OURS, Case
from pool import WorkerPool
from report import describe_machine, rate_table, rates_of, ratios, spread, table
from throughput import Data, prepare, run

GOAL = 1.3  # times annbatch, in every warm case
RIVALS = ("annbatch",)


class StoreCase(Case):
    """A case whose files are one store, compressed in annbatch's way."""

    @property
    def name(self) -> str:
        """Words that tell this case from the others."""
        return f"b={self.block} f={self.fetch}, {'cold' if self.cold else 'warm'}"


CASES: list[Case] = [
    StoreCase("none", block, fetch, RIVALS, cold=cold)
    for block, fetch, cold in (
        (1, 1, False),
        (4, 16, False),
        (16, 16, False),
        (16, 64, False),
        (64, 64, False),
        (16, 64, True),
    )
]


class Collection(Data):
    """The files of a run: the collection, for everyone."""

    def paths(self, library: str, case: Case) -> tuple[str, ...]:
        """Return what every library opens."""
        return (str(self.converted),)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder for the files")
    parser.add_argument(
        "--annbatch-python",
        required=True,
        help="interpreter (3.12 or later) of an environment with annbatch and zarrs",
    )
    parser.add_argument("--cells", type=int, default=50_000, help="of a plate")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="run the cases whose name holds this text")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the results"
    )
    return parser.parse_args()


def main() -> None:
    """Run the benchmark and write `zarr_stores.json` and `zarr_stores.md`."""
    options = arguments()
    data = Collection(options.data)
    pool = WorkerPool(options.annbatch_python)
    try:
        if not data.converted.exists():
            prepare(data, pool, (), options.cells)
        measurements = list(
            run(
                [case for case in CASES if (options.only or "") in case.name],
                data,
                pool,
                libraries={OURS, *RIVALS},
                seconds=options.seconds,
                repeats=options.repeats,
            )
        )
    finally:
        pool.close()
    machine = describe_machine(options.annbatch_python)
    options.out.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine, "throughput": measurements}
    (options.out / "zarr_stores.json").write_text(json.dumps(results, indent=1))
    rates = rates_of(measurements)
    described = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    compared = table(
        ["case", f"ratio, the goal is {GOAL}"],
        [
            [case, spread(ratios(found, "annbatch"), ".2f")]
            for case, found in rates.items()
        ],
    )
    text = "\n\n".join([described, rate_table(rates), compared]) + "\n"
    (options.out / "zarr_stores.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
