"""The obs columns of SCDL folders: Parquet columns, read whole when first needed."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, MissingNameError, nearest
from ...storage.io.identities import Identity, check_unchanged
from ..arrow.columns import Convert, plain_column
from ..obs.columns import Column, LabelColumn, NumberColumn, Unreadable
from ..obs.text import MemoryText, TextArray
from ..ranged.row_arrays import RowArray
from .features import read_shape, read_table

__all__ = ["ObsTableFile"]

# The name that bionemo-scdl gives the index of an `obs` without columns.
_INDEX_NAME = "obs_feature_id"


class ObsTableFile:
    """The obs columns of one block of a folder.

    Parameters
    ----------
    file
        The Parquet file.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.n_rows, self.names = read_shape(file)
        self._columns: dict[str, Column] = {}

    def columns(
        self, wanted: tuple[str, ...] | bool, start: int, stop: int
    ) -> dict[str, Column]:
        """Return rows start to stop of the columns called `wanted`, or of all."""
        names = self.names if wanted is True else wanted or ()
        for name in names:
            if name not in self.names:
                raise MissingNameError(
                    f'{self.file}: there is no obs column "{name}";'
                    f" {nearest(name, self.names)}"
                )
        return {name: self._column(name, start, stop) for name in names}

    def cell_names(self, start: int, stop: int) -> TextArray:
        """Return the names of cells start to stop."""
        if _INDEX_NAME not in self.names:
            raise MissingNameError(
                f"{self.file}: there are no names of cells: bionemo-scdl keeps the"
                " columns of obs and drops its index; leave out obs_names"
            )
        names = read_table(self.file, [_INDEX_NAME])[_INDEX_NAME]
        return MemoryText(names[start:stop].to_pylist(), _INDEX_NAME, self.file)

    def _column(self, name: str, start: int, stop: int) -> Column:
        if name not in self._columns:
            self._columns[name] = _whole_column(self.file, name)
        whole = self._columns[name]
        if isinstance(whole, Unreadable):
            return whole
        if isinstance(whole, LabelColumn):
            return replace(whole, codes=_Part(whole.codes, start, stop))
        mask = None if whole.mask is None else _Part(whole.mask, start, stop)
        return NumberColumn(_Part(whole.values, start, stop), mask)


def _whole_column(file: str, name: str) -> Column:
    """Return the column of a file as obs has it, after one look at its values."""
    column = read_table(file, [name])[name]

    def make_array(dtype: np.dtype[Any], convert: Convert, called: str) -> _Whole:
        return _Whole(file, name, len(column), dtype, convert, called)

    return plain_column(
        column.type,
        name,
        make_array,
        lambda: column.chunks,
        may_miss=lambda: column.null_count > 0,
    )


class _Whole:
    """A column of a file, decoded when first read in a process and then held.

    Parameters
    ----------
    file, column
        The Parquet file, and the name of the column there.
    n_rows
        Number of rows.
    dtype
        Type of what is read.
    convert
        Turns an array of Arrow into one of NumPy.
    name
        How the array is called.
    """

    def __init__(
        self,
        file: str,
        column: str,
        n_rows: int,
        dtype: np.dtype[Any],
        convert: Convert,
        name: str,
    ) -> None:
        self.file, self.name, self.dtype, self.shape = file, name, dtype, (n_rows,)
        self._column, self._convert = column, convert
        self._identity = Identity.of(file)
        self._held: npt.NDArray[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the entries in ``[start, stop)``."""
        if self._held is None:
            check_unchanged(self.file, self._identity)
            column = read_table(self.file, [self._column])[self._column]
            if len(column) != self.shape[0]:
                raise CorruptFileError(
                    f"{self.file}: {self._column} has {len(column)} rows, expected"
                    f" {self.shape[0]}"
                )
            held = np.empty(self.shape, self.dtype)
            at = 0
            for piece in column.chunks:
                held[at : at + len(piece)] = self._convert(piece)
                at += len(piece)
            self._held = held
        return self._held[start:stop]


@dataclass(frozen=True)
class _Part:
    """The rows of a column that one block of a folder has."""

    whole: RowArray
    start: int
    stop: int

    @property
    def file(self) -> str:
        return self.whole.file

    @property
    def name(self) -> str:
        return f"{self.whole.name}[{self.start}:{self.stop}]"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.stop - self.start,)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.whole.dtype

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        return self.whole.read(self.start + start, self.start + stop)
