"""The feature indices of SCDL folders: genes and obs columns, block by block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ...optional import import_optional
from ..arrow.soundness import check_sound
from ..rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FeatureIndex", "gene_names", "read_index", "read_shape", "read_table"]

# The name that bionemo-scdl gives the index of a `var` without columns.
_INDEX_NAME = "var_feature_id"


@dataclass(frozen=True)
class FeatureIndex:
    """Features of blocks of rows.

    Parameters
    ----------
    path
        The folder of the index.
    bounds
        First row of each block, and the number of rows; int64.
    files
        The table of each block.
    """

    path: str
    bounds: Rows
    files: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.bounds[-1])

    def file_at(self, row: int) -> tuple[str, int]:
        """Return the table of the block that holds a row, and the block's first row."""
        block = int(np.searchsorted(self.bounds, row, side="right")) - 1
        return self.files[block], int(self.bounds[block])


def read_index(folder: Path, *names: str) -> FeatureIndex | None:
    """Return the feature index of the first of `names` that a folder has, if any.

    Raises
    ------
    FileFormatError
        If blocks do not follow each other, or the table of a block is missing.
    """
    for name in names:
        path = folder / name
        if path.is_dir():
            break
    else:
        return None
    sums = _read_sums(path / "cumulative_sum_index.npy")
    # The first sum is written as -1, and means no rows.
    bounds = np.concatenate([[0], sums[1:]]).astype(np.int64)
    if len(sums) < 2 or sums[0] not in (-1, 0) or np.any(np.diff(bounds) <= 0):
        raise FileFormatError(
            f"{path}/cumulative_sum_index.npy holds {sums[:8].tolist()}, expected -1"
            " and then numbers of rows that grow"
        )
    digits = len(str(len(bounds) - 1))
    files = [
        path / f"dataframe_{block:0{digits}d}.parquet"
        for block in range(len(bounds) - 1)
    ]
    for file in files:
        if not file.is_file():
            raise FileFormatError(
                f"{path}: {file.name} is missing, one of {len(files)} tables of"
                " features; the folder was not copied whole"
            )
    return FeatureIndex(str(path), bounds, tuple(map(str, files)))


def _read_sums(path: Path) -> npt.NDArray[Any]:
    try:
        sums = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy raises what the parser of its headers does
        raise FileFormatError(
            f"{path}: it cannot be read ({error}); copy the folder again"
        ) from error
    if (
        not isinstance(sums, np.ndarray)
        or sums.ndim != 1
        or sums.dtype.kind not in "iu"
    ):
        raise FileFormatError(f"{path}: expected a list of integers, got {sums!r}")
    return sums


def read_table(file: str, columns: Sequence[str] | None = None) -> "pa.Table":
    """Return a table of features, or some columns of it.

    Raises
    ------
    FileFormatError
        If it is not a Parquet file, or damaged.
    """
    parquet = _import_parquet()
    wanted = None if columns is None else list(columns)
    with _naming_the_file(file):
        table: pa.Table = parquet.read_table(file, columns=wanted, partitioning=None)
    check_sound(table, file)
    return table


def read_shape(file: str) -> tuple[int, list[str]]:
    """Return the number of rows of a table of features, and its columns."""
    parquet = _import_parquet()
    with _naming_the_file(file):
        metadata = parquet.read_metadata(file)
        return int(metadata.num_rows), list(metadata.schema.to_arrow_schema().names)


def _import_parquet() -> Any:  # Any: a module without types
    return import_optional("pyarrow.parquet", extra="parquet", needed_by="SCDL folders")


@contextmanager
def _naming_the_file(file: str) -> Iterator[None]:
    """Make errors of Arrow name the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(
            f"{file}: it cannot be read as Parquet ({error}); copy the folder again"
        ) from error


def gene_names(files: Sequence[str]) -> list[npt.NDArray[np.object_]]:
    """Return the names of the genes in each table of features.

    bionemo-scdl keeps the index of `var` only where there are no columns. So the names
    are the first column of text that differs from gene to gene in every table. If there
    is none and all tables are the same, they are the positions.

    Raises
    ------
    FileFormatError
        If tables that differ have no such column in common.
    """
    tables: list[pa.Table] = []
    number = []
    for file in files:
        table = read_table(file)
        known = next((i for i, t in enumerate(tables) if t.equals(table)), None)
        number.append(len(tables) if known is None else known)
        if known is None:
            tables.append(table)
    columns = [_INDEX_NAME, *tables[0].column_names]
    name = next((c for c in columns if all(_names(t, c) for t in tables)), None)
    if name is None and len(tables) > 1:
        raise FileFormatError(
            f"{files[0]} and {files[number.index(1)]} name their genes in no column of"
            " text that both have, without repeats, so they cannot be joined; columns:"
            f" {', '.join(tables[0].column_names)}"
        )
    if name is None:
        named = [np.arange(tables[0].num_rows).astype(str).astype(object)]
    else:
        named = [np.array(table[name].to_pylist(), object) for table in tables]
    return [named[i] for i in number]


def _names(table: "pa.Table", column: str) -> bool:
    """Return whether a column is text without missing and repeated values."""
    import pyarrow.compute as pc
    import pyarrow.types as pt

    if column not in table.column_names:
        return False
    values = table[column]
    if not (pt.is_string(values.type) or pt.is_large_string(values.type)):
        return False
    n_different: int = pc.count_distinct(values, mode="only_valid").as_py()
    return n_different == len(values)
