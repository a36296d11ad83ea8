"""Arranges what `bench` found into the tables that terminal, picture and page show."""

from collections.abc import Sequence
from typing import Any

__all__ = [
    "Table",
    "compared_settings",
    "grid_of",
    "libraries_of",
    "notes_on",
    "short_rate",
    "tables_of",
]

OURS = "scdataset-core"

Table = tuple[str, str, list[str], list[list[str]]]
"""Part of the report, title, names of columns, and rows whose first cell names them."""


def grid_of(
    grid: Sequence[dict[str, Any]], value: str
) -> tuple[list[int], list[int], list[list[Any]]]:
    """Return block sizes, fetch factors, and a value for each block and fetch."""
    blocks = sorted({one["block_size"] for one in grid})
    fetches = sorted({one["fetch_factor"] for one in grid})
    found = {(one["block_size"], one["fetch_factor"]): one[value] for one in grid}
    return blocks, fetches, [[found.get((b, f)) for f in fetches] for b in blocks]


def compared_settings(report: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the blocks and fetches at which another library has a figure."""
    return sorted(
        {
            (one["block_size"], one["fetch_factor"])
            for rival in report["against"]
            for one in rival["settings"]
        }
    )


def libraries_of(
    report: dict[str, Any],
) -> dict[str, dict[tuple[int, int], float]]:
    """Return the cells a second of each library by block and fetch, ours first."""
    ours: dict[tuple[int, int], float] = {}
    others: dict[str, dict[tuple[int, int], float]] = {}
    for rival in report["against"]:
        for one in rival["settings"]:
            setting = one["block_size"], one["fetch_factor"]
            ours[setting] = one["ours"]
            others.setdefault(rival["name"], {})[setting] = one["cells_per_s"]
    return {OURS: ours, **others}


def short_rate(rate: float) -> str:
    """Return a number in three or four characters.

    Examples
    --------
    >>> short_rate(912.0), short_rate(35_595.0), short_rate(1_200_000.0)
    ('912', '36k', '1.2M')
    """
    if rate >= 999_500:
        return f"{rate / 1e6:.1f}M"
    if rate >= 9_950:
        return f"{rate / 1e3:.0f}k"
    if rate >= 999.5:
        return f"{rate / 1e3:.1f}k"
    return f"{rate:.0f}"


def tables_of(report: dict[str, Any]) -> list[Table]:
    """Return the tables of a report, in the order in which they are shown."""
    best = report["best"]
    tables = [_grid_table("speed", "Cells a second", report["grid"], best)]
    cache = report["cache"]
    if cache is not None:
        title = "Cells a second, from the cache"
        tables.append(_grid_table("cache", title, cache["grid"], None))
    if report["label"] is not None:
        title = f"Entropy of {report['label']}, as a share of that of random cells"
        tables.append(
            _grid_table("entropy", title, report["grid"], None, "measured_entropy")
        )
    rows = [
        [str(one["threads"]), f"{one['cells_per_s']:,.0f}"] for one in report["threads"]
    ]
    title = f"Threads, at b={best['block_size']} f={best['fetch_factor']}"
    tables.append(("threads", title, ["threads", "cells/s"], rows))
    if compared_settings(report):
        tables.append(_table_of_rivals(report))
    return tables


def _grid_table(
    name: str,
    title: str,
    grid: Sequence[dict[str, Any]],
    best: dict[str, Any] | None,
    value: str = "cells_per_s",
) -> Table:
    blocks, fetches, found = grid_of(grid, value)
    chosen = None if best is None else (best["block_size"], best["fetch_factor"])
    rows = []
    for b, row in zip(blocks, found, strict=True):
        cells = [f"b={b}"]
        for f, one in zip(fetches, row, strict=True):
            text = "-" if one is None else f"{one:,.0f}"
            if one is not None and value == "measured_entropy":
                text = f"{min(one, 1.0):.1%}"
            cells.append(f"{text} *" if (b, f) == chosen else text)
        rows.append(cells)
    return name, title, ["", *(f"f={f}" for f in fetches)], rows


def _table_of_rivals(report: dict[str, Any]) -> Table:
    rows = []
    for b, f in compared_settings(report):
        for name, by_setting in libraries_of(report).items():
            rate = by_setting.get((b, f))
            if rate is None:
                continue
            ours = libraries_of(report)[OURS][b, f]
            times = "" if name == OURS else f"{ours / rate:,.1f}x"
            rows.append([f"b={b} f={f}", name, f"{rate:,.0f}", times])
    head = ["setting", "library", "cells/s", "ours / theirs"]
    return "against", "Other libraries, by turns", head, rows


def notes_on(report: dict[str, Any]) -> list[str]:
    """Return the sentences that belong to the tables."""
    notes = ["* the quickest that mixes well" + _mixing_words(report)]
    if any(one["cells_per_s"] is None for one in report["grid"]):
        notes.append("- fetches would take too much memory, or hold too few cells")
    bits = report["entropy"]
    if bits is not None:
        notes.append(
            f"A minibatch of random cells has {bits['random']:.2f} bits of"
            f" {report['label']}; with the settings * it has {bits['best']:.2f}."
        )
    cache = report["cache"]
    if cache is not None:
        notes.append(
            f"The cache holds {cache['share']:.0%} of X in {cache['bytes'] / 1e6:,.0f}"
            f" MB; filling it took {cache['fill_s']:,.0f} s."
        )
    elif report["needs_cache"]:
        notes.append(
            'X is compressed: scd.open(..., cache="folder") decodes each chunk only'
            " once; --cache FOLDER times it."
        )
    for rival in report["against"]:
        if rival["error"] is not None:
            notes.append(f"{rival['name']} {rival['error']}.")
        if rival["convert_s"] is not None:
            notes.append(
                f"{rival['name']} reads a converted, shuffled copy of the files;"
                f" making it took {rival['convert_s']:,.0f} s."
            )
        if rival["name"] == "AnnLoader" and rival["settings"]:
            notes.append("AnnLoader knows no blocks, and makes dense tensors.")
    return notes


def _mixing_words(report: dict[str, Any]) -> str:
    if report["label"] is None:
        return ": a fetch has as many minibatches as a block has cells"
    return f": its entropy of {report['label']} is predicted to be 98% at least"
