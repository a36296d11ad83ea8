"""Turn the results of `throughput.py` into tables with ratios, spread and goals.

    python report.py results/results.json --page ../benchmarks.md

puts the tables of an earlier run into the docs page, between its two marks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cases import CASES, LIMIT, LIMIT_TO_MEMORY, OURS, VARIANTS

from scdataset_core.tools import machine

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
MEMORY_FETCHES, MEMORY_ALLOWANCE_MIB = 3, 50  # the goal: less than this above open
LIMITS = (LIMIT, LIMIT_TO_MEMORY)
RIVALS = ("scdataset", "scdataset-anndata", "annbatch", "AnnLoader")
LIBRARIES = (OURS, *VARIANTS, *RIVALS, *LIMITS)
CACHE_GOAL = 3.2  # bytes in the cache for a stored count, at most
PACKAGES = (
    "scdataset-core",
    "numpy",
    "h5py",
    "deflate",
    "anndata",
    "scDataset",
    "torch",
)

Rates = dict[str, dict[str, dict[int, float]]]  # case, library, repeat


def describe_machine(annbatch_python: str | None) -> dict[str, str]:
    """Return what a reader needs to know to judge the figures."""
    found = machine.describe_machine(PACKAGES)
    if annbatch_python:
        code = (
            "from importlib.metadata import version as v; "
            "print(*(f'{n} {v(n)}' for n in ('annbatch', 'zarr', 'zarrs')), sep=', ')"
        )
        command = [annbatch_python, "-c", code]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        found["annbatch environment"] = answer.stdout.strip()
    return found


def spread(values: Sequence[float], form: str) -> str:
    """Return the median, with the least and the greatest of several in brackets."""
    middle = format(statistics.median(values), form)
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):{form}} to {max(values):{form}})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rates_of(measurements: Iterable[Mapping[str, Any]]) -> Rates:
    """Return cells a second by case, library and repeat."""
    rates: Rates = defaultdict(lambda: defaultdict(dict))
    for one in measurements:
        rates[one["case"]][one["library"]][one["repeat"]] = one["rate"]
    return rates


def rate_table(rates: Rates) -> str:
    """Return the cells a second of every library in every case."""
    present = [
        name for name in LIBRARIES if any(name in case for case in rates.values())
    ]
    rows = [
        [
            case,
            *(
                spread([*found[n].values()], ",.0f") if n in found else ""
                for n in present
            ),
        ]
        for case, found in rates.items()
    ]
    return table(["cells/s", *present], rows)


def ratios(
    found: Mapping[str, Mapping[int, float]], other: str, ours: str = OURS
) -> list[float]:
    """Return ours over the other's, repeat by repeat."""
    return [
        rate / found[other][repeat]
        for repeat, rate in found[ours].items()
        if repeat in found[other]
    ]


def goal_table(rates: Rates) -> str:
    """Return the ratios that have a goal, beside it."""
    rows = []
    for case in CASES:
        found = rates.get(case.name, {})
        for goal in case.goals:
            if goal.other not in found or goal.ours not in found:
                continue
            values = ratios(found, goal.other, goal.ours)
            share = goal.other == LIMIT
            reached = statistics.median(values) >= goal.least
            rows.append(
                [
                    case.name,
                    goal.ours,
                    goal.other,
                    f"{goal.least:{'.0%' if share else 'g'}}",
                    spread(values, ".0%" if share else ".2f"),
                    "yes" if reached else "**no**",
                ]
            )
    return table(["case", "who", "against", "goal", "ratio", "reached"], rows)


def cache_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the size of each layout's cache, and how long filling it took."""
    lines = []
    for row in rows:
        per_count = row["n_bytes"] / row["n_stored"]
        lines.append(
            [
                row["layout"],
                f"{row['n_bytes'] / 1e6:,.0f}",
                f"{row['uncompressed_bytes'] / 1e6:,.0f}"
                if row["uncompressed_bytes"]
                else "",
                f"{per_count:.2f}",
                "yes" if per_count <= CACHE_GOAL else "**no**",
                f"{row['seconds']:.1f}",
                f"{row['n_cells'] / row['seconds']:,.0f}",
            ]
        )
    head = ["layout", "cache, MB", "uncompressed files, MB", "bytes a stored count"]
    more = [f"at most {CACHE_GOAL}", "filled in, s", "cells/s"]
    return table([*head, *more], lines)


def memory_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return peak memory, and what the goal allows."""
    lines = []
    for row in rows:
        allowed = MEMORY_FETCHES * row["fetch_mib"] + MEMORY_ALLOWANCE_MIB
        lines.append(
            [
                row["compression"],
                row["library"],
                *(
                    f"{row[key]:,.0f}"
                    for key in ("opened_mib", "above_mib", "peak_mib")
                ),
                f"{allowed:,.0f}" if row["library"] == OURS else "",
            ]
        )
    head = ["files", "library", "after open", "above that, at the peak", "peak in all"]
    return table([*head, "3 fetches + 50"], lines)


def scaling_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return each set beside the set it is compared with (the row before it)."""
    lines = []
    sizes = ("n_plates", "n_cells", "stored_per_cell")
    for number, row in enumerate(rows):
        middle = statistics.median(row["rates"])
        ratio = ""
        if number % 2:
            ratio = f"{middle / statistics.median(rows[number - 1]['rates']):.2f}"
        lines.append(
            [
                row["compression"],
                " x ".join(f"{row[key]:,}" for key in sizes),
                spread(row["rates"], ",.0f"),
                ratio,
                f"{row['open_s']:.2f}",
                f"{row['opened_mib']:,.0f}",
                f"{row['above_mib']:,.0f}",
            ]
        )
    head = ["files", "plates x cells x stored counts a cell", "cells/s"]
    more = ["to the row above", "open, s", "MiB after open", "MiB above that"]
    return table([*head, *more], lines)


def report(results: Mapping[str, Any]) -> str:
    """Return the whole report as Markdown."""
    rates = rates_of(results["throughput"])
    machine = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    parts = [
        f"Measured with: {machine}.",
        "Median, least and greatest of the repeats, where there are several.",
        "### Goals",
        goal_table(rates),
        "### Cells a second",
        rate_table(rates),
    ]
    if results.get("caches"):
        parts += ["### Chunk caches", cache_table(results["caches"])]
    if results.get("memory"):
        parts += ["### Memory, MiB, b=16 f=64", memory_table(results["memory"])]
    if results.get("scaling"):
        parts += ["### Larger files and more files, b=16 f=64, warm"]
        parts += [scaling_table(results["scaling"])]
    return "\n\n".join(parts) + "\n"


def write_report(results: Mapping[str, Any], path: Path) -> None:
    """Write the report to a file of its own."""
    path.write_text(report(results), encoding="utf-8")


def put_into_page(text: str, page: Path) -> None:
    """Replace what stands between the marks of a docs page."""
    old = page.read_text(encoding="utf-8")
    if BEGIN not in old or END not in old:
        sys.exit(f"{page} has no place for results: expected {BEGIN} and {END}")
    head, rest = old.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    page.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}", encoding="utf-8")


def main() -> None:
    """Print a report, or put it into a page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("results", type=Path, help="results.json of a run")
    parser.add_argument("--page", type=Path, help="Markdown page with the two marks")
    options = parser.parse_args()
    text = report(json.loads(options.results.read_text(encoding="utf-8")))
    if options.page is None:
        print(text)
    else:
        put_into_page(text, options.page)


if __name__ == "__main__":
    main()
