"""The commands `scdataset cache ls`, `fill` and `clear`."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from ..sources.paths import paths_of
from ..storage.cache import Cache, CacheEntry
from .arguments import expand_files
from .cache_filling import fill_cache
from .ray_option import RayAddress, address_of
from .storage_arguments import StorageArgument, parse_storage_options
from .terminal import console, progress, show_failed_files, show_plain_errors

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


@cache_app.command("ls")
def list_entries(
    folder: Folder,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the entries as JSON.")
    ] = False,
) -> None:
    """List what a cache holds: its arrays, how much of each, and when it was opened."""
    with show_plain_errors():
        cache = _existing(folder)
        entries = cache.entries()
        if as_json:
            rows = [asdict(entry) | {"share": entry.share} for entry in entries]
            console.print(json.dumps(rows, indent=1), soft_wrap=True)
            return
        if entries:
            console.print(_table(entries))
        console.print(
            f"{len(entries)} arrays, {cache.nbytes / 1e6:,.1f} MB in {folder}"
        )


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
) -> None:
    """Decode every chunk of some files once, and keep it. Exits with 1 if any lacks."""
    with show_plain_errors():
        cache = Cache(folder, limit)
        options = parse_storage_options(storage)
        paths = expand_files(files, options)
        with progress("MB" if ray is None else "") as report:

            def tell(name: str, done: int, total: int) -> None:
                report(Path(name).name, done // 1_000_000, total // 1_000_000)

            found = fill_cache(
                paths,
                cache,
                x=x,
                storage_options=options,
                threads=threads,
                progress=tell if ray is None else report,
                ray=address_of(ray),
            )
        for file in found["files"]:
            console.print(_describe_filled(file), soft_wrap=True)
        show_failed_files(found["failed"])
        console.print(f"{cache.nbytes / 1e6:,.1f} MB in {folder}", soft_wrap=True)
    if not found["ok"]:
        raise typer.Exit(1)


@cache_app.command("clear")
def clear(
    folder: Folder,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES", help="Only what is kept of these files."),
    ] = None,
) -> None:
    """Remove what a cache keeps: of some files, or all. Nothing else is touched."""
    with show_plain_errors():
        cache = _existing(folder)
        paths = [path for given in files or [] for path in _expand(given)]
        freed = cache.clear(paths if files else None)
        console.print(f"freed {freed / 1e6:,.1f} MB in {folder}", soft_wrap=True)


def _expand(given: str) -> list[str]:
    """Return the files that a path or glob names; a file may be gone already."""
    try:
        return paths_of(given) or [given]
    except FileNotFoundError:
        return [given]


def _existing(folder: Path) -> Cache:
    if not folder.is_dir():
        raise FileNotFoundError(2, "there is no such cache", str(folder))
    return Cache(folder)


def _describe_filled(file: dict[str, Any]) -> str:
    if not file["compressed"]:
        return f"{file['file']}  is not compressed, and needs no cache"
    return f"{file['file']}  {file['share']:.1%} kept, {file['seconds']:,.1f} s"


def _table(entries: list[CacheEntry]) -> Table:
    table = Table(box=box.SIMPLE if console.is_terminal else None)
    table.add_column("file", overflow="fold")
    table.add_column("array", overflow="fold")
    for name in ("kept", "MB", "opened"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        opened = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.opened))
        table.add_row(
            entry.file,
            entry.array,
            f"{entry.share:.0%}",
            f"{entry.nbytes / 1e6:,.1f}",
            "in use" if entry.in_use else opened,
        )
    return table
