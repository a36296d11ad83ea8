"""The form in which X reaches the user: its output, and the options that go with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .checks import first_outside
from .outputs.anndata import AnnDataOutput
from .outputs.base import (
    Empty,
    MatrixLayout,
    NameRow,
    Output,
    Overflow,
    Packing,
    SparseRows,
    StoredRows,
)
from .outputs.csr import CsrOutput
from .outputs.dense import DenseOutput
from .outputs.padded import DirectRows, PaddedOutput

__all__ = [
    "OUTPUTS",
    "DirectRows",
    "Form",
    "OutputName",
    "Overflow",
    "StoredRows",
    "Width",
    "find_output",
    "pack",
    "pack_dense",
    "pack_rows",
]

Width = int | Sequence[int] | Mapping[str, int] | None
OutputName = Literal["csr", "dense", "padded", "anndata"]

# Every output; a new one is a module of `outputs`, and a line here.
OUTPUTS: dict[str, Output] = {
    output.name: output
    for output in (CsrOutput(), DenseOutput(), PaddedOutput(), AnnDataOutput())
}


def find_output(name: str) -> Output:
    """Return the output of a name.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in OUTPUTS:
        *names, last = (f'"{known}"' for known in OUTPUTS)
        raise ValueError(f"output must be {', '.join(names)} or {last}, got {name!r}")
    return OUTPUTS[name]


def _name_row_of_batch(row: int) -> str:
    return f"row {row} of the batch"


