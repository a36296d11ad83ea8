"""MuData: the modalities of the same cells side by side, in files and in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ..anndata_objects.anndata_object import columns_of, open_anndata, text_of_names
from ..base import Source
from ..combined.chosen_rows import PickedSource
from ..combined.side_by_side import AlignedSource
from ..obs.cell_labels import TableTags
from ..obs.columns import Column, LabelColumn, NumberColumn, Unreadable
from ..obs.joined_columns import join_obs
from ..obs.text import TextArray, several_texts
from ..options import OpenOptions
from ..ranged.cell_file import CellFile
from ..ranged.row_arrays import MemoryArray, RowArray, Rows
from .data_frames import Table
from .h5ad import join_files, read_layout
from .hdf5_tree import Tree, is_hdf5, opened

if TYPE_CHECKING:
    import h5py

__all__ = ["is_mudata", "open_h5mu", "open_mudata", "recognise"]


def recognise(path: str) -> bool:
    """Return whether a file is HDF5 of MuData's layout."""
    import h5py

    if not is_hdf5(path):
        return False
    with opened(path) as root:
        link = root.get("mod", getlink=True)
        # Links are followed, or refused, when it is opened.
        return isinstance(link, h5py.HardLink) or (link is not None and "X" not in root)


def is_mudata(obj: object) -> bool:
    """Return whether an object is a `MuData`."""
    from mudata import MuData

    return isinstance(obj, MuData)


def open_mudata(mdata: Any, options: OpenOptions) -> AlignedSource:
    """Return the modalities of a `MuData` side by side."""
    _check(options, getattr(mdata, "axis", 0), "the MuData")
    own = _without_labels(options)
    parts: dict[str, Source] = {}
    frame = mdata.obs
    for name, adata in mdata.mod.items():
        given = mdata.obsmap[name]
        if mdata.obs_names.is_unique and adata.obs_names.is_unique:
            # By name: the map is stale where a modality was changed since update().
            given = adata.obs_names.get_indexer(mdata.obs_names) + 1
        at = _order(np.asarray(given), adata.n_obs, name, "the MuData")
        source = open_anndata(adata, own)
        parts[name] = source if at is None else PickedSource(source, at)
        rows = np.arange(adata.n_obs) if at is None else at
        for column in _of_modality(options, name):
            if f"{name}:{column}" not in frame and column in adata.obs:
                values = adata.obs[column].iloc[rows].set_axis(frame.index)
                frame = frame.assign(**{f"{name}:{column}": values})
    names = text_of_names(mdata.obs_names) if options.obs_names else None
    columns = [columns_of(frame, options)]
    table = join_obs(["the MuData"], columns, options.obs, options.categories)
    starts = np.array([0, mdata.n_obs], np.int64)
    return AlignedSource(
        parts, TableTags(table, None if names is None else [names], starts)
    )


class _File:
    """One file: its modalities, which row of each a cell has, and its labels."""

    def __init__(self, root: "h5py.File", file: str, options: OpenOptions) -> None:
        _check(options, root.attrs.get("axis", 0), file)
        tree = Tree(root, file, allow_external=options.allow_external)
        table = Table(tree, "obs")
        self.names: TextArray = table.index_text()
        self.n_obs = len(self.names)
        self.layouts: dict[str, CellFile] = {}
        self.at: dict[str, Rows | None] = {}
        known = table.column_names
        own: dict[str, Column] = {}
        for name in _modalities(tree):
            group = tree.group(f"mod/{name}")
            assert group is not None  # _modalities lists groups
            part = Tree(group, file, allow_external=options.allow_external)
            layout = read_layout(part, _without_labels(options))
            given = self._map(tree, part, name)
            self.at[name] = _order(given, layout.x.n_obs, name, file)
            self.layouts[name] = layout
            for column in _of_modality(options, name):
                if f"{name}:{column}" not in known:
                    read = Table(part, "obs").columns((column,), self.n_obs)
                    own[f"{name}:{column}"] = _ordered(read[column], self.at[name])
        wanted = options.obs
        if wanted is not True:
            wanted = tuple(column for column in wanted if column not in own)
        self.columns = {**table.columns(wanted, self.n_obs), **own}

    def _map(self, tree: Tree, part: Tree, name: str) -> npt.NDArray[Any]:
        """Return the row of a modality for each cell, counted from 1; 0 for none."""
        found: Any = tree.find(f"obsmap/{name}")  # Any: a data set where is_array
        if tree.is_array(found):
            return np.asarray(found[()])
        own = {cell: i for i, cell in enumerate(Table(part, "obs").index().tolist(), 1)}
        cells = self.names.read(0, self.n_obs)
        return np.array([own.get(cell, 0) for cell in cells], np.int64)


