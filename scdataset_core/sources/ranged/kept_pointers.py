"""Row pointers of many files, kept in one array while they fit a budget."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...storage import ReadContext
from ..rows import Rows, first_of_files
from .cell_file import SparseX
from .kept_rows import KeptRows, choose_smallest
from .row_arrays import is_passing, read_together
from .row_pointers import find_row_ranges, pointers_of

__all__ = ["KeptPointers"]


class KeptPointers:
    """Finds where rows lie among the elements of their files.

    The pointers of the smallest files are read once and kept, until a budget is spent.

    Parameters
    ----------
    files
        X of each file.
    file_starts
        First row of each file, and the number of rows.
    n_stored
        Stored elements of each file.
    most_bytes
        Bytes that the pointers may take.
    """

    def __init__(
        self,
        files: Sequence[SparseX],
        file_starts: Rows,
        n_stored: Rows,
        most_bytes: int,
    ) -> None:
        self._files, self._file_starts = files, file_starts
        fits = n_stored.max(initial=0) <= np.iinfo(np.int32).max
        dtype: np.dtype[Any] = np.dtype(np.int32 if fits else np.int64)
        sizes = (np.diff(file_starts) + 1) * dtype.itemsize
        keeps = choose_smallest(sizes, most_bytes)
        self._kept = KeptRows(file_starts, keeps, dtype, more=1)

    @property
    def n_bytes(self) -> int:
        """Bytes that the pointers take once all are read that are kept."""
        return self._kept.n_bytes

    def find(self, rows: Rows, files: Rows, context: ReadContext) -> tuple[Rows, Rows]:
        """Return where non-decreasing rows start and stop among their files' elements.

        Parameters
        ----------
        rows, files
            Rows of the source, and the file of each.
        context
            Threads for reading pointers that are not kept.

        Raises
        ------
        CorruptFileError
            If pointers are wrong.
        """
        first = first_of_files(files)
        numbers = files[first]
        self._kept.bring(numbers, self._read)
        keeps = self._kept.keeps[numbers]
        if keeps.all():
            return self._look_up(rows, files)
        starts, stops = np.empty_like(rows), np.empty_like(rows)
        mine = self._kept.keeps[files]
        starts[mine], stops[mine] = self._look_up(rows[mine], files[mine])
        ends = np.append(first, len(rows))[1:]
        others = [column[~keeps].tolist() for column in (numbers, first, ends)]
        brought = self._bring(others[0], context)
        for number, a, b in zip(*others, strict=True):
            local = rows[a:b] - self._file_starts[number]
            pointers = brought.get(number)
            if pointers is not None:
                starts[a:b], stops[a:b] = pointers[local], pointers[local + 1]
                continue
            starts[a:b], stops[a:b] = find_row_ranges(
                self._files[number], local, context
            )
        return starts, stops

    def _bring(
        self, numbers: Sequence[int], context: ReadContext
    ) -> dict[int, npt.NDArray[Any]]:
        """Return the pointers of small files, read together for one fetch."""
        arrays = {number: pointers_of(self._files[number]) for number in numbers}
        small = {n: found for n, found in arrays.items() if is_passing(found[0])}
        if len(small) < 2:
            return {}
        read = read_together(list(small.values()), context)
        return dict(zip(small, read, strict=True))

    def _look_up(self, rows: Rows, files: Rows) -> tuple[Rows, Rows]:
        starts, stops = self._kept.at(rows, files, (0, 1))
        return starts.astype(np.int64), stops.astype(np.int64)

    def _read(self, numbers: Sequence[int]) -> Iterable[npt.NDArray[Any]]:
        return read_together([pointers_of(self._files[number]) for number in numbers])
