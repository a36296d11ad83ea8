"""An array along the cells of many files, the files' parts of which are kept once read.

Rows of thousands of files are looked up in it in one step. An array a file would cost a
few steps of Python each.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...storage import first_use_lock
from ..rows import Rows

__all__ = ["KeptRows", "choose_smallest"]

Mask = npt.NDArray[np.bool_]


def choose_smallest(n_bytes: Rows, most_bytes: int) -> Mask:
    """Return which things of these sizes fit a budget together, the smallest first."""
    order = np.argsort(n_bytes, kind="stable")
    chosen = np.zeros(len(n_bytes), bool)
    chosen[order[np.cumsum(n_bytes[order]) <= most_bytes]] = True
    return chosen


class KeptRows:
    """Entries of the cells of some files, read a file at a time.

    It pickles without the entries.

    Parameters
    ----------
    file_starts
        First row of each file, and the number of rows.
    keeps
        For each file whether its entries are kept.
    dtype
        Their type.
    more
        Entries of a file beyond one a cell.

    Attributes
    ----------
    keeps : ndarray of bool
        See above.
    """

    def __init__(
        self, file_starts: Rows, keeps: Mask, dtype: np.dtype[Any], more: int = 0
    ) -> None:
        sizes = np.where(keeps, np.diff(file_starts) + more, 0)
        ends = np.cumsum(sizes)
        self.keeps = keeps
        self._dtype = dtype
        self._sizes = sizes
        # The entry of a row of a file stands that much behind the row's number.
        self._shifts = ends - sizes - file_starts[:-1]
        self._firsts = ends - sizes
        self._forget()

    def _forget(self) -> None:
        self._values: npt.NDArray[Any] | None = None
        self._held = np.zeros(len(self.keeps), bool)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_values": None, "_held": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    @property
    def n_bytes(self) -> int:
        """Bytes of all entries."""
        return int(self._sizes.sum()) * self._dtype.itemsize

    @property
    def whole(self) -> npt.NDArray[Any] | None:
        """The entries of all files, one after the other, if all were read."""
        return self._values if self._held.all() else None

    def bring(
        self,
        files: Rows,
        read: Callable[[Sequence[int]], Iterable[npt.NDArray[Any]]],
    ) -> None:
        """Read the entries of those of some files that are kept, and are not here yet.

        Parameters
        ----------
        files
            Numbers of files, each once.
        read
            Called with numbers of files; returns the entries of each, one after the
            other.
        """
        missing = self.keeps[files] & ~self._held[files]
        if not missing.any():
            return
        with first_use_lock():
            if self._values is None:
                # The system gives memory where it is first written to.
                self._values = np.empty(int(self._sizes.sum()), self._dtype)
            wanted = files[missing]
            wanted = wanted[~self._held[wanted]].tolist()
            for file, values in zip(wanted, read(wanted), strict=True):
                first = int(self._firsts[file])
                self._values[first : first + int(self._sizes[file])] = values
                self._held[file] = True

    def at(
        self, rows: Rows, files: Rows, further: Sequence[int] = (0,)
    ) -> list[npt.NDArray[Any]]:
        """Return the entries of rows, for each of `further` those so far behind them.

        Parameters
        ----------
        rows, files
            Rows of the source, and the file of each, which was brought.
        further
            How far behind that of the row the entries stand.
        """
        if self._values is None:
            assert not len(rows)
            return [np.empty(0, self._dtype) for _ in further]
        at = rows + self._shifts[files]
        return [self._values[at + step] for step in further]
