"""Hugging Face data sets: their memory-mapped Arrow files are read in place."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CorruptFileError, FileFormatError
from ...optional import import_optional
from ...storage.io.identities import Identity, check_unchanged
from ...storage.io.open_files import check_plain, check_plain_inside
from ..arrow.soundness import check_sound
from ..options import OpenOptions
from .row_groups import Rows, cut_by_group
from .table_source import TableSource, open_table
from .x_columns import find_columns, list_x

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DatasetGroups", "open_dataset", "open_folders"]

_STATE = "state.json"  # where `datasets` lists the files of a saved data set
_SPLITS = "dataset_dict.json"  # where it lists several data sets, each in a folder


def open_folders(paths: Sequence[str], options: OpenOptions) -> TableSource:
    """Return the source over folders that `save_to_disk` wrote."""
    datasets = _import_datasets()
    for path in paths:
        check_plain_inside(path)
        _check_names(path, allow_external=options.allow_external)
    opened = [_load(datasets, path) for path in paths]
    for path, one in zip(paths[1:], opened[1:], strict=True):
        _check_alike(paths[0], opened[0].features, path, one.features)
    whole = opened[0] if len(opened) == 1 else datasets.concatenate_datasets(opened)
    return _open(whole, list(map(len, opened)), paths, options)


def open_dataset(dataset: Any, options: OpenOptions) -> TableSource:
    """Return the source over a `datasets.Dataset`."""
    _import_datasets()
    return _open(dataset, [len(dataset)], ["the data set"], options)


def _open(
    dataset: Any, sizes: Sequence[int], labels: Sequence[str], options: OpenOptions
) -> TableSource:
    """Return the source over a data set of parts, of a size and a label each."""
    label = labels[0]
    if len(dataset) == 0:
        raise FileFormatError(f"{label} has no rows")
    if dataset.format["type"] == "custom":
        raise FileFormatError(
            f"{label} has a transform (set_transform, with_transform), which is not"
            " applied to what is read here; remove it with .with_format(None), and give"
            " the Loader a batch_transform"
        )
    if dataset._indices is not None:  # rows of the table are in an order of their own
        sizes, labels = [dataset.data.num_rows], [label]
    groups = DatasetGroups(dataset, sizes, labels)
    columns = find_columns(groups, options)
    if len(columns) == 3:
        raise FileFormatError(
            f"{label} holds (cell, gene, value) triples, which are read from Parquet or"
            " Arrow files alone"
        )
    names = {
        name: list(feature.names)
        for name, feature in dataset.features.items()
        if hasattr(feature, "int2str")
    }
    selection = None if dataset._indices is None else DatasetRows(dataset)
    return open_table(
        list_x(groups, columns, options),
        groups,
        options,
        labels=names,
        selection=selection,
        reserved=columns,
    )


class DatasetRows:
    """The rows of its table that a data set has after `select` or `shuffle`."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    @cached_property
    def _chunks(self) -> tuple[Rows, list[Any]]:
        column = self._dataset._indices.column(0)
        chunks = [chunk.to_numpy() for chunk in column.chunks]
        return np.cumsum([0, *map(len, chunks)], dtype=np.int64), chunks

    def __getstate__(self) -> dict[str, Any]:
        return {"_dataset": self._dataset}

    def __getitem__(self, rows: Rows) -> Rows:
        """Return the row of the table of each of `rows`, which do not decrease."""
        starts, chunks = self._chunks
        n_rows = self._dataset.data.num_rows
        out = np.empty_like(rows)
        edges = np.searchsorted(rows, starts).tolist()
        for number, chunk in enumerate(chunks):
            here = slice(edges[number], edges[number + 1])
            out[here] = chunk[rows[here] - starts[number]]
        wrong = np.flatnonzero((out < 0) | (out >= n_rows))
        if len(wrong):
            raise CorruptFileError(
                f"the data set: its list of rows (after select or shuffle) has the row"
                f" {out[wrong[0]]} for the cell {rows[wrong[0]]}, and there are"
                f" {n_rows} rows; make it again, with .flatten_indices()"
            )
        return out


