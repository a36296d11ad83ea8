"""The obs columns of many small files, joined, in one array a column."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..ranged.kept_rows import KeptRows, choose_smallest
from ..ranged.row_arrays import Check, RowArray, read_together
from ..rows import Rows

__all__ = ["CarriedColumn", "KeptColumns"]

# A file of more cells is read as its arrays are, see `KeptArrays`.
MOST_ROWS = 1 << 20


class CarriedColumn(Protocol):
    """An obs column over all files, as it is joined."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what a batch gets."""

    @property
    def narrow_dtype(self) -> np.dtype[Any]:
        """A type that holds all of that, -1 as its largest number if it is unsigned."""

    def arrays_of(self, file: int) -> list[tuple[RowArray, Check]]:
        """Return what is read from a file, and what checks it."""

    def join(
        self, file: int, parts: Sequence[npt.NDArray[Any]], out: npt.NDArray[Any]
    ) -> None:
        """Write what entries of the arrays of a file mean to `out`."""


class KeptColumns:
    """Looks up obs columns of small files, which are read and joined once.

    Parameters
    ----------
    columns
        By name, how a column is read.
    labels
        Names of those that are labels.
    file_starts
        First row of each file, and the number of rows.
    most_bytes, most_code_bytes
        Bytes that the numbers may take, and the codes of labels.

    Attributes
    ----------
    n_bytes, n_code_bytes : int
        Bytes that they take once all are read.
    """

    def __init__(
        self,
        columns: Mapping[str, CarriedColumn],
        labels: Iterable[str],
        file_starts: Rows,
        most_bytes: int,
        most_code_bytes: int,
    ) -> None:
        self._columns = dict(columns)
        coded = [name for name in columns if name in set(labels)]
        others = [name for name in columns if name not in coded]
        self._kept: dict[str, KeptRows] = {}
        self.n_code_bytes = self._choose(coded, file_starts, most_code_bytes)
        self.n_bytes = self._choose(others, file_starts, most_bytes)

    def _choose(self, names: list[str], file_starts: Rows, most: int) -> int:
        """Choose the files whose columns are kept; return the bytes of these."""
        if not names:
            return 0
        n_obs = np.diff(file_starts)
        small = n_obs <= MOST_ROWS
        types = [self._columns[name].narrow_dtype for name in names]
        sizes = [n_obs[small] * dtype.itemsize for dtype in types]
        chosen = choose_smallest(np.concatenate(sizes), most)
        parts = np.split(chosen, len(names))
        for name, dtype, part in zip(names, types, parts, strict=True):
            keeps = small.copy()
            keeps[small] = part
            self._kept[name] = KeptRows(file_starts, keeps, dtype)
        return sum(self._kept[name].n_bytes for name in names)

    def keeps(self, name: str) -> npt.NDArray[np.bool_]:
        """Return for each file whether a column is kept here."""
        return self._kept[name].keeps

    def read(
        self,
        name: str,
        rows: Rows,
        files: Rows,
        numbers: Rows,
        out: npt.NDArray[Any],
    ) -> None:
        """Write a column to `out`, at those of some rows whose files are kept.

        Parameters
        ----------
        name
            The column.
        rows, files
            Non-decreasing rows of the source, and the file of each.
        numbers
            The files, each once.
        out
            Shape ``(k,)``, of the column's type.
        """
        kept = self._kept[name]
        kept.bring(numbers, _Reader(self._columns[name]))
        if kept.keeps[numbers].all():
            (values,) = kept.at(rows, files)
            _widen(values, out)
            return
        mine = kept.keeps[files]
        (values,) = kept.at(rows[mine], files[mine])
        found = np.empty(len(values), out.dtype)
        _widen(values, found)
        out[mine] = found

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value; None unless all are in memory here."""
        kept = self._kept[name]
        if not kept.keeps.all() or kept.whole is None:
            return None
        values = kept.whole
        if self._columns[name].dtype == values.dtype:
            return int(np.count_nonzero(values != values))
        return int(np.count_nonzero(values == np.iinfo(values.dtype).max))


def _widen(values: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Write values to `out`; of codes in a narrow type the largest number is -1."""
    np.copyto(out, values, casting="unsafe")
    if values.dtype != out.dtype:
        out[values == np.iinfo(values.dtype).max] = -1


class _Reader:
    """Reads a column of some files, and joins it."""

    def __init__(self, column: CarriedColumn) -> None:
        self._column = column

    def __call__(self, files: Sequence[int]) -> Iterable[npt.NDArray[Any]]:
        arrays = [self._column.arrays_of(file) for file in files]
        read = iter(read_together([array for of_file in arrays for array in of_file]))
        for file, of_file in zip(files, arrays, strict=True):
            parts = [next(read) for _ in of_file]
            joined = np.empty(len(parts[0]), self._column.dtype)
            self._column.join(file, parts, joined)
            yield joined.astype(self._column.narrow_dtype, copy=False)
