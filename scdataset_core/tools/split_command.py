"""The command `scdataset split`."""

from pathlib import Path
from typing import Annotated

import typer

from ..splits.tables import CountTable
from .arguments import expand_files
from .splitting import split
from .storage_arguments import StorageArgument, parse_storage_options
from .terminal import console, print_json, show_plain_errors

__all__ = ["split_files"]

DEFAULT_PARTS = ["train=0.8", "val=0.1", "test=0.1"]


def split_files(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES", help="Files, folders, or quoted globs."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The file to write, for load_split."),
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=WHAT",
            help="A part: a share (train=0.8), cells with some labels"
            " (test=donor:D3,D7) or what the others leave (train=rest). By default"
            " train=0.8, val=0.1 and test=0.1.",
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Keep the groups of this column whole."),
    ] = None,
    stratify: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Keep the proportions of its labels."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Only these cells: drug=DMSO,drug01, total_counts=500..2000, drug=",
        ),
    ] = None,
    block_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Neighbours that stay together.")
    ] = 1,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Another seed gives other parts.")
    ] = 0,
    storage: StorageArgument = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.")
    ] = False,
) -> None:
    """Divide cells into parts for training and testing, and write them to a file."""
    with show_plain_errors():
        options = parse_storage_options(storage)
        paths = expand_files(files, options)
        report = split(
            paths,
            part or DEFAULT_PARTS,
            out,
            by=by or (),
            stratify=stratify or (),
            where=where or (),
            block_size=block_size,
            seed=seed,
            storage_options=options,
        )
        if as_json:
            print_json(report)
            return
        counts = CountTable(report.get("labels", report["parts"]))
        console.print(repr(counts), highlight=False, soft_wrap=True)
        console.print(f"{report['n_cells']:,} cells in {out}", soft_wrap=True)
