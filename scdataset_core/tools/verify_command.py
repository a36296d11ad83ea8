"""The command `scdataset verify`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from .arguments import expand_files
from .ray_option import RayAddress, address_of
from .storage_arguments import StorageArgument, parse_storage_options
from .terminal import console, print_json, progress, show_plain_errors
from .verification import verify

__all__ = ["verify_files"]


def verify_files(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES", help="Files, folders, or quoted globs."),
    ],
    storage: StorageArgument = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Threads that read; one a core by default."
        ),
    ] = None,
    ray: RayAddress = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.")
    ] = False,
) -> None:
    """Read everything in files once; name what is damaged. Exits with 1 if anything is.

    Every chunk is decoded to its checksum, where it has one; column ids and row
    pointers are checked.
    """
    with show_plain_errors():
        options = parse_storage_options(storage)
        paths = expand_files(files, options)
        with progress("MB" if ray is None else "") as report:

            def tell(path: str, done: int, total: int) -> None:
                report(Path(path).name, done // 1_000_000, total // 1_000_000)

            found = verify(
                paths,
                storage_options=options,
                threads=threads,
                progress=tell if ray is None else report,
                ray=address_of(ray),
            )
        if as_json:
            print_json(found)
        else:
            _show(found)
    if not found["ok"]:
        raise typer.Exit(1)


def _show(found: dict[str, Any]) -> None:
    damaged = found["damaged"]
    for file in dict.fromkeys(damage["file"] for damage in damaged):
        console.print(file, soft_wrap=True)
        table = Table(box=box.SIMPLE if console.is_terminal else None, padding=(0, 1))
        table.add_column("dataset", overflow="fold")
        table.add_column("chunk", justify="right")
        table.add_column("what is wrong", overflow="fold")
        for damage in damaged:
            if damage["file"] == file:
                chunk = "" if damage["chunk"] is None else str(damage["chunk"])
                wrong = damage["error"].removeprefix(f"{file}: ")
                table.add_row(damage["dataset"] or "", chunk, wrong)
        console.print(table)
    for notice in found["notices"]:
        console.print(f"! {notice['file']}: {notice['what']}", soft_wrap=True)
    n_damaged = len({damage["file"] for damage in damaged})
    n_files = found["n_files"]
    rate = found["n_bytes"] / 1e6 / max(found["seconds"], 1e-9)
    console.print(
        f"{n_files:,} file{'s' * (n_files != 1)}, {n_damaged:,} damaged; decoded"
        f" {found['n_chunks']:,} chunks, {found['n_bytes'] / 1e6:,.0f} MB, in"
        f" {found['seconds']:,.1f} s ({rate:,.0f} MB/s)",
        soft_wrap=True,
    )