class DatasetGroups:
    """The table of a data set, in the record batches in which it was written.

    Parameters
    ----------
    dataset
        The data set; a choice or an order of its rows is ignored.
    sizes
        Rows of each of its parts.
    labels
        How messages call these.
    """

    decoded = False
    keeps_labels = True

    def __init__(
        self, dataset: Any, sizes: Sequence[int], labels: Sequence[str]
    ) -> None:
        self._dataset = dataset
        self.files = tuple(labels)
        self.file_starts: Rows = np.cumsum([0, *sizes], dtype=np.int64)
        self._bands = _bands(dataset)
        self._sound: set[tuple[int, str]] = set()  # what this process has checked
        self._cut_alike: dict[str, bool] = {}

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for name in ("_table", "starts"):
            state.pop(name, None)
        return {**state, "_sound": set()}

    @cached_property
    def _table(self) -> "pa.Table":
        return self._dataset.data.table

    @cached_property
    def starts(self) -> Rows:
        """First row of each record batch, and the number of rows."""
        chunks = max(self._table.columns, key=lambda column: column.num_chunks).chunks
        cuts = np.cumsum([0, *(len(chunk) for chunk in chunks)], dtype=np.int64)
        return np.union1d(cuts, self.file_starts)

    @property
    def schema(self) -> "pa.Schema":
        """The columns of the table and their types."""
        return self._table.schema

    def read(self, group: int, columns: Sequence[str]) -> "list[pa.Array]":
        """Return columns of one group, each as one array, where they lie."""
        start, stop = int(self.starts[group]), int(self.starts[group + 1])
        self.check(np.array([start, stop - 1]))
        return [self._piece(name, group, start, stop) for name in columns]

    def n_elements(self, column: str) -> int:
        """Return how many elements the lists of a column have."""
        from .list_columns import flat_lists

        total = at = 0
        for chunk in self._table.column(column).chunks:
            check_sound(chunk, self._place(column, at, at + len(chunk)))
            bounds, _ = flat_lists(chunk)
            total += int(bounds[-1] - bounds[0])
            at += len(chunk)
        return total

    def n_missing(self, column: str, first: int, last: int) -> int:
        """Return how many values of groups first to last are null."""
        start, stop = int(self.starts[first]), int(self.starts[last])
        return int(self._table.column(column).slice(start, stop - start).null_count)

    def _piece(self, name: str, group: int, start: int, stop: int) -> "pa.Array":
        column = self._table.column(name)
        piece: Any  # an array, or several
        if self._is_cut_alike(name):
            piece = column.chunk(group)
        else:
            piece = column.slice(start, stop - start)
        if (group, name) not in self._sound:
            check_sound(piece, self._place(name, start, stop))
            self._sound.add((group, name))
        if not hasattr(piece, "chunks"):
            return piece
        if piece.num_chunks == 1:
            return piece.chunk(0)
        import pyarrow as pa

        return pa.concat_arrays(piece.chunks)

    def _is_cut_alike(self, name: str) -> bool:
        """Return whether a column begins a chunk where each group begins.

        Columns of data sets that were put side by side are each cut in their own way.
        """
        if name not in self._cut_alike:
            sizes = [len(chunk) for chunk in self._table.column(name).chunks]
            self._cut_alike[name] = np.array_equal(np.diff(self.starts), sizes)
        return self._cut_alike[name]

    def _place(self, name: str, start: int, stop: int) -> str:
        file = int(np.searchsorted(self.file_starts, start, side="right")) - 1
        first = int(self.file_starts[file])
        rows = f"rows {start - first} to {stop - first}"
        return f"{self.files[file]}: {rows}, column {name}"

    def check(self, rows: Rows) -> None:
        """Raise if a file that holds some of non-decreasing rows has changed."""
        starts, files = self._bands
        for band, _, _ in cut_by_group(rows, starts):
            for path, identity in files[band]:
                check_unchanged(path, identity)


Files = list[tuple[str, Identity]]


def _bands(dataset: Any) -> tuple[Rows, list[Files]]:
    """Return the files that rows of the table lie in, and the first row of each.

    A file that is cut short while it is mapped ends the process, so each read checks
    its files first.
    """
    starts, bands = [0], []
    for blocks in getattr(dataset.data, "blocks", [[dataset.data]]):
        paths = [path for block in blocks if (path := getattr(block, "path", None))]
        bands.append([(path, Identity.of(path)) for path in paths])
        starts.append(starts[-1] + blocks[0].num_rows)
    return np.array(starts, np.int64), bands


def _check_names(path: str, *, allow_external: bool) -> None:
    """Raise if the list of a saved data set names files outside its folder, or pipes.

    A folder of several data sets has no list, but a folder for each.
    """
    if Path(path, _SPLITS).is_file():
        known = _splits(path)
        raise FileFormatError(
            f"{path} holds the splits {', '.join(known)}; open one of them:"
            f' open("{Path(path, known[0] if known else "train")}")'
        )
    try:
        state = json.loads(Path(path, _STATE).read_bytes())
        names = [str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return  # `datasets` says what is wrong with it
    for name in names:
        check_plain(str(Path(path, name)))
        outside = Path(name).is_absolute() or ".." in Path(name).parts
        if outside and not allow_external:
            raise FileFormatError(
                f"{path}: {_STATE} names the file {name}, which lies outside the"
                " folder; open(..., allow_external=True) reads it"
            )


def _check_alike(first: str, ours: Any, path: str, theirs: Any) -> None:
    """Raise if two data sets differ in their columns.

    `datasets` would take what one lacks as missing. All may be missing in one of them.
    """
    for name in dict.fromkeys([*ours, *theirs]):
        kinds = [features.get(name, "not there") for features in (ours, theirs)]
        is_null = any(getattr(kind, "dtype", "") == "null" for kind in kinds)
        if kinds[0] != kinds[1] and (not is_null or "not there" in kinds):
            one, other = (str(kind)[:200] for kind in kinds)
            raise FileFormatError(
                f'{first} and {path} differ in their columns: "{name}" is {one} in the'
                f" first and {other} in the second; files read as one must agree"
            )


def _splits(path: str) -> list[str]:
    """Return the names of the data sets in a folder, in their order if it is known."""
    try:
        return list(map(str, json.loads(Path(path, _SPLITS).read_bytes())["splits"]))
    except (OSError, ValueError, LookupError, TypeError):
        return sorted(one.parent.name for one in Path(path).glob(f"*/{_STATE}"))


def _load(datasets: Any, path: str) -> Any:
    try:
        found = datasets.load_from_disk(path)
    except Exception as error:  # Arrow and the parsers of its metadata raise their own
        raise FileFormatError(
            f"{path} cannot be loaded as a data set: {type(error).__name__}: {error};"
            " if it was not copied whole, copy or download it again"
        ) from error
    return found


def _import_datasets() -> Any:
    return import_optional(
        "datasets", "pyarrow", extra="hf", needed_by="Hugging Face data sets"
    )
