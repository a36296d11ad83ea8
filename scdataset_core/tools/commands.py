"""The commands of `scdataset`: they read options, show progress and print results."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from ..errors import ScdatasetError
from ..sources import open as open_source
from .demo import Comparison, Report, compare, demo_plates
from .synthetic import Compression, make_plates

__all__ = ["app"]

app = typer.Typer(
    name="scdataset",
    help="Shuffled minibatches straight out of single-cell files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
BAR_STEP_S = 0.1


class Filter(StrEnum):
    """How synthetic plates are compressed."""

    none = "none"
    gzip = "gzip"

    @property
    def compression(self) -> Compression | None:
        """What h5py knows it as."""
        return "gzip" if self is Filter.gzip else None


Cells = Annotated[int, typer.Option(min=1, help="Cells in each synthetic plate.")]
Plates = Annotated[int, typer.Option(min=1, max=99, help="Synthetic plates.")]
Genes = Annotated[int, typer.Option(min=4, help="Genes of the synthetic plates.")]
Compressed = Annotated[Filter, typer.Option(help="Filter of the arrays of X.")]


@app.callback()
def scdataset() -> None:
    """Shuffled minibatches straight out of single-cell files."""


@app.command("make-data")
def make_data(
    out: Annotated[Path, typer.Argument(help="Folder to write plates to.")],
    cells: Cells = 50_000,
    plates: Plates = 4,
    genes: Genes = 62_710,
    stored: Annotated[
        int | None, typer.Option(min=1, help="Mean genes with counts in a cell.")
    ] = None,
    compression: Compressed = Filter.none,
    seed: Annotated[int, typer.Option(help="Another seed gives other plates.")] = 0,
) -> None:
    """Write synthetic plates as .h5ad files."""
    with _plain_errors(), _progress() as report:
        done = 0

        def count(written: int) -> None:
            nonlocal done
            done += written
            report("make plates", done, plates * cells)

        paths = make_plates(
            out,
            n_plates=plates,
            n_cells=cells,
            n_genes=genes,
            stored_per_cell=stored or min(2_000, genes // 4),
            compression=compression.compression,
            seed=seed,
            progress=count,
        )
    for path in paths:
        console.print(f"{path}  {path.stat().st_size / 1e6:,.1f} MB", soft_wrap=True)


@app.command()
def demo(
    files: Annotated[
        list[str] | None, typer.Argument(help="More files for --data.", hidden=True)
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Files of your own, or a glob.")
    ] = None,
    label: Annotated[str, typer.Option(help="The obs column to learn.")] = "cell_line",
    cells: Cells = 10_000,
    plates: Plates = 4,
    genes: Genes = 62_710,
    compression: Compressed = Filter.gzip,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where plates are kept; your cache folder by default."),
    ] = None,
    figure: Annotated[Path, typer.Option(help="PNG to write.")] = Path(
        "scdataset-demo.png"
    ),
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    block_size: Annotated[int, typer.Option(min=1)] = 16,
    fetch_factor: Annotated[int, typer.Option(min=1)] = 16,
    seed: Annotated[int, typer.Option(help="Of the split and the orders.")] = 0,
) -> None:
    """Train a linear classifier from the files in three orders, and compare them."""
    with _plain_errors(), _progress() as report:
        from .figure import save_figure  # a missing matplotlib shows before the work

        figure.parent.mkdir(parents=True, exist_ok=True)
        paths = [*(data or []), *(files or [])] or [
            str(path)
            for path in demo_plates(
                folder,
                n_plates=plates,
                n_cells=cells,
                n_genes=genes,
                compression=compression.compression,
                report=report,
            )
        ]
        comparison = compare(
            open_source(paths, obs=[label]),
            label,
            batch_size=batch_size,
            block_size=block_size,
            fetch_factor=fetch_factor,
            seed=seed,
            report=report,
        )
        save_figure(comparison, figure)
    console.print(_table(comparison))
    console.print(f"figure: {figure}", soft_wrap=True)


def _table(comparison: Comparison) -> Table:
    table = Table(
        title=f"One epoch of a linear classifier of {comparison.label}:\n"
        f"{comparison.n_train:,} cells in minibatches of {comparison.batch_size}",
        caption=f"{comparison.n_classes} labels; cells drawn at random one by one have"
        f" an entropy of {comparison.random_entropy:.2f} bits. Accuracy on"
        f" {comparison.n_held_out:,} held-out cells, of which"
        f" {comparison.majority:.1%} have the most common label.",
    )
    table.add_column("order", no_wrap=True)
    for name in ("block x\nfetch", "cells/s\nloading", "cells/s\ntraining"):
        table.add_column(name, justify="right")
    table.add_column("batch entropy\nbits", justify="right")
    table.add_column("held-out\naccuracy", justify="right")
    for outcome in comparison.outcomes:
        table.add_row(
            outcome.name,
            f"{outcome.block_size or '-'} x {outcome.fetch_factor}",
            f"{outcome.loading:,.0f}",
            f"{outcome.training:,.0f}",
            f"{outcome.entropy:.2f} ± {outcome.entropy_std:.2f}",
            f"{outcome.accuracy:.1%}",
        )
    return table


@contextmanager
def _progress() -> Iterator[Report]:
    """Show a bar for each stage that is reported."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}
        shown = 0.0

        def report(stage: str, done: int, total: int) -> None:
            nonlocal shown
            now = time.monotonic()
            # Told of every minibatch: moving the bar each time would slow reading.
            if stage in tasks and done < total and now < shown + BAR_STEP_S:
                return
            shown = now
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done)

        yield report


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Show what a user can put right as one message, without a traceback."""
    try:
        yield
    except (ScdatasetError, ValueError, OSError, ModuleNotFoundError) as error:
        errors = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
        errors.print(f"scdataset: {error}", style="red")
        raise typer.Exit(1) from error
