"""One obs column over all files of a source: labels, or numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..ranged.row_arrays import Check, KeptArrays, RowArray, windows
from .columns import LabelColumn, NumberColumn, narrow_codes

__all__ = ["JoinedLabels", "JoinedNumbers"]


@dataclass(frozen=True)
class JoinedLabels:
    """A column of labels.

    Parameters
    ----------
    columns, code_maps
        For each file the column, and where its codes lead: the last entry is -1, for
        those that are missing.
    n_labels
        Number of labels over all files.
    """

    columns: Sequence[LabelColumn]
    code_maps: Sequence[npt.NDArray[np.int32]]
    n_labels: int

    dtype = np.dtype(np.int32)

    @property
    def narrow_dtype(self) -> np.dtype[Any]:
        """The narrowest unsigned type that holds every code and one more."""
        return np.min_scalar_type(self.n_labels)

    def arrays_of(self, file: int) -> "list[tuple[RowArray, Check]]":
        """Return what is read from a file, and what checks it."""
        column = self.columns[file]
        return [(column.codes, partial(narrow_codes, column=column))]

    def join(
        self, file: int, parts: Sequence[npt.NDArray[Any]], out: npt.NDArray[Any]
    ) -> None:
        """Write where codes of a file lead."""
        _map_codes(self.code_maps[file], parts[0], out)

    def count_missing(self, kept: KeptArrays) -> int | None:
        """Return how many cells have no label; None unless all codes are in memory."""
        if not isinstance(self.columns, list | tuple):
            return None  # files of an index, which this would touch
        count = 0
        for column, code_map in zip(self.columns, self.code_maps, strict=True):
            codes = kept.held(column.codes)
            if codes is None:
                return None
            for start, stop in windows(len(codes)):
                mapped = _map_codes(code_map, codes[start:stop])
                count += int(np.count_nonzero(mapped < 0))
        return count


@dataclass(frozen=True)
class JoinedNumbers:
    """A column of numbers or booleans: that of each file, and the type of all."""

    columns: Sequence[NumberColumn]
    dtype: np.dtype[Any]

    @property
    def narrow_dtype(self) -> np.dtype[Any]:
        """The type itself."""
        return self.dtype

    def arrays_of(self, file: int) -> "list[tuple[RowArray, Check]]":
        """Return what is read from a file, and what checks it."""
        column = self.columns[file]
        masked = self.dtype.kind == "f"  # else no number is missing in any file
        arrays = column.arrays if masked else (column.values,)
        return [(array, _unchecked) for array in arrays]

    def join(
        self, file: int, parts: Sequence[npt.NDArray[Any]], out: npt.NDArray[Any]
    ) -> None:
        """Write numbers of a file, NaN where they are masked."""
        values, *masks = parts
        out[...] = values
        if masks:
            out[masks[0].astype(bool, copy=False)] = np.nan

    def count_missing(self, kept: KeptArrays) -> int | None:
        """Return how many cells have no number; None unless all are in memory."""
        if not isinstance(self.columns, list | tuple):
            return None
        count = 0
        for column in self.columns:
            array = column.values if column.mask is None else column.mask
            values = kept.held(array)
            if values is None:
                return None
            gone = values.astype(bool) if column.mask is not None else values != values
            count += int(np.count_nonzero(gone))
        return count


def _map_codes(
    code_map: npt.NDArray[np.int32],
    codes: npt.NDArray[Any],
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Return where a file's own codes lead; a missing one to the last entry.

    It is -1 among signed codes, and the largest number among unsigned ones.
    """
    mode: Literal["wrap", "clip"] = "wrap" if codes.dtype.kind == "i" else "clip"
    mapped: npt.NDArray[Any] = np.take(code_map, codes, out=out, mode=mode)
    return mapped


def _unchecked(values: npt.NDArray[Any], row: int) -> npt.NDArray[Any]:
    return values
