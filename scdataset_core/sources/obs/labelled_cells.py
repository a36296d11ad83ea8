"""What a source knows of its cells' labels: obs columns, names, and rows by label."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...cells import CellInfo
from ...row_sets import WINDOW_ROWS, RowSet
from ..rows import Rows
from .asked_columns import AskedColumn
from .carried import ObsColumns, not_carried, not_labels

if TYPE_CHECKING:
    from ...storage import ReadContext

__all__ = ["LabelledCells"]


class LabelledCells(ABC):
    """Base of :class:`Source`: all that concerns obs, for the cells of any format.

    Attributes
    ----------
    info : CellInfo
        Names of the genes, and the labels of the columns that come as codes.
    reopened : Reopening or None
        Opens the same cells again with other obs columns or genes; set by
        :func:`scdataset_core.open`.
    """

    info: CellInfo
    reopened: Any = None  # Any: a Reopening, which is above this module

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of cells."""

    @property
    def categories(self) -> dict[str, list[Any]]:
        """For each obs column that comes as codes, the label of each code."""
        return self.info.categories

    def decode(self, column: str, codes: npt.ArrayLike) -> npt.NDArray[np.object_]:
        """Return the labels that codes of an obs column stand for.

        Plain indexing, ``categories[column][code]``, gives the last label for -1.

        Parameters
        ----------
        column
            An obs column that comes as codes.
        codes
            Integers: ``batch["obs"][column]``, one code, or a list, of any shape.

        Returns
        -------
        labels
            Objects, of the shape of `codes`; None where a code is -1: missing, or not
            in a saved vocabulary.

        Raises
        ------
        MissingNameError
            If the source does not carry the column.
        TypeError
            If the column is not labels, or `codes` are no integers.
        IndexError
            If there is no label of a code.

        Examples
        --------
        >>> import scdataset_core as scd
        >>> source = scd.open("plates/*.h5ad", obs=["drug"])
        >>> source.decode("drug", [0, 2, -1]).tolist()
        ['Afatinib', 'DMSO', None]
        """
        from .vocabulary import decode

        if column not in self.obs_columns:
            raise not_carried(column, self.obs_columns)
        if column not in self.categories:
            raise not_labels(column, self.obs_dtype(column))
        return decode(codes, self.categories[column], column=column)

    @property
    def obs(self) -> Mapping[str, npt.NDArray[Any]]:
        """The carried obs columns: codes or numbers, each of shape ``(n_cells,)``."""
        return ObsColumns(self.obs_columns, self._read_column)

    @property
    @abstractmethod
    def obs_columns(self) -> tuple[str, ...]:
        """Names of the obs columns that batches carry."""

    @abstractmethod
    def read_obs(
        self, rows: Rows, context: "ReadContext", names: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return obs columns at some rows: by name int32 codes, numbers or booleans.

        Parameters
        ----------
        rows
            Row numbers of this source, int64, non-decreasing.
        context
            Threads and counters for the read.
        names
            Carried columns; all of them by default.
        """

    def read_names(self, rows: Rows) -> npt.NDArray[np.object_] | None:
        """Return the names of the cells at non-decreasing `rows`.

        None, as here, where the source was opened without ``obs_names=True``.
        """
        return None

    def count_missing(self, name: str) -> int | None:
        """Return how many cells lack a value of a column, None if that is not known."""
        return None

    def obs_dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of the values of a carried column."""
        return self._read_column(name, np.empty(0, np.int64)).dtype

    def _read_column(self, name: str, rows: Rows | None = None) -> npt.NDArray[Any]:
        from ...storage.context import default_context

        context = default_context()
        if rows is not None:
            return self.read_obs(rows, context, [name])[name]
        column = np.empty(len(self), self.obs_dtype(name))
        for start in range(0, len(self), WINDOW_ROWS):
            part = np.arange(start, min(start + WINDOW_ROWS, len(self)), dtype=np.int64)
            column[part[0] : part[-1] + 1] = self.read_obs(part, context, [name])[name]
        return column

    def where(
        self,
        rows: RowSet | npt.ArrayLike | None = None,
        /,
        **labels: Any,  # Any: a label, labels, a range or None
    ) -> RowSet:
        """Return the rows of the cells that meet all conditions.

        Parameters
        ----------
        rows
            Only these: a RowSet, booleans of shape ``(n_cells,)``, or integers.
        labels
            For obs columns what their value must be. The source need not carry them:
            they are read when asked for.

            - a label, or a number: ``drug="DMSO"``;
            - any of several: a list, set or array of these, ``None`` among them for
              a missing value;
            - a tuple, ``(low, high)``: numbers in this range, both ends included, and
              ``None`` for no limit. Labels have ranges if they are numbers or ordered;
              ``(None, None)`` is any value that is not missing, of any column;
            - ``None``: no value. Labels that a saved ``categories=`` leaves out are
              missing, too.

        Returns
        -------
        rows
            Of the cells that meet all conditions; maybe none. ``~rows`` are the others.

        Raises
        ------
        MissingNameError
            If there is no such column, or no such label in it; it names the nearest.
        TypeError
            If a condition does not suit the values of its column.
        ValueError
            If a mask or rows do not fit the source, or a range ends below its start.

        Examples
        --------
        >>> import scdataset_core as scd
        >>> source = scd.open("plates/*.h5ad")
        >>> rows = source.where(drug=["DMSO", "Afatinib"], total_counts=(300, None))
        >>> 0 < len(rows) < len(source)
        True
        """
        from .filters import find_rows

        if isinstance(rows, Mapping):
            raise TypeError("conditions are given by keyword: where(**conditions)")
        if isinstance(rows, str) or callable(rows):
            raise ValueError(
                f"rows must be a 1-D array of integers or booleans, got {rows!r};"
                " conditions are given by keyword: where(drug='DMSO')"
            )
        given = None if rows is None else RowSet.of(len(self), rows)
        return find_rows(len(self), given, self.find_columns(labels), labels)

    def find_columns(self, names: Iterable[str]) -> dict[str, AskedColumn]:
        """Return obs columns by name, also those that are not carried.

        Raises
        ------
        MissingNameError
            If there is no such column; it names the nearest.
        """
        wanted = list(names)
        others = [name for name in wanted if name not in self.obs_columns]
        elsewhere = self.carrying(others)
        return {
            name: (elsewhere if name in others else self)._column(name)
            for name in wanted
        }

    def carrying(self, names: Sequence[str]) -> "LabelledCells":
        """Return these cells with some obs columns, carried or not.

        Raises
        ------
        MissingNameError
            If there is no such column; it names the nearest.
        """
        if all(name in self.obs_columns for name in names):
            return self
        found = self.find_carrier(names)
        if found is None:
            unknown = [name for name in names if name not in self.obs_columns]
            raise not_carried(unknown[0], self.obs_columns)
        return found

    def find_carrier(self, names: Sequence[str]) -> "LabelledCells | None":
        """Return these cells with other columns, None where they cannot be read."""
        found: LabelledCells | None = None
        if self.reopened is not None:
            found = self.reopened(self, names)
        return found

    def _column(self, name: str) -> AskedColumn:
        return AskedColumn(
            name,
            labels=self.categories.get(name),
            is_ordered=name in self.info.ordered,
            dtype=self.obs_dtype(name),
            read=partial(self._read_column, name),
        )
