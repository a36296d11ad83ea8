"""Padded output: X is a dict of `indices`, `values` and `length`, all of one shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import (
    Empty,
    MatrixLayout,
    NameRow,
    Packing,
    SparseRows,
    StoredRows,
    check_values,
    make_zeros,
    put_at_places,
)

__all__ = ["DirectRows", "PaddedOutput"]


class PaddedOutput(MatrixLayout):
    """``output="padded"``: `indices` and `values` ``(n_rows, width)``, and `length`."""

    name = "padded"
    takes_width = True

    def check(self, packing_dtype: np.dtype[Any] | None, width: int | None) -> None:
        """Raise where there is no width."""
        if width is None or width < 1:
            raise ValueError(f"width must be at least 1, got {width}")

    def pack_rows(self, rows: SparseRows, packing: Packing) -> Any:
        """Return sparse rows with index 0 and value 0 after them."""
        check_values(rows, packing)
        assert packing.width is not None  # see `check`
        n_rows = len(rows.starts) - 1
        lengths = np.diff(rows.starts)
        _fit(lengths, packing)
        width = packing.width
        if packing.widths:
            width = int(_choose_width(packing.widths, lengths.max(initial=0)))
        indices = make_zeros((n_rows, width), np.dtype(np.int32), packing.empty)
        values = make_zeros((n_rows, width), packing.dtype, packing.empty)
        for row in range(n_rows):
            start, stop = int(rows.starts[row]), int(rows.starts[row + 1])
            its_columns, its_values = rows.columns[start:stop], rows.values[start:stop]
            if stop - start > width:
                kept = _find_largest(its_values, width)
                its_columns, its_values = its_columns[kept], its_values[kept]
            indices[row, : len(its_columns)] = its_columns
            values[row, : len(its_values)] = its_values
        length = np.minimum(lengths, width).astype(np.int32)
        return {"indices": indices, "values": values, "length": length}

    def merge(
        self, pieces: Sequence[tuple[Any, npt.NDArray[np.int64]]], empty: Empty
    ) -> Any:
        """Return padded rows of several, each array for itself."""
        width = max(x["values"].shape[1] for x, _ in pieces)
        pieces = [(_widen(x, width), places) for x, places in pieces]
        return {
            name: put_at_places([(x[name], places) for x, places in pieces], empty)
            for name in pieces[0][0]
        }

    def fills(self, x: Any) -> bool:
        """Whether X is still padded rows, or several arrays of them by name."""
        return isinstance(x, dict)

    def fill(self, x: Any, n_missing: int) -> Any:
        """Return padded rows with rows of length 0 after them; of several, of each."""
        if isinstance(x, Mapping):
            return {name: self.fill(part, n_missing) for name, part in x.items()}
        return np.concatenate([x, np.zeros((n_missing, *x.shape[1:]), x.dtype)])

    def narrow(self, x: Any, widths: tuple[int, ...]) -> Any:
        """Return padded rows in the smallest of `widths` that holds them.

        X that a hook has made another thing of, or of another width, stays as it is.
        """
        if not isinstance(x, dict) or x.keys() != {"indices", "values", "length"}:
            return x
        width = int(_choose_width(widths, x["length"].max(initial=0)))
        now = x["values"].shape[1]
        if now not in widths or now <= width:
            return x
        parts = {name: x[name][:, :width].copy() for name in ("indices", "values")}
        return {**x, **parts}

    def row_bytes(self, stored: StoredRows, packing: Packing) -> float:
        """Return the bytes of a row: `width` values and int32 columns."""
        assert packing.width is not None  # see `check`
        return max(1.0, float(packing.width) * (packing.dtype.itemsize + 4))

    def direct_rows(self, packing: Packing) -> "DirectRows":
        """Return how values and int32 columns are read straight into X."""
        return DirectRows(packing)


class DirectRows:
    """Padded rows whose values and columns are read straight into their places.

    Parameters
    ----------
    packing
        The width, and what happens to longer rows.
    """

    def __init__(self, packing: Packing) -> None:
        assert packing.width is not None  # see `PaddedOutput.check`
        self._widths = packing.widths or (packing.width,)
        self._packing = packing

    def choose_widths(
        self, longest: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.integer[Any]]:
        """Return the width of each minibatch, given the length of its longest row."""
        return _choose_width(self._widths, longest)

    def fit(self, lengths: npt.NDArray[np.int64], name_row: NameRow) -> bool:
        """Return whether all rows fit; raise if a longer one is an error."""
        return _fit(lengths, self._packing, name_row)

    def finish(
        self,
        values: npt.NDArray[Any],
        columns: npt.NDArray[Any],
        lengths: npt.NDArray[np.int64],
        width: int,
    ) -> dict[str, npt.NDArray[Any]]:
        """Return padded rows of the memory that was read into, cleared after each."""
        values = values.reshape(-1, width)
        columns = columns.reshape(-1, width)
        for row, length in enumerate(lengths.tolist()):
            values[row, length:] = 0
            columns[row, length:] = 0
        length_of = lengths.astype(np.int32)
        return {"indices": columns, "values": values, "length": length_of}


def _choose_width(
    widths: tuple[int, ...], longest: npt.NDArray[np.int64]
) -> npt.NDArray[np.integer[Any]]:
    """Return the smallest width that holds each length, the largest where none does."""
    at = np.searchsorted(widths, longest)
    return np.asarray(widths)[np.minimum(at, len(widths) - 1)]


def _widen(x: Mapping[str, Any], width: int) -> Mapping[str, Any]:
    """Return padded rows with more columns of padding."""
    more = width - x["values"].shape[1]
    if not more:
        return x
    wide = {
        name: np.pad(x[name], ((0, 0), (0, more))) for name in ("indices", "values")
    }
    return {**x, **wide}


def _fit(
    lengths: npt.NDArray[np.int64], packing: Packing, name_row: NameRow | None = None
) -> bool:
    assert packing.width is not None  # see `PaddedOutput.check`
    if not (lengths > packing.width).any():
        return True
    if packing.overflow == "error":
        worst = int(np.argmax(lengths))
        row = (name_row or packing.name_row)(worst)
        raise ValueError(
            f"{row} has {lengths[worst]} stored values and width is {packing.width};"
            ' give a larger width, or overflow="largest" to keep the largest'
        )
    return False


def _find_largest(values: npt.NDArray[Any], width: int) -> npt.NDArray[np.intp]:
    """Return the sorted positions of the `width` largest values; first of equals."""
    if values.dtype.kind == "f" and np.isnan(values).any():
        order = np.argsort(-values.astype(np.float64), kind="stable")
        return np.sort(order[:width])
    least = np.partition(values, len(values) - width)[len(values) - width]
    kept = values > least
    equal = np.flatnonzero(values == least)
    kept[equal[: width - np.count_nonzero(kept)]] = True
    return np.flatnonzero(kept)
