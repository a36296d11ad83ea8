"""Arrays of a TileDB-SOMA experiment, opened in each process and read as they were."""

import ctypes
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, FileChangedError, FileFormatError
from ...storage.isolation import call_isolated, is_child
from ..arrow.soundness import check_sound
from ..rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RowIds", "SomaArray", "SomaStore", "describe_error", "tiledb_context"]

# Ids are read as one range if at least this part of the range is wanted: TileDB finds a
# range several times faster than single ids.
_DENSE_PART = 0.5


@dataclass(frozen=True)
class RowIds:
    """The soma_joinids of some cells, increasing; a range is held by its ends.

    Parameters
    ----------
    first
        The first id.
    n
        How many there are.
    ids
        The ids, if they are no range.
    """

    first: int
    n: int
    ids: Rows | None = None

    @classmethod
    def of(cls, ids: Rows) -> "RowIds":
        """Return ids that increase."""
        first = int(ids[0]) if len(ids) else 0
        is_range = len(ids) == 0 or int(ids[-1]) - first == len(ids) - 1
        return cls(first, len(ids), None if is_range else ids)

    def at(self, rows: Rows) -> Rows:
        """Return the ids of rows."""
        return rows + self.first if self.ids is None else self.ids[rows]

    def cut(self, start: int, stop: int) -> Rows:
        """Return the ids of the rows in ``[start, stop)``."""
        if self.ids is None:
            return np.arange(self.first + start, self.first + stop, dtype=np.int64)
        return self.ids[start:stop]