@dataclass(frozen=True)
class Form:
    """How the X of a batch is laid out.

    Parameters
    ----------
    output
        Name of the layout: ``"csr"``, ``"dense"`` or ``"padded"``.
    dtype
        Type of the values; the source's own type if None. A value that it cannot hold
        is an error; fractions are cut off by integers, digits rounded off by floats.
        SciPy has no float16, so CSR rows stored as float16 become float32.
    width
        Columns of padded rows.
    overflow
        What happens to a row with more than `width` stored values: ``"error"``, or
        ``"largest"`` to keep its `width` largest values.
    by_name
        Where X is several arrays: the form of each that differs from this one.
    widths
        Where padded rows may have one of several widths: all of them, increasing. A
        minibatch has the smallest that holds its longest row; `width` is the largest.
    """

    output: str
    dtype: np.dtype[Any] | None = None  # Any: the scalar type is a run-time value
    width: int | None = None
    overflow: Overflow = "error"
    by_name: "Mapping[str, Form]" = field(default_factory=dict, hash=False)
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        layout = find_output(self.output)
        if not isinstance(layout, MatrixLayout):
            raise ValueError(
                f"output={self.output!r} is no layout of X; give the one that it has"
            )
        if self.dtype is not None and self.dtype.kind not in "biufc":
            raise ValueError(f"dtype must be a type of numbers, got {self.dtype}")
        if self.overflow not in ("error", "largest"):
            raise ValueError(
                f'overflow must be "error" or "largest", got {self.overflow!r}'
            )
        layout.check(self.dtype, self.width)

    @property
    def layout(self) -> MatrixLayout:
        """The object that lays X out."""
        layout = OUTPUTS[self.output]
        assert isinstance(layout, MatrixLayout)  # see `__post_init__`
        return layout

    def of(self, name: str) -> "Form":
        """Return the form of the array called `name`, where X is several."""
        return self.by_name.get(name, self)

    def value_dtype(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """Return the type of the values made from values of type `stored`."""
        return self.layout.value_dtype(stored) if self.dtype is None else self.dtype

    def row_bytes(self, stored: StoredRows) -> float:
        """Return the mean bytes of a row as it is held."""
        return self.layout.row_bytes(stored, self._packing(stored.dtype))

    def reading_bytes(self, stored: StoredRows) -> float:
        """Return the mean bytes that reading a row takes besides what is held of it."""
        return self.layout.reading_bytes(stored, self._packing(stored.dtype))

    def keeps(self, values: np.dtype[Any], columns: np.dtype[Any]) -> bool:
        """Return whether values and columns of these types need no conversion."""
        return self.value_dtype(values) == values and columns == np.int32

    def direct_rows(
        self, values: np.dtype[Any], columns: np.dtype[Any]
    ) -> DirectRows | None:
        """Return how values and columns of these types are read straight into X.

        None where the layout, or a type that must be converted, does not allow it.
        """
        if not self.keeps(values, columns):
            return None
        direct: DirectRows | None = self.layout.direct_rows(self._packing(values))
        return direct

    def merge(
        self, pieces: Sequence[tuple[Any, npt.NDArray[np.int64]]], empty: Empty
    ) -> Any:  # Any: as pack_rows
        """Return X of all rows of several X, each with the places of its rows."""
        return self.layout.merge(pieces, empty)

    def _packing(
        self,
        stored: np.dtype[Any],
        empty: Empty = np.empty,
        name_row: NameRow = _name_row_of_batch,
    ) -> Packing:
        dtype = self.value_dtype(stored)
        widths = self.widths
        return Packing(dtype, self.width, self.overflow, empty, name_row, widths)


def pack(x: Any, *, form: Form) -> Any:  # Any: as pack_rows
    """Lay a dense array or a CSR matrix out in `form`; anything else stays as it is.

    Several arrays by name each come in their own form.
    """
    if isinstance(x, Mapping) and form.by_name.keys() == x.keys():
        return {name: pack(part, form=form.of(name)) for name, part in x.items()}
    if isinstance(x, np.ndarray):
        return pack_dense(x, form=form)
    if getattr(x, "format", None) != "csr":
        return x
    starts = x.indptr.astype(np.int64, copy=False)
    _check_csr(x.indices, starts, len(x.data), x.shape)
    return pack_rows(x.data, x.indices, starts, n_vars=x.shape[1], form=form)


def _check_csr(
    columns: npt.NDArray[np.integer[Any]],
    starts: npt.NDArray[np.int64],
    n_stored: int,
    shape: tuple[int, int],
) -> None:
    """Raise if the arrays of a CSR matrix that a user made do not go together."""
    if (
        len(starts) != shape[0] + 1
        or starts[0] != 0
        or (starts[1:] < starts[:-1]).any()
        or not starts[-1] <= min(len(columns), n_stored)
    ):
        raise ValueError(
            f"the row pointers (indptr) of a CSR matrix of shape {shape} with"
            f" {n_stored} stored values are wrong"
        )
    wrong = first_outside(columns[: int(starts[-1])], shape[1])
    if wrong is not None:
        raise ValueError(
            f"a CSR matrix of shape {shape} has the column {columns[wrong]}"
        )


def pack_rows(
    values: npt.NDArray[Any],
    columns: npt.NDArray[np.integer[Any]],
    starts: npt.NDArray[np.int64],
    *,
    n_vars: int,
    form: Form,
    empty: Empty = np.empty,
    name_row: NameRow = _name_row_of_batch,
) -> Any:  # Any: which of three types depends on the form
    """Lay sparse rows out in `form`.

    Parameters
    ----------
    values
        Stored values of all rows, one row after the other, shape ``(n_stored,)``.
    columns
        The column of each value, already checked to lie in ``[0, n_vars)``.
    starts
        Where each row starts in `values`, shape ``(n_rows + 1,)``, from 0.
    n_vars
        Number of columns.
    form
        The layout wanted.
    empty
        Gives memory for what must be written anew, as `numpy.empty` does.
    name_row
        Says what a row is called in errors.

    Raises
    ------
    ValueError
        If a row is too long, or a value is outside the form's dtype.

    Returns
    -------
    x
        A CSR array or a dense array ``(n_rows, n_vars)``, or a dict with `indices`
        and `values` ``(n_rows, width)`` and `length` ``(n_rows,)``.
    """
    rows = SparseRows(values, columns, starts, n_vars)
    return form.layout.pack_rows(rows, form._packing(values.dtype, empty, name_row))


def pack_dense(
    rows: npt.NDArray[Any],
    *,
    form: Form,
    empty: Empty = np.empty,
    name_row: NameRow = _name_row_of_batch,
) -> Any:  # Any: as pack_rows
    """Lay dense rows ``(n_rows, n_vars)`` out in `form`; the rest as `pack_rows`."""
    return form.layout.pack_dense(rows, form._packing(rows.dtype, empty, name_row))
