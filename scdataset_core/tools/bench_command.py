"""The command `scdataset bench`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from .arguments import expand_files
from .bench_tables import notes_on, tables_of
from .benching import bench
from .storage_arguments import StorageArgument, parse_storage_options
from .terminal import console, note, print_json, progress, show_plain_errors
from .tune_command import BatchSize, CacheFolder, Files, Label, Memory, X

__all__ = ["bench_files"]

HTML, PNG = Path("scdataset-bench.html"), Path("scdataset-bench.png")

Save = Callable[[dict[str, Any]], None]


def bench_files(
    files: Files,
    label: Label = None,
    against: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Other libraries to time too: scdataset,annloader,annbatch.",
        ),
    ] = "",
    memory: Memory = "1GiB",
    batch_size: BatchSize = 64,
    cache: CacheFolder = None,
    converted: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where annbatch's converted copy is kept; by default it is removed.",
        ),
    ] = None,
    x: X = "X",
    storage: StorageArgument = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="S", help="About how long to time; 120 by default."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer settings, in 20 seconds.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help=f"Report to write (.html); {HTML} by default."
        ),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"Figure to write (.png, .pdf or .svg); {PNG} by default.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the report as JSON; write the files asked for."
        ),
    ] = False,
) -> None:
    """Time block sizes, fetch factors, threads and cache on your files; write a report.

    With --against, other libraries are timed in the same run. Exits with 1 if one of
    them is not installed or fails; the rest is reported all the same.
    """
    with show_plain_errors():
        savers = _savers(html, png, by_default=not as_json)
        options = parse_storage_options(storage)
        with progress("trials") as report:
            found = bench(
                expand_files(files, options),
                label=label,
                against=[against] if against else [],
                memory=memory,
                batch_size=batch_size,
                cache=cache,
                converted=None if converted is None else str(converted),
                x=x,
                storage_options=options,
                seconds=seconds,
                quick=quick,
                progress=report,
            )
        if as_json:
            print_json(found)
        else:
            _show(found)
        for path, save in savers.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            save(found)
            if not as_json:
                console.print(f"{path.suffix[1:]}: {path}", soft_wrap=True)
    if any(rival["error"] is not None for rival in found["against"]):
        raise typer.Exit(1)


def _savers(
    html: Path | None, png: Path | None, *, by_default: bool
) -> dict[Path, Save]:
    """Return what writes each file; raise before the work if it cannot."""
    for option, path, known in (
        ("--html", html, (".html", ".htm")),
        ("--png", png, (".png", ".pdf", ".svg")),
    ):
        if path is not None and path.suffix.lower() not in known:
            raise ValueError(f"{option} must end in {' or '.join(known)}, got {path}")
    asked = html is not None or png is not None
    if by_default:
        html, png = html or HTML, png or PNG
    if html is None and png is None:
        return {}
    try:
        from .bench_figure import save_picture
        from .bench_page import save_page
    except ModuleNotFoundError as error:
        if asked:
            raise
        note(f"no report and no figure: {error}")
        return {}
    savers: dict[Path, Save] = {}
    if html is not None:
        savers[html] = lambda found, path=html: save_page(found, path)  # type: ignore[misc]
    if png is not None:
        savers[png] = lambda found, path=png: save_picture(found, path)  # type: ignore[misc]
    return savers


def _show(found: dict[str, Any]) -> None:
    data = found["data"]
    n_files = len(data["files"])
    console.print(
        f"{n_files:,} file{'s' * (n_files != 1)}, {data['cells']:,} cells x"
        f" {data['genes']:,} genes; minibatches of {found['batch_size']}",
        soft_wrap=True,
    )
    for _, title, head, rows in tables_of(found):
        console.print(f"\n{title}", soft_wrap=True)
        table = Table(box=box.SIMPLE if console.is_terminal else None, padding=(0, 1))
        for column, name in enumerate(head):
            table.add_column(name, justify="left" if column == 0 else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print()
    for sentence in notes_on(found):
        console.print(sentence)
    console.print(f"\n{found['line']}\n", soft_wrap=True)
