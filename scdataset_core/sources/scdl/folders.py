"""The source over folders of BioNeMo-SCDL, alone or in collections."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...errors import FileFormatError, MissingNameError
from ...storage import StoredArray
from ...storage.formats.plain_files import describe_file, describe_part
from ...storage.io.open_files import check_plain_inside
from ..obs.columns import Column
from ..obs.text import TextArray
from ..options import OpenOptions
from ..ranged.cell_file import CellFile, SparseX
from ..ranged.stored_source import StoredSource, join_files
from .features import FeatureIndex, gene_names, read_index
from .header import ARRAYS, Header, read_header, read_row_count
from .obs_columns import ObsTableFile
from .signatures import data_sets_of

__all__ = ["open_scdl"]


@dataclass(frozen=True)
class _Folder:
    """The arrays of one `SingleCellMemMapDataset`, checked against each other."""

    path: str
    data: StoredArray
    indices: StoredArray
    indptr: StoredArray
    var: FeatureIndex
    obs: FeatureIndex | None
    notices: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        return self.indptr.shape[0] - 1


@dataclass(frozen=True)
class _BlockX(SparseX):
    """X of some rows of a folder; all blocks of the folder share its arrays."""

    n_own: int
    begin: int

    @property
    def first(self) -> int:
        """Where the elements of the first of these rows start."""
        return self.begin

    @property
    def n_stored(self) -> int:
        """Number of stored elements of these rows."""
        return self.n_own


def open_scdl(paths: Sequence[str], options: OpenOptions) -> StoredSource:
    """Return the source over folders, in their order.

    The data sets of a collection come sorted by name.
    """
    if options.x != "X":
        raise FileFormatError(
            f'{paths[0]}: SCDL folders hold one matrix, x="X", got {options.x!r}'
        )
    folders = [
        _open_folder(folder)
        for path in map(Path, paths)
        for folder in data_sets_of(path)
    ]
    notices = [notice for folder in folders for notice in folder.notices]
    return join_files(_cell_files(folders, options), options, notices=notices)


def _open_folder(folder: Path) -> _Folder:
    check_plain_inside(str(folder))
    header = read_header(folder)
    arrays = {name: _describe_array(folder, name, header) for name in ARRAYS.values()}
    data, indices, indptr = (
        arrays[name] for name in ("data.npy", "col_ptr.npy", "row_ptr.npy")
    )
    var = read_index(folder, "var_features", "features")
    if var is None:
        raise FileFormatError(
            f"{folder}: there is no var_features, which names the genes; the folder was"
            " not copied whole"
        )
    _check_pointers(folder, data, indices, indptr)
    n_rows = indptr.shape[0] - 1
    if var.n_rows != n_rows:
        raise FileFormatError(
            f"{folder}: row_ptr.npy has {n_rows} rows and {var.path} features of"
            f" {var.n_rows}; copy the folder again"
        )
    lengths = {name: array.shape[0] for name, array in arrays.items()}
    notices = _notices(folder, header, lengths)
    obs = read_index(folder, "obs_features")
    return _Folder(str(folder), data, indices, indptr, var, obs, notices)


def _describe_array(folder: Path, name: str, header: Header) -> StoredArray:
    path, dtype = folder / name, header.dtypes[name]
    if not path.is_file():
        raise FileFormatError(
            f"{folder}: {name} is missing; the folder was not copied whole"
        )
    n_bytes = path.stat().st_size
    if n_bytes % dtype.itemsize:
        raise FileFormatError(
            f"{path}: {n_bytes} bytes are no whole number of {dtype.name}; it was cut"
            " short, or its header.sch is not its own"
        )
    said = header.lengths.get(name, 0)
    if n_bytes // dtype.itemsize < said:
        raise FileFormatError(
            f"{path}: it holds {n_bytes // dtype.itemsize} elements and header.sch says"
            f" {said}; it was cut short, copy the folder again"
        )
    return describe_file(path, dtype)


def _check_pointers(
    folder: Path, data: StoredArray, indices: StoredArray, indptr: StoredArray
) -> None:
    """Check that rows span all elements, and that values and columns are as many."""
    if data.shape != indices.shape:
        raise FileFormatError(
            f"{folder}: data.npy has {data.shape[0]} elements and col_ptr.npy"
            f" {indices.shape[0]}; one was cut short, or their types in header.sch are"
            " wrong"
        )
    n = indptr.shape[0]
    if n == 0:
        raise FileFormatError(f"{folder}: row_ptr.npy is empty")
    first, last = int(indptr.read(0, 1)[0]), int(indptr.read(n - 1, n)[0])
    if (first, last) != (0, data.shape[0]):
        raise FileFormatError(
            f"{folder}: row_ptr.npy ({indptr.dtype}) goes from {first} to {last}, and"
            f" there are {data.shape[0]} elements; a file was cut short, or the types"
            " in header.sch are wrong"
        )


def _notices(folder: Path, header: Header, lengths: dict[str, int]) -> tuple[str, ...]:
    """Return the notices of counts that differ from the lengths of the arrays.

    When bionemo-scdl 0.1 joins data sets, it leaves the counts of the first: always in
    metadata.json, and in the header if the first was read from a folder. So counts that
    are too small are accepted, and without a notice where the header is right.
    """
    counted, there = dict(header.lengths), dict(lengths)
    rows = read_row_count(folder)
    if rows is not None:
        counted["metadata.json"] = rows
        there["metadata.json"] = lengths["row_ptr.npy"] - 1
    for name, n in counted.items():
        if n > there[name]:
            raise FileFormatError(
                f"{folder}: {name} should have {n} rows or elements, and there are"
                f" {there[name]}; the folder was cut short, copy it again"
            )
    right = all(n == there[name] for name, n in counted.items())
    if right or header.lengths == lengths:
        return ()
    listed = ", ".join(f"{name} {n} of {there[name]}" for name, n in counted.items())
    return (
        f"{folder}: its metadata counts less than there is ({listed}), as bionemo-scdl"
        " leaves it after joining data sets; the arrays agree with each other, and all"
        " rows are read",
    )


def _cell_files(folders: Sequence[_Folder], options: OpenOptions) -> list[CellFile]:
    """Return the blocks of all folders; each has one set of genes and obs columns."""
    files = [file for folder in folders for file in folder.var.files]
    names = dict(zip(files, gene_names(files), strict=True))
    wants_obs = bool(options.obs) or options.obs_names
    cell_files = []
    for folder in folders:
        obs = _FolderObs(folder) if wants_obs else None
        edges = folder.var.bounds if obs is None else obs.edges
        for start, stop in pairwise(edges.tolist()):
            var_names = names[folder.var.file_at(start)[0]]
            x = _describe_rows(folder, start, stop, len(var_names))
            path = folder.path
            if len(edges) > 2:
                path = f"{path} (rows {start} to {stop})"
            if obs is None:
                cell_files.append(CellFile(path, x, var_names, {}))
            else:
                columns, cells = obs.at(start, stop, options)
                cell_files.append(CellFile(path, x, var_names, columns, cells))
    return cell_files


def _describe_rows(folder: _Folder, start: int, stop: int, n_vars: int) -> SparseX:
    """Return where some rows of a folder's X lie."""
    data, indices, indptr = folder.data, folder.indices, folder.indptr
    if (start, stop) == (0, folder.n_rows):
        return SparseX(data, indices, indptr, n_vars)
    first, last = (int(indptr.read(row, row + 1)[0]) for row in (start, stop))
    part = describe_part(indptr, start, stop + 1)
    return _BlockX(data, indices, part, n_vars, last - first, first)


