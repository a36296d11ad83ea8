"""Data frames of numbers as X: obsm may hold them, stored column by column."""

import numpy as np

from ...errors import FileFormatError
from ...storage import StoredArray
from ..obs.columns import LabelColumn, NumberColumn, Unreadable, check_length
from ..ranged.cell_file import DenseX
from ..ranged.dense_rows import ColumnRows
from .data_frames import StoredFrame
from .file_tree import FileTree

__all__ = ["describe_frame"]


def describe_frame(tree: FileTree, path: str) -> DenseX:
    """Return the data frame at `path` as dense rows.

    Raises
    ------
    FileFormatError
        If a column is not numbers, or is not as long as the index.
    """
    table = StoredFrame(tree, path)
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
        library=ColumnRows(columns, dtype),
    )
    return DenseX(rows)


def _what(column: LabelColumn | Unreadable) -> str:
    return "labels" if isinstance(column, LabelColumn) else column.reason
