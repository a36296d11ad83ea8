"""Parquet and Arrow files: list columns, and tables of (cell, gene, value)."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import FileFormatError
from ...optional import import_optional
from ...storage.io.open_files import check_plain
from ...storage.isolation import call_isolated
from ..options import OpenOptions
from .files import ArrowFiles, ParquetFiles, look_at_footer
from .table_source import TableSource, open_table
from .triples import CELLS, EXPRESSION, open_triples
from .x_columns import find_columns, list_x

__all__ = ["open_arrow", "open_parquet"]


def open_parquet(paths: Sequence[str], options: OpenOptions) -> TableSource:
    """Return the source over Parquet files, or folders of such, in their order."""
    import_optional("pyarrow", extra="parquet", needed_by="Parquet files")
    if options.isolated:
        for file in [file for path in paths for file in _files(path)]:
            check_plain(file)
            call_isolated(look_at_footer, file, file=file)
    if any(Path(path, EXPRESSION).is_file() for path in paths):
        if len(paths) > 1:
            raise FileFormatError(
                f"{paths[0]} and {len(paths) - 1} more: open one folder with"
                f" {EXPRESSION} at a time"
            )
        folder = Path(paths[0])
        cells = (
            ParquetFiles([str(folder / CELLS)]) if (folder / CELLS).exists() else None
        )
        table = ParquetFiles([str(folder / EXPRESSION)])
        return open_triples(table, cells, folder, options)
    files = [file for path in paths for file in _files(path)]
    groups = ParquetFiles(files)
    columns = find_columns(groups, options)
    if len(columns) == 3:
        return open_triples(groups, None, None, options)
    return open_table(
        list_x(groups, columns, options), groups, options, reserved=columns
    )


def open_arrow(paths: Sequence[str], options: OpenOptions) -> TableSource:
    """Return the source over Arrow IPC files, in their order."""
    import_optional("pyarrow", extra="parquet", needed_by="Arrow files")
    groups = ArrowFiles(paths)
    columns = find_columns(groups, options)
    if len(columns) == 3:
        raise FileFormatError(
            f"{paths[0]} holds (cell, gene, value) triples, which are read from Parquet"
            " files alone, whose footers say where each cell lies"
        )
    return open_table(
        list_x(groups, columns, options), groups, options, reserved=columns
    )


def _files(path: str) -> list[str]:
    """Return a file, or the Parquet files of a folder, sorted by name."""
    if not Path(path).is_dir():
        return [path]
    return sorted(str(file) for file in Path(path).glob("*.parquet"))
