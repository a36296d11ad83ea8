"""`.h5mu` files: the modalities of the same cells side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ...storage.isolation import call_isolated
from ..base import Source
from ..combined.chosen_rows import ChosenRowsSource
from ..combined.side_by_side import SideBySideSource
from ..obs.columns import Column, LabelColumn, NumberColumn, Unreadable
from ..obs.joined_columns import join_obs
from ..obs.obs_readers import FileObs
from ..obs.text import TextArray, decode_list
from ..options import OpenOptions
from ..ranged.cell_file import CellFile
from ..ranged.row_arrays import MemoryArray, RowArray
from ..ranged.stored_source import join_files
from ..rows import Rows
from .cell_files import locate_cells
from .data_frames import StoredFrame
from .hdf5_tree import Hdf5Tree, open_checked
from .modalities import (
    check_mudata,
    columns_of_modality,
    row_order,
    without_labels,
)

if TYPE_CHECKING:
    import h5py

__all__ = ["open_h5mu"]


class _File:
    """One file: its modalities, the row of each cell in them, and labels."""

    def __init__(self, root: "h5py.File", file: str, options: OpenOptions) -> None:
        check_mudata(options, root.attrs.get("axis", 0), file)
        external, store = options.allow_external, options.store_of(file)
        tree = Hdf5Tree(root, file, allow_external=external, store=store)
        table = StoredFrame(tree, "obs")
        self.names: TextArray = table.index_text()
        self.n_obs = len(self.names)
        cells = table.names()
        self.modalities: dict[str, CellFile] = {}
        self.at: dict[str, Rows | None] = {}
        known = table.column_names
        own: dict[str, Column] = {}
        for name in _modality_names(tree):
            group = tree.group(f"mod/{name}")
            assert group is not None  # _modality_names lists groups
            modality = Hdf5Tree(group, file, allow_external=external, store=store)
            found = locate_cells(modality, without_labels(options))
            own_cells = StoredFrame(modality, "obs").names()
            given = self._map(tree, name)
            self.at[name] = row_order(given, cells, own_cells, name, file)
            self.modalities[name] = found
            for column in columns_of_modality(options, name):
                if f"{name}:{column}" not in known:
                    read = StoredFrame(modality, "obs").columns((column,), self.n_obs)
                    own[f"{name}:{column}"] = _reorder_column(
                        read[column], self.at[name]
                    )
        wanted = options.obs
        if wanted is not True:
            wanted = tuple(column for column in wanted if column not in own)
        self.columns = {**table.columns(wanted, self.n_obs), **own}

    def _map(self, tree: Hdf5Tree, name: str) -> npt.NDArray[Any] | None:
        """Return each cell's row in a modality, counted from 1; 0 where it has none.

        None where the file has no map.
        """
        found: Any = tree.find(f"obsmap/{name}")  # Any: a data set where is_array
        if not tree.is_array(found):
            return None
        if found.size != self.n_obs or found.dtype.kind not in "iuf":
            raise FileFormatError(
                f"{tree.file}: obsmap/{name} is {found.dtype} of shape"
                f" {found.shape}, expected the number of a row for each of the"
                f" {self.n_obs} cells; make the map anew with mdata.update(), and"
                " write it again"
            )
        return tree.describe_array(found).read()


def open_h5mu(files: Sequence[str], options: OpenOptions) -> SideBySideSource:
    """Return the modalities of ``.h5mu`` files side by side, file after file."""
    read: list[_File] = []
    for file in files:
        if options.isolated:
            check_mudata(options, 0, file)
            what = options.for_one_file()
            read.append(call_isolated(_locate, file, what, file=file))
        else:
            read.append(_locate(file, options))
        if list(read[-1].modalities) != list(read[0].modalities):
            raise FileFormatError(
                f"{files[0]} has the modalities {list(read[0].modalities)} and {file}"
                f" {list(read[-1].modalities)}; open files of the same modalities"
            )
    starts = np.cumsum([0, *(one.n_obs for one in read)], dtype=np.int64)
    own = without_labels(options)
    parts: dict[str, Source] = {}
    for name in read[0].modalities:
        source = join_files([one.modalities[name] for one in read], own)
        at = _join_orders([one.at[name] for one in read], starts)
        parts[name] = source if at is None else ChosenRowsSource(source, at)
    columns: list[Mapping[str, Column]] = [one.columns for one in read]
    table = join_obs(files, columns, options.obs, options.categories)
    names = [one.names for one in read] if options.obs_names else None
    return SideBySideSource(parts, FileObs(table, names, starts))


def _locate(file: str, options: OpenOptions) -> _File:
    """Return where everything lies in a file."""
    external, store = options.allow_external, options.store_of(file)
    with open_checked(file, store, external=external) as root:
        return _File(root, file, options)


def _reorder_column(column: Column, at: Rows | None) -> Column:
    """Return a column of a modality in memory, in the order of the cells."""
    if at is None or isinstance(column, Unreadable):
        return column

    def reorder(array: RowArray) -> MemoryArray:
        return MemoryArray(array.read(0, len(at))[at], array.name, array.file)

    if isinstance(column, LabelColumn):
        return replace(column, codes=reorder(column.codes))
    mask = None if column.mask is None else reorder(column.mask)
    return NumberColumn(reorder(column.values), mask)


def _modality_names(tree: Hdf5Tree) -> list[str]:
    """Return the names of the modalities, in the order MuData keeps."""
    group = tree.group("mod")
    if group is None or not len(group):
        raise FileFormatError(f"{tree.file}: it has no modalities")
    names = [name for name in group if tree.group(f"mod/{name}") is not None]
    order = decode_list(group.attrs.get("mod-order"), f"{tree.file}: mod-order")
    return [name for name in order if name in names] or names


def _join_orders(orders: Sequence[Rows | None], starts: Rows) -> Rows | None:
    if all(order is None for order in orders):
        return None
    sizes = np.diff(starts).tolist()
    return np.concatenate(
        [
            start + (np.arange(size, dtype=np.int64) if order is None else order)
            for start, size, order in zip(starts[:-1], sizes, orders, strict=True)
        ]
    )
