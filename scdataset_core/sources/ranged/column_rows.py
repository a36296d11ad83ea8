"""Rows of a matrix that is stored column by column, as a table of numbers is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..obs.columns import NumberColumn

__all__ = ["ColumnRows"]


@dataclass(frozen=True)
class ColumnRows:
    """Reads rows of a table of numbers, in place of a format's library.

    Parameters
    ----------
    columns
        The columns of the table.
    dtype
        Type of the rows.
    """

    columns: Sequence[NumberColumn]
    dtype: np.dtype[Any]

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``, with NaN where a value is missing."""
        rows = np.empty((stop - start, len(self.columns)), self.dtype)
        for at, column in enumerate(self.columns):
            rows[:, at] = column.values.read(start, stop)
            if column.mask is not None:
                rows[column.mask.read(start, stop).astype(bool), at] = np.nan
        return rows
