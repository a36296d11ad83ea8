"""Opens the files of an index without touching them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, FileFormatError
from ...storage.remote.identity import ObjectIdentity
from ..genes.shared_names import SharedNames
from ..obs.columns import Column, LabelColumn, NumberColumn, Unreadable
from ..options import OpenOptions
from ..ranged.cell_file import CellFile
from ..ranged.file_list import FileFacts, LateFiles
from ..ranged.row_arrays import MemoryArray
from ..ranged.stored_source import StoredSource, join_files
from ..remote_data import store_of_urls
from ..rows import Rows
from .cell_files import locate_cells
from .facts import X_SLOTS
from .recorded_arrays import RecordedFile
from .recorded_tree import RecordedTree
from .recorded_zarr import StoreIdentity, check_store
from .records import RecordGroup, Records

__all__ = ["open_records"]

# Files that stay located. With the tables of its chunks each takes some 10 to 50 KB; to
# locate it again takes 0.1 ms where its arrays are of one chunk each.
_MOST_LOCATED = 1 << 11
# What a record that is not sound leads to; some errors of others are among these.
_UNSOUND = (LookupError, TypeError, AttributeError, OverflowError)


def open_records(collections: Sequence[Records], options: OpenOptions) -> StoredSource:
    """Return the source over the files of collections, one after the other."""
    if not any(len(records) for records in collections):
        raise FileFormatError("the index has no files: there is nothing to open")
    named = [file for records in collections for file in records.files]
    store = store_of_urls(named, options.storage_options, options.cache)
    if store is not None:
        options = replace(options, store=store, storage_options=None)
    if len(collections) == 1 and options.cache is None:
        late = IndexedFiles(collections[0], options)
        if late.knows_all:
            return join_files(late, options)
    lists = [IndexedFiles(records, options) for records in collections]
    cell_files = [files.locate(i) for files in lists for i in range(len(files))]
    return join_files(cell_files, options)


class IndexedFiles(LateFiles):
    """The files of an index; each is located when it is first read.

    Parameters
    ----------
    records
        What is known of the files.
    options
        What is wanted of the files.
    """

    def __init__(self, records: Records, options: OpenOptions) -> None:
        self._records = records
        self._options = replace(options, genes=None, categories=None)
        self._located: dict[int, CellFile] = {}
        self._shared = SharedNames()

    def __getstate__(self) -> dict[str, Any]:
        return {"records": self._records, "options": self._options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["records"], state["options"])  # type: ignore[misc]  # as made

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, number: int) -> CellFile: ...
    @overload
    def __getitem__(self, number: slice) -> list[CellFile]: ...
    def __getitem__(self, number: int | slice) -> CellFile | list[CellFile]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"there are {len(self)} files, got number {number}")
        number = number % len(self)
        found = self._located.get(number)
        if found is None:
            # The names of its genes were joined already.
            found = replace(self.locate(number), var_names=np.empty(0, object))
            # Each step is one of the interpreter's, so that threads need no lock.
            while len(self._located) >= _MOST_LOCATED:
                self._located.pop(next(iter(list(self._located))), None)
            self._located[number] = found
        return found

    def locate(self, number: int) -> CellFile:
        """Return where everything lies in a file, from its record."""
        record = self._record(number)
        if isinstance(record.identity, StoreIdentity):
            check_store(record.file, record.identity, record.skeleton)
        allow = self._options.allow_external
        tree = RecordedTree(record, allow_external=allow)
        try:
            found = locate_cells(tree, self._options, self._shared)
        except _UNSOUND as error:
            if isinstance(error, OSError | ValueError):
                raise
            raise CorruptFileError(
                f"the index has no sound record of {record.file}: build it again"
            ) from error
        tree.forget()
        return found

    def _record(self, number: int) -> RecordedFile:
        """Return the record of a file, with the store that the file is in."""
        record = self._records.record(number)
        store = self._options.store_of(record.file)
        if store is None or not isinstance(record.identity, ObjectIdentity):
            return record
        store.expect(record.file, record.identity)
        return record._replace(store=store)

    @property
    def knows_all(self) -> bool:
        """Whether the index tells of every file what a source must know first."""
        x = self._options.x
        for group in self._records.groups:
            facts = group.facts
            if group.leads_outside and not self._options.allow_external:
                return False
            if x not in facts["x"]:
                return False
            known = set(facts["obs"])
            if not set(self._names(group)) <= known:
                return False
        return True

    def _names(self, group: RecordGroup) -> Sequence[str]:
        """Return the names of the columns that are wanted of a group of files."""
        return group.columns if self._options.obs is True else self._options.obs

    def _gather(self, name: str) -> npt.NDArray[np.int64]:
        """Return one of the integers that are known of X, of all files."""
        out = np.empty(len(self), np.int64)
        for group in self._records.groups:
            slot = group.facts["x"][self._options.x]["slot"] + X_SLOTS.index(name)
            out[group.files] = group.integers[:, slot]
        return out

    @cached_property
    def facts(self) -> FileFacts:
        """What is known of X."""
        sparse = np.empty(len(self), bool)
        dtypes: dict[np.dtype[Any], None] = {}
        plain = True
        for group in self._records.groups:
            fact = group.facts["x"][self._options.x]
            sparse[group.files] = fact["sparse"]
            dtypes[np.dtype(fact["dtype"])] = None
            plain = plain and fact["plain"]
        return FileFacts(
            self._records.files,
            self._gather("n_obs"),
            self._gather("n_stored"),
            sparse,
            tuple(dtypes),
            plain,
            self._gather("chunk_rows").view(np.float64),
        )

    @property
    def var_names(self) -> Sequence[npt.NDArray[np.object_]]:
        """The names of the columns of X."""
        numbers = self._gather("names").tolist()
        arrays = {
            number: np.array(self._records.lists[number], object)
            for number in dict.fromkeys(numbers)
        }
        return [arrays[number] for number in numbers]

    @property
    def columns(self) -> Sequence[Mapping[str, Column]]:
        """The obs columns of each file: what they are, without a way to read them."""
        columns: list[dict[str, Column]] = [{} for _ in range(len(self))]
        n_obs = self.facts.n_obs.tolist()
        for group in self._records.groups:
            facts = group.facts["obs"]
            for name in self._names(group):
                make = _ColumnMaker(name, facts[name], self._records.lists)
                for at, row in zip(group.files.tolist(), group.integers, strict=True):
                    columns[at][name] = make(row, n_obs[at])
        return columns

    @property
    def obs_bytes(self) -> npt.NDArray[np.int64]:
        """Bytes of every array of an obs column."""
        n_obs: Rows = self.facts.n_obs
        found: list[Rows] = []
        for group in self._records.groups:
            facts = group.facts["obs"]
            for name in self._names(group):
                if facts[name]["kind"] != "unreadable":
                    item = np.dtype(facts[name]["dtype"]).itemsize
                    found.append(n_obs[group.files] * item)
        return np.concatenate([np.empty(0, np.int64), *found])


class _ColumnMaker:
    """Makes what is known of a column of each file."""

    def __init__(
        self, name: str, fact: Mapping[str, Any], lists: Sequence[list[Any]]
    ) -> None:
        self._name, self._fact, self._lists = f"obs/{name}", fact, lists
        self._zero = np.zeros(1, np.dtype(fact.get("dtype", "<i4")))
        self._made: dict[tuple[int, int], Column] = {}

    def __call__(self, integers: npt.NDArray[np.int64], n_obs: int) -> Column:
        fact = self._fact
        if fact["kind"] == "unreadable":
            return Unreadable(fact["reason"])
        key = int(integers[fact["slot"]]), n_obs
        if key not in self._made:  # files of a size and labels share one
            self._made[key] = self._make(*key)
        return self._made[key]

    def _make(self, known: int, n_obs: int) -> Column:
        # No value is ever read from it; it has the shape and the type.
        zero = self._zero
        values: npt.NDArray[Any] = np.ndarray((n_obs,), zero.dtype, zero, 0, (0,))
        array = MemoryArray(values, self._name)
        if self._fact["kind"] == "labels":
            return LabelColumn(array, self._lists[known], self._fact["ordered"])
        return NumberColumn(array, array if known else None, bool(known))
