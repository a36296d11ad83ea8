"""The obs columns of SCDL folders: Parquet, read whole when first needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, MissingNameError, nearest
from ...storage.io.open_files import Identity, check_unchanged
from ..obs.columns import MAX_LABELS, Column, LabelColumn, NumberColumn, Unreadable
from ..obs.text import MemoryText, TextArray
from .features import read_shape, read_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ObsTableFile"]

# What bionemo-scdl calls the index of `obs` where that has no columns.
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
        self._columns: dict[str, _Whole | Unreadable] = {}

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
            self._columns[name] = _described(self.file, name)
        whole = self._columns[name]
        if isinstance(whole, Unreadable):
            return whole
        values = _Part(whole, start, stop)
        if whole.labels is not None:
            return LabelColumn(values, whole.labels)
        mask = _Part(whole, start, stop, of_mask=True) if whole.has_missing else None
        return NumberColumn(values, mask)


class _Whole:
    """One column, decoded when first read in a process and then held.

    Parameters
    ----------
    file, name
        Where it lies.
    n_rows
        How long it is.
    dtype
        Type of its numbers, or of its codes.
    labels
        The label of each code; None for numbers.
    has_missing
        Whether any is missing.
    """

    def __init__(
        self,
        file: str,
        name: str,
        n_rows: int,
        dtype: np.dtype[Any],
        *,
        labels: Sequence[str] | None = None,
        has_missing: bool = False,
    ) -> None:
        self.file, self.name, self.n_rows, self.dtype = file, name, n_rows, dtype
        self.labels, self.has_missing = labels, has_missing
        self._identity = Identity.of(file)
        self._held: tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def read(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return numbers or codes, and where they are missing."""
        if self._held is None:
            check_unchanged(self.file, self._identity)
            column = read_table(self.file, [self.name])[self.name]
            if len(column) != self.n_rows:
                raise CorruptFileError(
                    f"{self.file}: {self.name} has {len(column)} rows, expected"
                    f" {self.n_rows}"
                )
            self._held = self._decoded(column)
        return self._held

    def _decoded(
        self, column: "pa.ChunkedArray"
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        if self.labels is not None:
            import pyarrow as pa
            import pyarrow.compute as pc

            known = pa.array(self.labels, column.type)
            codes = pc.index_in(column, value_set=known).fill_null(-1)
            return codes.to_numpy().astype(self.dtype), None
        missing = column.is_null().to_numpy() if self.has_missing else None
        filled = column.fill_null(False if self.dtype.kind == "b" else 0)
        return filled.to_numpy().astype(self.dtype, copy=False), missing


@dataclass(frozen=True)
class _Part:
    """Rows of a column, or of where it is missing."""

    whole: _Whole
    start: int
    stop: int
    of_mask: bool = False

    @property
    def file(self) -> str:
        return self.whole.file

    @property
    def name(self) -> str:
        what = " (missing)" if self.of_mask else ""
        return f"{self.whole.name}[{self.start}:{self.stop}]{what}"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.stop - self.start,)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.bool_) if self.of_mask else self.whole.dtype

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        values, missing = self.whole.read()
        found = missing if self.of_mask else values
        assert found is not None
        return found[self.start + start : self.start + stop]


def _described(file: str, name: str) -> _Whole | Unreadable:
    """Return a column as obs has it, after one look at its values."""
    import pyarrow.compute as pc
    import pyarrow.types as pt

    column = read_table(file, [name])[name]
    kind = column.type
    if pt.is_string(kind) or pt.is_large_string(kind):
        labels = sorted(x for x in pc.unique(column).to_pylist() if x is not None)
        if len(labels) > MAX_LABELS:
            return Unreadable(
                f"it holds more than {MAX_LABELS} distinct strings: names, not labels"
            )
        dtype = np.min_scalar_type(-max(1, len(labels)))
        return _Whole(file, name, len(column), dtype, labels=labels)
    if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind):
        dtype = np.dtype(kind.to_pandas_dtype())
        has_missing = column.null_count > 0
        return _Whole(file, name, len(column), dtype, has_missing=has_missing)
    return Unreadable(f"it is {kind}")
