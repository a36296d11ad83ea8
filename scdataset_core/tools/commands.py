"""The commands of `scdataset`; each reads options, shows progress, prints results."""

import shlex
from collections.abc import Callable
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from ..sources import open as open_source
from .arguments import Joined, StorageOptions, expand_files
from .bench_command import bench_files
from .cache_commands import cache_app
from .comparison import Comparison, compare
from .demonstration import make_data as write_plates
from .index_command import index_files
from .inspect_command import inspect_files
from .ray_option import CommandGroup
from .rewrite_command import rewrite_files
from .split_command import split_files
from .storage_arguments import StorageArgument, parse_storage_options
from .synthetic import Compression, demo_plates, plate_paths
from .terminal import (
    console,
    is_on_terminal,
    note,
    print_json,
    progress,
    show_plain_errors,
)
from .tune_command import suggest_settings, tune_files
from .verdict import conclusions, table
from .verify_command import verify_files

__all__ = ["app"]

app = typer.Typer(
    name="scdataset",
    cls=CommandGroup,
    help="Shuffled minibatches straight out of single-cell files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cache_app)
app.command("index")(index_files)
app.command("inspect")(inspect_files)
app.command("bench")(bench_files)
app.command("rewrite")(rewrite_files)
app.command("split")(split_files)
app.command("tune")(tune_files)
app.command("suggest")(suggest_settings)
app.command("verify")(verify_files)


class Filter(StrEnum):
    """How synthetic plates are compressed."""

    none = "none"
    gzip = "gzip"

    @property
    def compression(self) -> Compression | None:
        """The name that h5py has for it."""
        return "gzip" if self is Filter.gzip else None


class Layout(StrEnum):
    """The layouts that synthetic plates are written in."""

    default = "default"
    tahoe = "tahoe"
    cellxgene = "cellxgene"


Cells = Annotated[
    int, typer.Option(min=1, metavar="N", help="Cells in each synthetic plate.")
]
Plates = Annotated[
    int, typer.Option(min=1, max=99, metavar="N", help="Synthetic plates.")
]
Genes = Annotated[
    int, typer.Option(min=4, metavar="N", help="Genes of the synthetic plates.")
]
Compressed = Annotated[Filter, typer.Option(help="Filter of the arrays of X.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


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
    out: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", file_okay=False, help="Folder to write plates to."
        ),
    ],
    cells: Cells = 10_000,
    plates: Plates = 4,
    genes: Genes = 62_710,
    stored: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Mean genes with counts in a cell; 2,000 by default, and at most a"
            " quarter of the genes.",
        ),
    ] = None,
    compression: Compressed = Filter.gzip,
    layout: Annotated[
        Layout,
        typer.Option(
            help="Types and chunks of the arrays of X: AnnData's, or those of"
            " Tahoe-100M's or CELLxGENE's files."
        ),
    ] = Layout.default,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Another seed gives other plates.")
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace plates that are there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write synthetic plates: plate1.h5ad, plate2.h5ad, ..."""
    if stored is not None and stored > genes // 4:
        raise typer.BadParameter(
            f"must be at most a quarter of the {genes} genes, got {stored}",
            param_hint="--stored",
        )
    with show_plain_errors():
        _ask_to_overwrite(plate_paths(out, plates), overwrite)
        with progress() as report:
            found = write_plates(
                out,
                cells=cells,
                plates=plates,
                genes=genes,
                stored=stored,
                compression=compression.compression,
                layout=layout.value,
                seed=seed,
                overwrite=True,
                progress=report,
            )
    if as_json:
        print_json(found)
        return
    for file in found["files"]:
        console.print(f"{file['file']}  {file['bytes'] / 1e6:,.1f} MB", soft_wrap=True)
    written = {Path(file["file"]).name for file in found["files"]}
    others = sorted({path.name for path in out.glob("*.h5ad")} - written)
    if others:
        note(f"{out} holds other .h5ad files too: {', '.join(others)}")
    _suggest_demo(out)


def _ask_to_overwrite(paths: list[Path], overwrite: bool) -> None:
    there = [path for path in paths if path.exists()]
    if not there or overwrite:
        return
    more = f" and {len(there) - 1} more" if len(there) > 1 else ""
    are = "are" if more else "is"
    if not is_on_terminal():
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
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="What to train on, in place of synthetic plates: files, a quoted glob,"
            " a folder, whatever scdataset_core.open takes.",
        ),
    ] = None,
    label: Annotated[
        str, typer.Option(metavar="NAME", help="The obs column to learn.")
    ] = "cell_line",
    x: Annotated[
        str,
        typer.Option("--x", metavar="NAME", help="X, raw/X, layers/NAME, obsm/NAME."),
    ] = "X",
    join: Annotated[
        Joined, typer.Option(help="How genes of files that differ are joined.")
    ] = Joined.exact,
    storage: StorageArgument = None,
    cells: Cells = 10_000,
    plates: Plates = 4,
    genes: Genes = 62_710,
    compression: Compressed = Filter.gzip,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where synthetic plates are kept; your cache folder by default.",
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Figure to write (.png, .pdf or .svg); scdataset-demo.png by default,"
            " where matplotlib is installed.",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Cells in a minibatch.")
    ] = 64,
    block_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Neighbouring cells in a block.")
    ] = 16,
    fetch_factor: Annotated[
        int, typer.Option(min=1, metavar="N", help="Minibatches in a fetch.")
    ] = 16,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the split and the orders.")
    ] = 0,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the report as JSON; write a figure asked for."
        ),
    ] = False,
) -> None:
    """Train a small model in three orders, and compare them."""
    with show_plain_errors():
        save = _make_figure_writer(figure, quiet=as_json)
        options = parse_storage_options(storage)
        with progress() as report:
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
            source = open_source(
                _expand(paths, options),
                obs=[label],
                x=x,
                join=join.value,
                storage_options=options,
            )
            comparison = compare(
                source,
                label,
                batch_size=batch_size,
                block_size=block_size,
                fetch_factor=fetch_factor,
                seed=seed,
                report=report,
            )
        if as_json:
            print_json(comparison.report())
        else:
            console.print(table(comparison, lines=console.is_terminal))
            for sentence in conclusions(comparison):
                console.print(f"\n{sentence}")
        save(comparison)


def _expand(paths: list[str], storage_options: StorageOptions) -> str | list[str]:
    """Return one path or glob, or a list of the files of several, for `open`."""
    if len(paths) == 1:
        return paths[0]
    return expand_files(paths, storage_options)


def _make_figure_writer(
    path: Path | None, *, quiet: bool
) -> Callable[[Comparison], None]:
    """Return a function that writes the figure; raise before the work if it cannot."""
    if path is None and quiet:
        return lambda comparison: None
    path, asked = path or Path("scdataset-demo.png"), path is not None
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"--figure must end in .png, .pdf or .svg, got {path}")
    try:
        from .figure import save_figure
    except ModuleNotFoundError as error:
        if asked:
            raise
        reason = f"no figure: {error}"
        return lambda comparison: note(reason)
    path.parent.mkdir(parents=True, exist_ok=True)

    def save(comparison: Comparison) -> None:
        save_figure(comparison, path)
        if not quiet:
            console.print(f"\nfigure: {path}", soft_wrap=True)

    return save
