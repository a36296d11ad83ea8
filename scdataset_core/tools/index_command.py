"""The command `scdataset index`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..sources.anndata_files.index import Index
from .arguments import expand_files
from .storage_arguments import StorageArgument, parse_storage_options
from .terminal import console, note, print_json, progress, show_plain_errors

__all__ = ["index_files"]


def index_files(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES", help=".h5ad files, quoted globs, or URLs."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The index, for scd.open(FILE)."),
    ],
    allow_external: Annotated[
        bool, typer.Option(help="Follow links into other files.")
    ] = False,
    storage: StorageArgument = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.")
    ] = False,
) -> None:
    """Save what files say of themselves in one file, which opens them all at once.

    Where the index is there already, only files that changed or are new are read. A
    command that is interrupted keeps what it has read in FILE.part, and goes on from
    there the next time.
    """
    with show_plain_errors():
        options = parse_storage_options(storage)
        paths = expand_files(files, options)
        part = out.with_name(f"{out.name}.part")
        saved = next((path for path in (part, out) if path.exists()), None)
        index = Index() if saved is None else Index.load(saved)
        with progress("files") as report, _kept(index, part):
            changes = index.update(
                paths,
                allow_external=allow_external,
                storage_options=options,
                progress=lambda done, total: report("reading", done, total),
            )
        index.save(out)
        part.unlink(missing_ok=True)
        counts = {name: len(found) for name, found in changes._asdict().items()}
        if as_json:
            found = {"files": len(index), **counts, "bytes": out.stat().st_size}
            print_json(found)
            return
        console.print(
            f"{len(index):,} files in {out} ({out.stat().st_size:,} bytes):"
            f" {counts['added']:,} new, {counts['read']:,} changed,"
            f" {counts['dropped']:,} dropped",
            soft_wrap=True,
            highlight=False,
        )


@contextmanager
def _kept(index: Index, part: Path) -> Iterator[None]:
    """Save what was read where reading is interrupted, or comes upon an error."""
    try:
        yield
    except BaseException:
        if len(index):
            index.save(part)
            note(
                f"what was read is kept in {part} ({len(index):,} files); the same"
                " command goes on from there"
            )
        raise