class SomaStore:
    """An experiment as it was at one time.

    Each process opens arrays for itself, with its own threads of TileDB, because the
    threads of a parent process do not live on after a fork. What is written after
    `timestamp` is not seen.

    Parameters
    ----------
    name
        How errors call it.
    timestamp
        Milliseconds since 1970.
    config
        Settings of TileDB.
    home
        What the addresses of its arrays must begin with; None: they may lie anywhere.
    isolated
        Whether its cells are read in the child process alone.
    """

    def __init__(
        self,
        name: str,
        timestamp: int,
        config: Mapping[str, Any],
        *,
        home: str | None = None,
        isolated: bool = False,
    ) -> None:
        self.name = name
        self.home = home
        self.isolated = isolated
        self.timestamp = timestamp
        self.config = dict(config)
        self._handles: dict[str, Any] = {}
        _stores.add(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _stores.add(self)

    def handle(self, array: "SomaArray") -> Any:  # Any: an object of tiledbsoma
        """Return an array, open in this process."""
        found = self._handles.get(array.uri)
        if found is None:
            import tiledbsoma

            array.check_unchanged()
            opened = tiledbsoma.open(
                array.uri,
                context=tiledb_context(self.config),
                tiledb_timestamp=self.timestamp,
            )
            # A fork could leave a lock locked, so there is none: if two threads open
            # the same array, one handle is kept.
            found = self._handles.setdefault(array.uri, opened)
        return found

    def abandon(self) -> None:
        """Forget what a parent process opened, and never close it."""
        _keep_for_ever(self._handles)
        self._handles = {}


@dataclass(frozen=True)
class SomaArray:
    """One array of an experiment, or its table.

    Parameters
    ----------
    store
        The experiment.
    uri
        Where the array lies.
    path
        Its path in the experiment.
    fragments
        Of a local array: the fragments that it had when it was opened.
    notices
        Warnings for the user.
    """

    store: SomaStore
    uri: str
    path: str
    fragments: frozenset[str]
    notices: tuple[str, ...] = ()

    @classmethod
    def of(cls, store: SomaStore, uri: str, path: str) -> "SomaArray":
        """Return the array at `uri`, as it is now.

        Raises
        ------
        FileFormatError
            If it lies outside the experiment, and may not.
        """
        if store.home is not None and not is_inside(uri, store.home):
            raise FileFormatError(
                f"{store.name}: {path} lies outside the experiment, at {uri};"
                " open(..., allow_external=True) reads it"
            )
        committed, apart = _fragments(uri)
        notices = (
            f"{store.name}: {path} has {len(apart)} fragments without a commit, which"
            " TileDB leaves out: writes that were not finished, or the store was not"
            " copied whole",
        )
        found = frozenset(committed)
        return cls(store, uri, path, found, notices if apart else ())

    @property
    def file(self) -> str:
        """The experiment's name."""
        return self.store.name

    @property
    def where(self) -> str:
        """The experiment and the array, for errors."""
        return f"{self.store.name}: {self.path}"

    @property
    def handle(self) -> Any:  # Any: an object of tiledbsoma
        """The array, open in this process."""
        with self.reading("opened"):
            return self.store.handle(self)

    def read(
        self, ids: Rows | None, columns: Sequence[str] | None = None
    ) -> "pa.Table":
        """Return what is stored for increasing ids; the rows come in any order.

        Parameters
        ----------
        ids
            Wanted ids along the first dimension, at least one; None: all.
        columns
            The columns of a table; None for an array.
        """
        if self.store.isolated and not is_child():
            read = call_isolated(_read_rows, self, ids, columns, file=self.file)
            return _from_bytes(read, self.where)
        if ids is None:
            return self._read((), columns, "read")
        first, last = int(ids[0]), int(ids[-1])
        as_range = len(ids) >= (last - first + 1) * _DENSE_PART
        coords = (slice(first, last) if as_range else ids,)
        table = self._read(coords, columns, f"read for the cells {first} to {last}")
        if as_range and last - first + 1 > len(ids):
            import pyarrow as pa
            import pyarrow.compute as pc

            key = "soma_dim_0" if columns is None else "soma_joinid"
            table = table.filter(pc.is_in(table[key], value_set=pa.array(ids)))
        return table

    def _read(
        self,
        coords: tuple[slice | Rows, ...],
        columns: Sequence[str] | None,
        what: str,
    ) -> "pa.Table":
        import pyarrow as pa

        with self.reading(what):
            handle = self.store.handle(self)
            if columns is None:
                return pa.concat_tables(handle.read(coords).tables())
            return handle.read(coords, column_names=list(columns)).concat()

    def read_dense(self, coords: tuple[slice, slice]) -> npt.NDArray[Any]:
        """Return the values of a dense array at ranges that include their ends."""
        if self.store.isolated and not is_child():
            return call_isolated(_read_dense, self, coords, file=self.file)
        with self.reading(f"read for the cells {coords[0].start} to {coords[0].stop}"):
            found: npt.NDArray[Any] = self.store.handle(self).read(coords).to_numpy()
        return found

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Make errors name the array, and say if it has changed."""
        try:
            yield
        except Exception as error:  # tiledbsoma raises what TileDB does
            if isinstance(error, CorruptFileError | MemoryError):
                raise
            self.check_unchanged(error)
            raise CorruptFileError(
                f"{self.where} cannot be {what}: {describe_error(error)}; if it was not"
                " copied whole, copy or download it again"
            ) from error

    def check_unchanged(self, cause: Exception | None = None) -> None:
        """Raise if a fragment that the array had is gone."""
        lost = self.fragments.difference(_fragments(self.uri)[0])
        if lost:
            raise FileChangedError(
                f"{self.where} changed since it was opened: {len(lost)} of its"
                f" {len(self.fragments)} fragments are not there any more; open it"
                " again"
            ) from cause


# The arrays that the child process keeps open, by their places.
_kept: dict[str, SomaArray] = {}


def _keep(array: SomaArray) -> SomaArray:
    """Return an array in the child process, which stays open there."""
    kept = _kept.get(array.uri)
    same = kept is not None and kept.store.timestamp == array.store.timestamp
    if kept is None or not same or kept.fragments != array.fragments:
        kept = _kept[array.uri] = array
    return kept


def _read_rows(
    array: SomaArray, ids: Rows | None, columns: Sequence[str] | None
) -> bytes:
    """Read rows in the child process; return them as a stream of Arrow."""
    import pyarrow as pa

    table = _keep(array).read(ids, columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _read_dense(array: SomaArray, coords: tuple[slice, slice]) -> npt.NDArray[Any]:
    """Read a dense array in the child process."""
    return _keep(array).read_dense(coords)


def _from_bytes(stream: bytes, where: str) -> "pa.Table":
    """Return the rows that the child process has read."""
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(stream)) as opened:
        table = opened.read_all()
    check_sound(table, where)
    return table


def is_inside(uri: str, home: str) -> bool:
    """Return whether the address of an array lies below that of an experiment."""
    place, root = (_plain(address) for address in (uri, home))
    return place.startswith(f"{root}/") and ".." not in place.split("/")


def _plain(uri: str) -> str:
    return unquote(uri).removeprefix("file://").rstrip("/")


def describe_error(error: Exception) -> str:
    """Return the message of an error of TileDB in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _fragments(uri: str) -> tuple[set[str], set[str]]:
    """Return the names of a local array's fragments: those with a commit, and others.

    TileDB reads only fragments with a commit, which is a file of its own or an entry in
    a list. Both sets are empty for an array that is not local.
    """
    folder = Path(uri.removeprefix("file://"))
    if "://" in str(folder) or not (folder / "__fragments").is_dir():
        return set(), set()
    every = {fragment.name for fragment in (folder / "__fragments").iterdir()}
    commits = folder / "__commits"
    apart = every - {commit.stem for commit in commits.glob("*.wrt")}
    if apart:
        lists = b"".join(path.read_bytes() for path in commits.glob("*.con"))
        apart = {name for name in apart if name.encode() not in lists}
    return every - apart, apart


# TileDB's threads in this process, by their settings, and the stores that hold arrays.
_contexts: dict[str, Any] = {}
_stores: "weakref.WeakSet[SomaStore]" = weakref.WeakSet()


def tiledb_context(config: Mapping[str, Any]) -> Any:  # Any: a SOMATileDBContext
    """Return TileDB's threads in this process, shared by all with the same settings."""
    import tiledbsoma

    key = repr(sorted(config.items()))
    found = _contexts.get(key)
    if found is None:
        _prepare_for_forks()
        made = tiledbsoma.SOMATileDBContext(tiledb_config=dict(config))
        found = _contexts.setdefault(key, made)
    return found


@cache
def _prepare_for_forks() -> None:
    """Let forked processes forget what is opened here, from the first opening on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_abandon_all)


def _abandon_all() -> None:
    """Forget what the parent process opened: TileDB's threads are gone after a fork."""
    _keep_for_ever(dict(_contexts))
    _contexts.clear()
    for store in _stores:
        store.abandon()


def _keep_for_ever(held: dict[str, Any]) -> None:
    """Keep objects from being closed, which would wait for threads that are gone."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