def open_h5mu(files: Sequence[str], options: OpenOptions) -> AlignedSource:
    """Return the modalities of ``.h5mu`` files side by side, files in their order."""
    read: list[_File] = []
    for file in files:
        with opened(file) as root:
            read.append(_File(root, file, options))
        if list(read[-1].layouts) != list(read[0].layouts):
            raise FileFormatError(
                f"{files[0]} has the modalities {list(read[0].layouts)} and {file}"
                f" {list(read[-1].layouts)}; open files of the same modalities"
            )
    starts = np.cumsum([0, *(part.n_obs for part in read)])
    own = _without_labels(options)
    parts: dict[str, Source] = {}
    for name in read[0].layouts:
        source = join_files([part.layouts[name] for part in read], own)
        at = _joined_order([part.at[name] for part in read], starts)
        parts[name] = source if at is None else PickedSource(source, at)
    columns: list[Mapping[str, Column]] = [part.columns for part in read]
    table = join_obs(files, columns, options.obs, options.categories)
    names = [part.names for part in read] if options.obs_names else None
    return AlignedSource(parts, TableTags(table, names, starts))


def _ordered(column: Column, at: Rows | None) -> Column:
    """Return a column of a modality in the order of the cells, in memory."""
    if at is None or isinstance(column, Unreadable):
        return column

    def taken(array: RowArray) -> MemoryArray:
        return MemoryArray(array.read(0, len(at))[at], array.name, array.file)

    if isinstance(column, LabelColumn):
        return replace(column, codes=taken(column.codes))
    mask = None if column.mask is None else taken(column.mask)
    return NumberColumn(taken(column.values), mask)


def _modalities(tree: Tree) -> list[str]:
    """Return the names of the modalities, in the order MuData keeps."""
    group = tree.group("mod")
    if group is None or not len(group):
        raise FileFormatError(f"{tree.file}: it has no modalities")
    names = [name for name in group if tree.group(f"mod/{name}") is not None]
    order = several_texts(group.attrs.get("mod-order"), f"{tree.file}: mod-order")
    return [name for name in order if name in names] or names


def _check(options: OpenOptions, axis: int, where: str) -> None:
    if options.genes is not None:
        raise ValueError(
            "genes goes with one matrix, and MuData has several; open modalities one"
            " by one, each with its genes=, as open(mdata.mod[name], ...) or"
            " open(h5py.File(path)[f'mod/{name}'], ...), and join them with"
            " MultiIndexable"
        )
    if axis != 0:
        raise FileFormatError(
            f"{where}: its modalities share genes (axis={axis}), expected cells"
        )


def _without_labels(options: OpenOptions) -> OpenOptions:
    return replace(options, obs=(), categories=None, obs_names=False)


def _of_modality(options: OpenOptions, name: str) -> list[str]:
    """Return the columns asked for as ``NAME:column``, without the name."""
    wanted = () if options.obs is True else options.obs
    prefix = f"{name}:"
    return [c.removeprefix(prefix) for c in wanted if c.startswith(prefix)]


def _order(given: npt.NDArray[Any], n_rows: int, name: str, where: str) -> Rows | None:
    """Return the row of the modality for each cell; None where it is the same.

    `given` counts from 1, with 0 where the modality has not the cell.
    """
    if given.dtype.kind not in "iu" and np.any(given != given.astype(np.int64)):
        raise FileFormatError(
            f'{where}: obsmap of the modality "{name}" is {given.dtype}, expected the'
            " number of a row for each cell"
        )
    at = given.reshape(-1).astype(np.int64) - 1
    missing = int(np.count_nonzero(at == -1))
    if missing or len(at) != n_rows:
        raise _differ(where, name, n_rows, len(at), missing)
    _check_rows(at, name, where)
    return None if np.array_equal(at, np.arange(n_rows)) else at


def _check_rows(at: Rows, name: str, where: str) -> None:
    """Raise unless each row of a modality is that of one cell."""
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


def _joined_order(orders: Sequence[Rows | None], starts: Rows) -> Rows | None:
    if all(order is None for order in orders):
        return None
    sizes = np.diff(starts).tolist()
    return np.concatenate(
        [
            start + (np.arange(size, dtype=np.int64) if order is None else order)
            for start, size, order in zip(starts[:-1], sizes, orders, strict=True)
        ]
    )


def _differ(
    where: str, name: str, n_rows: int, n_obs: int, missing: int = 0
) -> FileFormatError:
    lacks = f", and lacks {missing} of them" if missing else ""
    return FileFormatError(
        f'{where}: the modality "{name}" has {n_rows} cells and all together {n_obs}'
        f"{lacks}; modalities side by side must have the same cells: keep those that"
        " all have with mudata.pp.intersect_obs(mdata), and write it again"
    )