class _FolderObs:
    """The obs columns of a folder, which may change from block to block."""

    def __init__(self, folder: _Folder) -> None:
        if folder.obs is None or folder.obs.n_rows != folder.n_rows:
            has = "none" if folder.obs is None else f"those of {folder.obs.n_rows}"
            raise MissingNameError(
                f"{folder.path}: obs of {folder.n_rows} cells is asked for, and the"
                f" folder holds {has}; leave out obs, or write it again from its .h5ad"
            )
        self._index = folder.obs
        self._tables = {file: ObsTableFile(file) for file in folder.obs.files}
        self.edges = np.union1d(folder.var.bounds, folder.obs.bounds)
        n_rows = np.diff(folder.obs.bounds).tolist()
        for table, n in zip(self._tables.values(), n_rows, strict=True):
            if table.n_rows != n:
                raise FileFormatError(
                    f"{table.file}: it has {table.n_rows} rows, and its block {n}"
                    " cells; copy the folder again"
                )

    def at(
        self, start: int, stop: int, options: OpenOptions
    ) -> tuple[dict[str, Column], TextArray | None]:
        """Return the columns of some rows, and the cells' names if asked for."""
        file, first = self._index.file_at(start)
        table, rows = self._tables[file], (start - first, stop - first)
        names = table.cell_names(*rows) if options.obs_names else None
        return table.columns(options.obs, *rows), names
