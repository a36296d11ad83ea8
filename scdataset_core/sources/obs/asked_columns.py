"""An obs column that is asked for by name, whether batches carry it or not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MissingNameError, nearest
from ...row_sets import WINDOW_ROWS
from ..rows import Rows

__all__ = ["AskedColumn"]


@dataclass(frozen=True)
class AskedColumn:
    """One obs column of a source.

    Parameters
    ----------
    name
        Its name.
    labels
        The label of each code; None where the column holds numbers or booleans.
    is_ordered
        Whether the order of the labels has a meaning.
    dtype
        Type of its values.
    read
        Returns the values at non-decreasing rows.
    """

    name: str
    labels: Sequence[Any] | None  # Any: str, int, float or bool
    is_ordered: bool
    dtype: np.dtype[Any]
    read: Callable[[Rows], npt.NDArray[Any]]

    def read_range(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the values of rows `start` up to `stop`."""
        return self.read(np.arange(start, stop, dtype=np.int64))

    def windows(self, n_rows: int) -> Iterator[npt.NDArray[Any]]:
        """Yield all values, those of a window of rows at a time."""
        for start in range(0, n_rows, WINDOW_ROWS):
            yield self.read_range(start, min(start + WINDOW_ROWS, n_rows))

    def code_of(self, label: Any) -> int:
        """Return the code of a label.

        Raises
        ------
        MissingNameError
            If no label of the column is called so.
        TypeError
            If it is nothing that a label can be.
        """
        assert self.labels is not None  # callers ask of columns of labels only
        try:
            return self._codes[label]
        except KeyError:
            same = [known for known in self.labels if str(known) == str(label)]
            hint = (
                f"its labels are of type {type(same[0]).__name__}: give {same[0]!r}"
                if same
                else nearest(str(label), map(str, self.labels))
            )
            raise MissingNameError(
                f'obs column "{self.name}" has no label {label!r}; {hint}'
            ) from None
        except TypeError as error:  # it cannot be hashed
            raise TypeError(
                f'a label of obs column "{self.name}" must be text or a number, got'
                f" {label!r}"
            ) from error

    @cached_property
    def _codes(self) -> dict[Any, int]:
        return {label: code for code, label in enumerate(self.labels or ())}
