"""The command `scdataset index`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..sources.anndata_files.index import Index, IndexChanges
from .arguments import expand_files
from .terminal import console, progress, show_plain_errors

__all__ = ["index_files"]


def index_files(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES", help=".h5ad files, or quoted globs."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The index, for scd.open(FILE)."),
    ],
    allow_external: Annotated[
        bool, typer.Option(help="Follow links into other files.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.")
    ] = False,
) -> None:
    """Save what files say of themselves in one file, which opens them all at once.

    Where the index is there already, only files that changed or are new are read.
    """
    with show_plain_errors():
        paths = expand_files(files)
        with progress("files") as report:

            def tell(done: int, total: int) -> None:
                report("reading", done, total)

            if out.exists():
                index = Index.load(out)
                changes = index.update(
                    paths, allow_external=allow_external, progress=tell
                )
            else:
                index = Index.build(paths, allow_external=allow_external, progress=tell)
                changes = IndexChanges((), index.files, ())
        index.save(out)
        counts = {name: len(found) for name, found in changes._asdict().items()}
        if as_json:
            found = {"files": len(index), **counts, "bytes": out.stat().st_size}
            console.print(json.dumps(found, indent=1), soft_wrap=True)
            return
        console.print(
            f"{len(index):,} files in {out} ({out.stat().st_size:,} bytes):"
            f" {counts['added']:,} new, {counts['read']:,} changed,"
            f" {counts['dropped']:,} dropped",
            soft_wrap=True,
            highlight=False,
        )
