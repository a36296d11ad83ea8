"""Names of cells, compared with others without all of them in memory as strings."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..obs.text import TextArray
from ..ranged.row_arrays import windows
from ..rows import Rows

__all__ = ["CellNames"]

# Names that are strings at a time, some 70 bytes each.
_PIECE_ROWS = 1 << 20


class CellNames:
    """The names of the cells of a modality, or of all modalities together.

    Parameters
    ----------
    text
        The names.
    """

    def __init__(self, text: TextArray) -> None:
        self._text = text

    def __len__(self) -> int:
        return len(self._text)

    def at(self, row: int) -> str:
        """Return one name."""
        return self._read(row, row + 1)[0]

    def pieces(self) -> Iterator[list[str]]:
        """Yield all names in order, a piece at a time."""
        for start, stop in windows(len(self), _PIECE_ROWS):
            yield self._read(start, stop)

    def first_difference(self, other: "CellNames", at: Rows | None) -> int | None:
        """Return the first row whose name is not that of the row in `other`.

        Parameters
        ----------
        other
            As many names.
        at
            For each name the row of it in `other`; None: the same row.

        Returns
        -------
        row
            None if all names agree.
        """
        theirs = other._hashes if at is None else other._hashes[at]
        different = self._hashes != theirs
        return int(np.argmax(different)) if different.any() else None

    def find_in(self, other: "CellNames") -> tuple[Rows, bool]:
        """Return the row of each name in `other`, -1 where it is not there.

        Returns
        -------
        rows, is_unique
            Shape ``(n,)``, and whether no name that was found repeats in either.
        """
        row_of: dict[str, int] = {}
        n_seen = 0
        for piece in other.pieces():
            row_of.update(zip(piece, range(n_seen, n_seen + len(piece)), strict=True))
            n_seen += len(piece)
        found = (row_of.get(name, -1) for piece in self.pieces() for name in piece)
        rows = np.fromiter(found, np.int64, len(self))
        there = rows[rows >= 0]
        is_unique = len(row_of) == len(other) and len(np.unique(there)) == len(there)
        return rows, is_unique

    def _read(self, start: int, stop: int) -> list[str]:
        # pandas gives a missing name as "nan" too.
        read = self._text.read(start, stop)
        return ["nan" if name is None else name for name in read]

    @cached_property
    def _hashes(self) -> npt.NDArray[np.int64]:
        """Python's hash of each name: one in 2^64 pairs of different names agrees."""
        out = np.empty(len(self), np.int64)
        start = 0
        for piece in self.pieces():
            out[start : start + len(piece)] = [hash(name) for name in piece]
            start += len(piece)
        return out
