"""The commands of `scdataset`: they read options, show progress and print results."""

import shlex
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..sources import open as open_source
from .demo import Comparison, compare, demo_plates
from .synthetic import Compression, make_plates, plate_paths
from .terminal import console, note, on_a_terminal, plain_errors, progress

__all__ = ["app"]

app = typer.Typer(
    name="scdataset",
    help="Shuffled minibatches straight out of single-cell files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
def scdataset(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            is_eager=True,
            callback=lambda wanted: _print_version() if wanted else None,
        ),
    ] = False,
) -> None:
    """Shuffled minibatches straight out of single-cell files."""


def _print_version() -> None:
    console.print(f"scdataset-core {version('scdataset-core')}")
    raise typer.Exit


@app.command("make-data")
def make_data(
    out: Annotated[Path, typer.Argument(help="Folder to write plates to.")],
    cells: Cells = 50_000,
    plates: Plates = 4,
    genes: Genes = 62_710,
    stored: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Mean genes with counts in a cell; 2,000 by default, and at most a"
            " quarter of the genes.",
        ),
    ] = None,
    compression: Compressed = Filter.none,
    seed: Annotated[
        int, typer.Option(min=0, help="Another seed gives other plates.")
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace plates that are there.")
    ] = False,
) -> None:
    """Write synthetic plates: plate1.h5ad, plate2.h5ad, ..."""
    if stored is not None and stored > genes // 4:
        raise typer.BadParameter(
            f"must be at most a quarter of the {genes} genes, got {stored}",
            param_hint="--stored",
        )
    with plain_errors():
        _ask_to_overwrite(plate_paths(out, plates), overwrite)
        with progress() as report:
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
                existing="replace",
                progress=count,
            )
    for path in paths:
        console.print(f"{path}  {path.stat().st_size / 1e6:,.1f} MB", soft_wrap=True)
    others = sorted(
        {path.name for path in out.glob("*.h5ad")} - {p.name for p in paths}
    )
    if others:
        note(f"{out} holds other .h5ad files too: {', '.join(others)}")
    _suggest_demo(out)


def _ask_to_overwrite(paths: list[Path], overwrite: bool) -> None:
    there = [path for path in paths if path.exists()]
    if not there or overwrite:
        return
    more = f" and {len(there) - 1} more" if len(there) > 1 else ""
    are = "are" if more else "is"
    if not on_a_terminal():
        raise FileExistsError(
            f"{there[0]}{more} {are} there already; choose another folder, or replace"
            " what is there with --overwrite"
        )
    question = f"{there[0]}{more} {are} there already. Overwrite?"
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


def _suggest_demo(folder: Path) -> None:
    plates = shlex.quote(str(folder / "*.h5ad"))
    console.print(f"Train on them: scdataset demo --data {plates}", soft_wrap=True)


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
    with plain_errors(), progress() as report:
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
