"""The commands `scdataset tune` and `scdataset suggest`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from ..suggestion import Suggestion
from .arguments import expand_files
from .storage_arguments import StorageArgument, parse_storage_options
from .suggesting import suggest
from .terminal import console, print_json, progress, show_plain_errors
from .tuning import tune

__all__ = ["suggest_settings", "tune_files"]

Files = Annotated[
    list[str], typer.Argument(metavar="FILES", help="Files, folders, or quoted globs.")
]
Memory = Annotated[
    str, typer.Option(metavar="SIZE", help="Most that fetches may take in memory.")
]
Label = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The obs column that minibatches must mix, as the plate."
    ),
]
Entropy = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        metavar="SHARE",
        help="Least entropy of the label: a share of what random cells have.",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, metavar="N", help="Cells in a minibatch.")
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", file_okay=False, help="A cache to read through."),
]
X = Annotated[
    str, typer.Option("--x", metavar="NAME", help="X, raw/X, layers/NAME, obsm/NAME.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


def tune_files(
    files: Files,
    memory: Memory = "1GiB",
    label: Label = None,
    min_entropy: Entropy = 0.98,
    batch_size: BatchSize = 64,
    cache: CacheFolder = None,
    x: X = "X",
    storage: StorageArgument = None,
    seconds: Annotated[
        float, typer.Option(min=1.0, metavar="S", help="About how long to go on.")
    ] = 40.0,
    as_json: Json = False,
) -> None:
    """Time settings on these files and this disk; print the best."""
    with show_plain_errors():
        options = parse_storage_options(storage)
        with progress("trials") as report:
            found = tune(
                expand_files(files, options),
                memory=memory,
                label=label,
                min_entropy=min_entropy,
                batch_size=batch_size,
                cache=cache,
                x=x,
                storage_options=options,
                seconds=seconds,
                progress=lambda _, done, total: report("tune", done, total),
            )
        if as_json:
            print_json(found)
            return
        console.print(_table(found["settings"]))
        console.print("* nothing is quicker with as little memory and as much entropy")
        console.print(f"\n{found['line']}", soft_wrap=True)
        if found["cache"]:
            _tell_of_cache()


def suggest_settings(
    files: Files,
    memory: Memory = "1GiB",
    label: Label = None,
    min_entropy: Entropy = 0.98,
    batch_size: BatchSize = 64,
    x: X = "X",
    storage: StorageArgument = None,
    as_json: Json = False,
) -> None:
    """Suggest settings from the layout of files alone, without timing."""
    with show_plain_errors():
        options = parse_storage_options(storage)
        found = suggest(
            expand_files(files, options),
            memory=memory,
            label=label,
            min_entropy=min_entropy,
            batch_size=batch_size,
            x=x,
            storage_options=options,
        )
        if as_json:
            print_json(found)
        else:
            console.print(repr(Suggestion(**found)), soft_wrap=True)


def _tell_of_cache() -> None:
    console.print(
        'X is compressed: scd.open(..., cache="folder") decodes each chunk only once;'
        " --cache FOLDER times it"
    )


def _table(settings: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE if console.is_terminal else None, padding=(0, 1))
    names = ("b", "f", "threads", "cells/s", "memory", "entropy", "measured", "")
    for name in names:
        table.add_column(name, justify="right")
    for found in settings:
        table.add_row(
            f"{found['block_size']}",
            f"{found['fetch_factor']}",
            "default" if found["threads"] is None else f"{found['threads']}",
            f"{found['cells_per_s']:,.0f}",
            f"{found['memory'] / 1e6:,.0f} MB",
            _share(found["predicted_entropy"]),
            _share(found["measured_entropy"]),
            "*" if found["pareto"] else "",
        )
    return table


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
