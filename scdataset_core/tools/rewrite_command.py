"""The command `scdataset rewrite`."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..sources import open as open_source
from ..splits import load_split
from .arguments import Joined, find_files
from .ray_option import RayAddress, address_of
from .rewriting import rewrite
from .safe_file import name_unfinished
from .splitting import find_conditions
from .storage_arguments import StorageArgument, parse_storage_options
from .terminal import (
    console,
    note,
    print_json,
    progress,
    show_failed_files,
    show_plain_errors,
)

__all__ = ["rewrite_files"]


class Codec(StrEnum):
    """What compresses the chunks of the file that is written."""

    none = "none"
    gzip = "gzip"
    lzf = "lzf"


def rewrite_files(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="IN... OUT",
            help="Files to read, and the one to write; a folder with --ray.",
        ),
    ],
    x: Annotated[
        list[str] | None,
        typer.Option(
            "--x", metavar="NAME", help="X, layers/NAME, obsm/NAME; may repeat."
        ),
    ] = None,
    join: Annotated[
        Joined, typer.Option(help="How genes of files that differ are joined.")
    ] = Joined.exact,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Only these cells: drug=DMSO,drug01, total_counts=500..2000, drug=",
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A split that `scdataset split` wrote."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The part of the split to write; train by default."
        ),
    ] = None,
    shuffle: Annotated[
        bool,
        typer.Option("--shuffle", help="Write cells in the order of block shuffling."),
    ] = False,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Another seed gives another order.")
    ] = 0,
    compression: Annotated[
        Codec, typer.Option(help="Smaller, and slower to read.")
    ] = Codec.none,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Most that reading may take.")
    ] = "1GiB",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it is there.")
    ] = False,
    storage: StorageArgument = None,
    ray: RayAddress = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.")
    ] = False,
) -> None:
    """Write cells to one .h5ad file that is made for shuffled reads.

    Values and column ids get the narrowest types that hold them exactly; AnnData and
    scanpy read the file. It appears when it is whole, and was checked. With --ray each
    file is written under its name to the folder OUT, those that are there left alone.
    """
    with show_plain_errors():
        if len(files) < 2:
            raise ValueError("name the files to read, and then the one to write")
        if part is not None and split is None:
            raise ValueError(f"--part {part} is one of a split: give --split FILE too")
        *inputs, out = files
        options = parse_storage_options(storage)
        found_files = find_files(inputs, options)
        source = open_source(
            [file.given for file in found_files],
            obs=True,
            obs_names=True,
            x=x or "X",
            join=join.value,
            storage_options=options,
        )
        rows = None if split is None else load_split(split, source)[part or "train"]
        conditions = find_conditions(source, where, "=") if where else None
        with progress("cells" if ray is None else "") as report, _telling_of(out):
            found = rewrite(
                source,
                out,
                rows=rows,
                where=conditions,
                shuffle=shuffle,
                seed=seed,
                compression=None if compression is Codec.none else compression.value,
                memory=memory,
                overwrite=overwrite,
                progress=report,
                ray=address_of(ray),
            )
        if as_json:
            print_json(found)
        elif ray is None:
            _show(found, sum(file.count_bytes() for file in found_files))
        else:
            _show_each(found)
    if not found.get("ok", True):
        raise typer.Exit(1)


@contextmanager
def _telling_of(out: str) -> Iterator[None]:
    """Say what a run leaves that is interrupted."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        left = name_unfinished(Path(out))
        if left.exists():
            note(f"{left} holds what was written; the same command goes on from there")
        raise


def _show(found: dict[str, Any], size: int) -> None:
    console.print(
        f"{found['file']}  {found['cells']:,} cells x {found['genes']:,} genes,"
        f" {found['bytes'] / 1e6:,.1f} MB (read {size / 1e6:,.1f} MB), in"
        f" {found['seconds']:,.1f} s",
        soft_wrap=True,
    )
    for matrix in found["matrices"]:
        ids = f", {matrix['ids']} column ids" if matrix["ids"] else ""
        console.print(f"  {matrix['name']}: {matrix['dtype']}{ids}")
    matrices = [name for name in found["left_out"] if not name.startswith("obs/")]
    if matrices:
        console.print(f"  left out: {', '.join(matrices)}; --x NAME writes more")


def _show_each(found: dict[str, Any]) -> None:
    for skipped in found["skipped"]:
        console.print(
            f"{skipped['file']}  skipped: {skipped['reason']}", soft_wrap=True
        )
    show_failed_files(found["failed"])
    console.print(
        f"{found['folder']}  {len(found['files']):,} files written,"
        f" {found['cells']:,} cells x {found['genes']:,} genes,"
        f" {found['bytes'] / 1e6:,.1f} MB, in {found['seconds']:,.1f} s;"
        f" {len(found['skipped']):,} skipped, {len(found['failed']):,} failed",
        soft_wrap=True,
    )
