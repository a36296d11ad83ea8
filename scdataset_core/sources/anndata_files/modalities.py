"""Checks that the modalities of a MuData, in a file or in memory, fit together."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ..options import OpenOptions
from ..rows import Rows
from .cell_names import CellNames

__all__ = [
    "check_mudata",
    "columns_of_modality",
    "order_of_rows",
    "row_order",
    "without_labels",
]


def check_mudata(options: OpenOptions, axis: Any, where: str) -> None:
    """Raise if `genes` is asked for, or the modalities share genes, not cells."""
    if options.genes is not None:
        raise ValueError(
            "genes goes with one matrix, and MuData has several; open modalities one"
            " by one, each with its genes=, as open(mdata.mod[name], ...) or"
            " open(h5py.File(path)[f'mod/{name}'], ...), and join them with"
            " MultiIndexable"
        )
    if np.ndim(axis) or axis != 0:
        raise FileFormatError(
            f"{where}: its modalities share genes (axis={axis}), expected cells"
        )


def without_labels(options: OpenOptions) -> OpenOptions:
    """Return the options for one modality: labels are read for all at once."""
    return replace(options, obs=(), categories=None, obs_names=False)


def columns_of_modality(options: OpenOptions, name: str) -> list[str]:
    """Return the columns of one modality that were asked for as ``NAME:column``."""
    wanted = () if options.obs is True else options.obs
    prefix = f"{name}:"
    return [c.removeprefix(prefix) for c in wanted if c.startswith(prefix)]


def row_order(
    given: npt.NDArray[Any] | None,
    cells: CellNames,
    own: CellNames,
    name: str,
    where: str,
) -> Rows | None:
    """Return each cell's row in a modality; None if the order is the same.

    Names are right where they contradict the map: MuData leaves it as it was when one
    modality is replaced, and makes it anew when it reads the file.

    Parameters
    ----------
    given
        The map of MuData, which counts from 1, with 0 for a cell that the modality
        lacks; None: there is none.
    cells
        Names of the cells.
    own
        Names of the modality's rows.
    name, where
        How errors call the modality and the data.
    """
    stale = None
    if given is not None:
        mapped = _rows_of_map(given, name, where)
        try:
            at = order_of_rows(mapped, len(own), name, where)
        except FileFormatError as error:
            stale = error
        else:
            cell = cells.first_difference(own, at)
            if cell is None:
                return at
            row = cell if at is None else int(at[cell])
            stale = _stale_error(where, name, cell, (cells.at(cell), own.at(row)))
    by_name, is_unique = cells.find_in(own)
    if stale is not None and not is_unique:
        raise stale
    return order_of_rows(by_name, len(own), name, where)


def _rows_of_map(given: npt.NDArray[Any], name: str, where: str) -> Rows:
    """Return the rows that a map gives, from 0; -1 where there is none."""
    if given.dtype.kind not in "iu" and np.any(given != given.astype(np.int64)):
        raise FileFormatError(
            f'{where}: obsmap of the modality "{name}" is {given.dtype}, expected the'
            " number of a row for each cell"
        )
    return given.reshape(-1).astype(np.int64) - 1


def order_of_rows(at: Rows, n_rows: int, name: str, where: str) -> Rows | None:
    """Return the rows of a modality, checked; None if they are in order.

    Parameters
    ----------
    at
        The row of each cell; -1 where the modality lacks it.
    n_rows
        Rows of the modality.
    name, where
        How errors call the modality and the data.
    """
    if len(at) == n_rows and np.array_equal(at, np.arange(n_rows)):
        return None
    missing = int(np.count_nonzero(at == -1))
    if missing or len(at) != n_rows:
        raise _differ_error(where, name, n_rows, len(at), missing)
    _check_rows(at, name, where)
    return at


def _check_rows(at: Rows, name: str, where: str) -> None:
    """Raise unless each row of a modality belongs to exactly one cell."""
    wrong = np.flatnonzero((at < 0) | (at >= len(at)))
    what = "which it has not"
    if not len(wrong):
        order = np.argsort(at, kind="stable")
        wrong = np.sort(order[1:][at[order[1:]] == at[order[:-1]]])
        what = "which another cell has too"
    if len(wrong):
        cell = int(wrong[0])
        raise FileFormatError(
            f'{where}: obsmap gives cell {cell} row {at[cell]} of the modality "{name}"'
            f" ({len(at)} rows), {what} ({len(wrong)} such cells); make the map anew"
            " with mdata.update(), and write it again"
        )


def _stale_error(
    where: str, name: str, cell: int, names: tuple[str, str]
) -> FileFormatError:
    return FileFormatError(
        f"{where}: obsmap gives cell {cell}, {names[0]}, the row of {names[1]} in"
        f' the modality "{name}", and names of cells repeat, so that they do not tell'
        " which rows belong together; make the map anew with mdata.update(), and write"
        " it again"
    )


def _differ_error(
    where: str, name: str, n_rows: int, n_obs: int, missing: int = 0
) -> FileFormatError:
    lacks = f", and lacks {missing} of them" if missing else ""
    return FileFormatError(
        f'{where}: the modality "{name}" has {n_rows} cells and all together {n_obs}'
        f"{lacks}; modalities side by side must have the same cells: keep those that"
        " all have with mudata.pp.intersect_obs(mdata), and write it again"
    )
