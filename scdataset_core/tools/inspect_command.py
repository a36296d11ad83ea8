"""The command `scdataset inspect`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from .arguments import expand_files
from .inspection import inspect
from .storage_arguments import StorageArgument, parse_storage_options
from .terminal import console, print_json, progress, show_plain_errors

__all__ = ["inspect_files"]

MOST_COLUMNS = 24  # of obs are listed
MOST_FILES = 3  # are named with a problem that many have


def inspect_files(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES", help="Files, folders, or quoted globs."),
    ],
    storage: StorageArgument = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.")
    ] = False,
) -> None:
    """Say what files hold, how it is stored, what a shuffled read costs, what is wrong.

    Only a few rows of X are read. Exits with 1 if a file cannot be opened.
    """
    with show_plain_errors():
        options = parse_storage_options(storage)
        paths = expand_files(files, options)
        with progress("files") as report:
            found = inspect(
                paths,
                storage_options=options,
                progress=lambda _, done, total: report("inspect", done, total),
            )
        if as_json:
            print_json(found)
        else:
            _show(found)
    if any("cells" not in file for file in found["files"]):
        raise typer.Exit(1)


def _show(found: dict[str, Any]) -> None:
    files = found["files"]
    opened = [file for file in files if "cells" in file]
    formats = " and ".join(sorted({file["format"] or "unknown" for file in files}))
    count = f"{len(files):,} files, each {_article(formats)}" if len(files) > 1 else ""
    console.print(
        f"{count or files[0]['file']}: {found['cells']:,} cells x"
        f" {found['genes'] or 0:,} genes, {_bytes(found['bytes'])}",
        soft_wrap=True,
    )
    if opened:
        first = opened[0]
        if len(files) > 1:
            console.print(f"The first is {first['file']}:", soft_wrap=True)
        tables = [_matrices(first["matrices"]), _costs(first["matrices"])]
        if first["obs"]:
            tables.append(_obs(first["obs"]))
        for shown in tables:
            console.print()
            console.print(shown)
        console.print()
    _show_problems(found["problems"])


def _article(what: str) -> str:
    return f"an {what}" if what[0] in ".aeiou" else f"a {what}"


def _bytes(n: int) -> str:
    return f"{n / 1e9:,.1f} GB" if n >= 1e9 else f"{n / 1e6:,.1f} MB"


def _table(*names: str, title: str | None = None) -> Table:
    table = Table(
        box=box.SIMPLE if console.is_terminal else None,
        padding=(0, 1),
        title=title,
        title_justify="left",
        title_style="",
    )
    for number, name in enumerate(names):
        right = number > 1
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    return table


def _matrices(matrices: list[dict[str, Any]]) -> Table:
    table = _table("matrix", "values", "a cell", "cells/chunk", "codec", "ratio")
    for matrix in matrices:
        arrays = matrix["arrays"]
        stored = sum(array["bytes"] for array in arrays)
        plain = sum(array["plain_bytes"] for array in arrays)
        codecs = dict.fromkeys(array["codec"] for array in arrays)
        ids = f", {arrays[1]['dtype']} ids" if len(arrays) == 2 else ""
        table.add_row(
            matrix["name"],
            f"{matrix['kind']} {matrix['dtype']}{ids}",
            f"{matrix['stored_per_cell']:,.0f}",
            f"{matrix['cells_a_chunk']:,}",
            ", ".join(codecs),
            f"{plain / stored:.1f}" if stored else "",
        )
    return table


def _costs(matrices: list[dict[str, Any]]) -> Table:
    sizes = list(matrices[0]["decoded_per_used"])
    table = _table(
        "bytes decoded for each byte used, in blocks of",
        *(f"{size}" for size in sizes),
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for matrix in matrices:
        ratios = matrix["decoded_per_used"].values()
        table.add_row(matrix["name"], *(f"{ratio:.1f}" for ratio in ratios))
    return table


def _obs(columns: list[dict[str, Any]]) -> Table:
    table = _table("obs", "kind", "labels", "missing")
    for column in columns[:MOST_COLUMNS]:
        labels = "" if column["n_labels"] is None else f"{column['n_labels']:,}"
        table.add_row(
            column["name"], column["kind"], labels, f"{column['n_missing']:,}"
        )
    if len(columns) > MOST_COLUMNS:
        table.add_row(f"and {len(columns) - MOST_COLUMNS:,} more")
    return table


def _show_problems(problems: list[dict[str, Any]]) -> None:
    if not problems:
        console.print("Nothing is wrong.")
        return
    alike: dict[tuple[str, str | None], list[str]] = {}
    for problem in problems:
        key = problem["what"], problem["mends"]
        alike.setdefault(key, []).append(problem["file"])
    for (what, mends), files in alike.items():
        names = ", ".join(Path(file).name for file in files[:MOST_FILES])
        more = (
            f" and {len(files) - MOST_FILES:,} more" if len(files) > MOST_FILES else ""
        )
        console.print(f"! {names}{more}: {what}", soft_wrap=not console.is_terminal)
        if mends:
            console.print(f"  {mends}", soft_wrap=True)
