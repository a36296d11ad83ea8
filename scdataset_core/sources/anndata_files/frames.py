"""Tables of numbers as X: the data frames that obsm may hold, read column by column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ...storage import StoredArray
from ..obs.columns import LabelColumn, NumberColumn, Unreadable, check_length
from ..ranged.cell_file import DenseX
from .data_frames import Table
from .file_tree import FileTree

__all__ = ["FrameColumns", "frame_x"]


@dataclass(frozen=True)
class FrameColumns:
    """Reads rows of a table of numbers, in place of a format's library.

    Parameters
    ----------
    columns
        Its columns.
    dtype
        Type of the rows.
    """

    columns: Sequence[NumberColumn]
    dtype: np.dtype[Any]

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``; what is missing is NaN."""
        rows = np.empty((stop - start, len(self.columns)), self.dtype)
        for at, column in enumerate(self.columns):
            rows[:, at] = column.values.read(start, stop)
            if column.mask is not None:
                rows[column.mask.read(start, stop).astype(bool), at] = np.nan
        return rows


def frame_x(tree: FileTree, path: str) -> DenseX:
    """Return a table at `path` as dense rows.

    Raises
    ------
    FileFormatError
        If a column is not numbers, or is not as long as the index.
    """
    table = Table(tree, path)
    n_rows = len(table.index_text())
    columns = []
    for name in table.column_names:
        column = table.column(name)
        if not isinstance(column, NumberColumn):
            raise FileFormatError(
                f'{tree.file}: {path} has the column "{name}", which is not numbers'
                f" ({_what(column)}); x= takes tables of numbers, obs= the labels of"
                " obs"
            )
        for array in column.arrays:
            check_length(array, n_rows)
        columns.append(column)
    if not columns:
        raise FileFormatError(f"{tree.file}: {path} is a table without columns")
    dtype = np.result_type(*(column.values.dtype for column in columns))
    if any(column.any_missing() for column in columns):
        dtype = np.dtype(np.float64)
    else:
        columns = [NumberColumn(column.values) for column in columns]
    if dtype.kind not in "biuf":
        raise FileFormatError(f"{tree.file}: {path} is {dtype}, expected real numbers")
    rows = StoredArray(
        tree.file,
        path,
        shape=(n_rows, len(columns)),
        dtype=dtype,
        grid=None,
        library=FrameColumns(columns, dtype),
    )
    return DenseX(rows)


def _what(column: LabelColumn | Unreadable) -> str:
    return "labels" if isinstance(column, LabelColumn) else column.reason
