"""The commands `scdataset cache ls`, `fill` and `clear`."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from ..storage.cache import Cache
from .arguments import expand_files
from .cache_contents import cache, clear_cache, open_cache
from .cache_filling import fill_cache
from .ray_option import RayAddress, address_of
from .storage_arguments import StorageArgument, parse_storage_options
from .terminal import (
    console,
    print_json,
    progress,
    show_failed_files,
    show_plain_errors,
)

__all__ = ["cache_app"]

cache_app = typer.Typer(
    name="cache",
    help="Look at, fill and clear a cache of decoded chunks.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[
    Path,
    typer.Option(
        "--folder",
        envvar="SCDATASET_CACHE",
        metavar="FOLDER",
        file_okay=False,
        help="The cache's folder, the one given to open(..., cache=).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


@cache_app.command("ls")
def list_entries(
    folder: Folder,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the entries as JSON.")
    ] = False,
) -> None:
    """List what a cache holds: its arrays, how much of each, and when it was opened."""
    with show_plain_errors():
        entries = cache(folder)
        if as_json:
            print_json(entries)
            return
        if entries:
            console.print(_table(entries))
        nbytes = open_cache(folder).nbytes
        console.print(f"{len(entries)} arrays, {nbytes / 1e6:,.1f} MB in {folder}")


@cache_app.command("fill")
def fill(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES", help="Files, or quoted globs, to decode."),
    ],
    folder: Folder,
    limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help='Most that the cache may take, "200GiB".'),
    ] = None,
    x: Annotated[
        str,
        typer.Option("--x", metavar="NAME", help="X, raw/X, layers/NAME, obsm/NAME."),
    ] = "X",
    storage: StorageArgument = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Threads that decode; one a core by default."
        ),
    ] = None,
    ray: RayAddress = None,
    as_json: Json = False,
) -> None:
    """Decode every chunk of some files once, and keep it. Exits with 1 if any lacks."""
    with show_plain_errors():
        options = parse_storage_options(storage)
        paths = expand_files(files, options)
        with progress("MB" if ray is None else "") as report:

            def tell(name: str, done: int, total: int) -> None:
                report(Path(name).name, done // 1_000_000, total // 1_000_000)

            found = fill_cache(
                paths,
                Cache(folder, limit),
                x=x,
                storage_options=options,
                threads=threads,
                progress=tell if ray is None else report,
                ray=address_of(ray),
            )
        if as_json:
            print_json(found)
        else:
            _show_filled(found, folder)
    if not found["ok"]:
        raise typer.Exit(1)


@cache_app.command("clear")
def clear(
    folder: Folder,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES", help="Only what is kept of these files."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove what a cache keeps: of some files, or all. Nothing else is touched."""
    with show_plain_errors():
        found = clear_cache(folder, files or None)
        if as_json:
            print_json(found)
            return
        freed = found["freed"] / 1e6
        console.print(f"freed {freed:,.1f} MB in {folder}", soft_wrap=True)


def _show_filled(found: dict[str, Any], folder: Path) -> None:
    for file in found["files"]:
        console.print(_describe_filled(file), soft_wrap=True)
    show_failed_files(found["failed"])
    console.print(f"{found['nbytes'] / 1e6:,.1f} MB in {folder}", soft_wrap=True)


def _describe_filled(file: dict[str, Any]) -> str:
    if not file["compressed"]:
        return f"{file['file']}  is not compressed, and needs no cache"
    return f"{file['file']}  {file['share']:.1%} kept, {file['seconds']:,.1f} s"


def _table(entries: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE if console.is_terminal else None)
    table.add_column("file", overflow="fold")
    table.add_column("array", overflow="fold")
    for name in ("kept", "MB", "opened"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        opened = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["opened"]))
        table.add_row(
            entry["file"],
            entry["array"],
            f"{entry['share']:.0%}",
            f"{entry['nbytes'] / 1e6:,.1f}",
            "in use" if entry["in_use"] else opened,
        )
    return table
