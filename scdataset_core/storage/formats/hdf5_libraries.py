"""Finds chunks of HDF5 datasets, and reads through h5py what nothing else reads."""

import os
import weakref
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, ScdatasetError
from ..chunks import ChunkTable
from ..io.byte_sources import SourceIdentity
from ..io.identities import Identity, check_unchanged
from ..io.open_files import OpenFile, is_of_system, open_and_make_room
from ..io.open_limit import most_open
from ..isolation import call_isolated, is_child
from ..remote.block_reader import keep_blocks
from ..remote.object_store import ObjectStore
from .hdf5_btrees import ReadPieces
from .hdf5_chunks import DatasetShape, make_chunk_table, read_chunk_table
from .hdf5_files import open_hdf5

if TYPE_CHECKING:
    import h5py

__all__ = ["Hdf5Library", "Hdf5TableMaker", "OpenLibrary"]

# HDF5 holds far more of a file that it has open than a descriptor.
MOST_OPEN = 64


@dataclass(frozen=True)
class Hdf5TableMaker:
    """Makes the chunk table of one dataset.

    Parameters
    ----------
    shape
        The dataset: its file and name, and how it is cut into chunks.
    identity
        Identity of the file when the dataset was described.
    address
        First byte of its object header; None: only HDF5 can find its chunks.
    store
        The store that the file is in; None: it is a local file.
    isolated
        Whether HDF5 may read the file in the child process alone.
    known
        Of a dataset of one chunk, or in one piece: its first byte, its stored bytes,
        and bits of the filters it was written without; None: they are looked up.
    """

    shape: DatasetShape
    identity: SourceIdentity
    address: int | None
    store: ObjectStore | None = None
    isolated: bool = field(default_factory=is_child)
    known: tuple[int, int, int] | None = None

    @property
    def file(self) -> str:
        """The file."""
        return self.shape.file

    @property
    def name(self) -> str:
        """The dataset's name in its file."""
        return self.shape.name

    def __call__(self) -> ChunkTable:
        """Return the table; the file must not have changed."""
        if self.known is not None and not self._is_touched():
            offset, n_bytes, skipped = self.known
            bits = np.array([skipped], np.uint8) if skipped else None
            places = np.array([offset], np.int64), np.array([n_bytes], np.int64)
            return ChunkTable(
                (self.file,), (self.identity,), *places, bits, store=self.store
            )
        kept = None if self.store is None else self.store.kept(self.file)
        if kept is None:
            return self._make()
        counts = self.shape.chunk_counts
        table = kept.find_table(self.name, counts)
        if table is None:
            table = self._make()
            kept.keep_table(self.name, counts, table)
        return replace(table, store=self.store)

    def _is_touched(self) -> bool:
        """Return whether a local file is not just what it was, its status too."""
        identity = self.identity
        return isinstance(identity, Identity) and not identity.is_that_of(self.file)

    def find_place(self) -> tuple[int, int, int] | None:
        """Return what `known` is to be; None if it is of several chunks, or empty."""
        if prod(self.shape.chunk_counts) != 1:
            return None
        table = self()
        skipped = 0 if table.skipped is None else int(table.skipped[0])
        return int(table.offsets[0]), int(table.sizes[0]), skipped

    def _make(self) -> ChunkTable:
        """Return the table from the file, with what the file is now.

        That equals what it was, but since then something may have touched it, such as
        a new link: the time of that tells whoever keeps what is read by the table.
        """
        if self.store is not None:
            return self._look_up()
        now = check_unchanged(self.file, self.identity)
        return replace(self, identity=now)._look_up()

    def _look_up(self) -> ChunkTable:
        try:
            table = self._read()
            if table is None and self.isolated and not is_child():
                return call_isolated(self, file=self.file)
            if table is None:
                with open_hdf5(self.file, self.store) as file:
                    table = make_chunk_table(file[self.name], self.file, self.identity)
        except ScdatasetError:
            raise
        except (OSError, RuntimeError, KeyError) as error:
            if is_of_system(error):
                raise
            raise CorruptFileError(
                f"{self.file}: data set {self.name}: HDF5 cannot list its chunks:"
                f" {error}; the file is damaged, restore it from its origin"
            ) from error
        finally:
            keep_blocks()
        return replace(table, store=self.store)

    def _read(self) -> ChunkTable | None:
        """Return the table without HDF5, where that can be."""
        if self.address is None:
            return None
        read: ReadPieces
        if self.store is not None:
            read = self.store.open(self.file).read_pieces
        else:
            file = open_and_make_room(partial(OpenFile, self.file), self.file)
            check_unchanged(self.file, self.identity, file.identity)
            read = file.read_pieces
        return read_chunk_table(read, self.address, self.shape, self.identity)


class Hdf5Library:
    """Reads rows of a dataset with h5py, and keeps the file open in this process.

    Parameters
    ----------
    file, name
        The dataset.
    identity
        Identity of the file when the dataset was described.
    others
        The other files that hold bytes of the dataset, and their identities.
    store
        The store that the file is in; None: it is a local file.

    Attributes
    ----------
    identities : tuple of tuple
        Each file that holds bytes of the dataset, and its identity.
    """

    def __init__(
        self,
        file: str,
        name: str,
        identity: SourceIdentity,
        others: tuple[tuple[str, Identity], ...] = (),
        store: ObjectStore | None = None,
    ) -> None:
        self._file, self._name, self._store = file, name, store
        # Of objects each request finds out whether they are what they were.
        self.identities = () if store else ((file, identity), *others)
        # HDF5 takes names of files of raw bytes from the current directory, which may
        # be another one when the dataset is read.
        self._folder = str(Path.cwd()) if others else None
        self._open: tuple[int, h5py.Dataset] | None = None
        self._isolated = is_child()  # what was described there goes on being read there

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``."""
        for file, identity in self.identities:
            check_unchanged(file, identity)
        if self._isolated and not is_child():
            return call_isolated(_read_kept, self, start, stop, file=self._file)
        try:
            rows: npt.NDArray[Any] = self._get_dataset()[start:stop]
        except ScdatasetError:  # of the reads that HDF5 asked for
            raise
        except (OSError, RuntimeError, KeyError) as error:
            if is_of_system(error):
                raise
            raise CorruptFileError(
                f"{self._file}: data set {self._name}, rows {start} to {stop}: HDF5"
                f" cannot read them: {error}"
            ) from error
        finally:
            keep_blocks()
        return rows

    def _get_dataset(self) -> "h5py.Dataset":
        held = self._open
        if held is None or held[0] != os.getpid():
            held = (os.getpid(), self._open_dataset())
        self._open = held
        _keep_few_open(self)
        return held[1]

    def _open_dataset(self) -> "h5py.Dataset":
        import h5py
        from h5py import h5d, h5p

        external = len(self.identities) > 1
        file = open_hdf5(self._file, self._store, external=external)
        if self._folder is None:
            return file[self._name]
        access = h5p.create(h5p.DATASET_ACCESS)
        access.set_efile_prefix(os.fsencode(self._folder))
        return h5py.Dataset(h5d.open(file.id, self._name.encode(), access))

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        self._open = None


def _read_kept(library: Hdf5Library, start: int, stop: int) -> npt.NDArray[Any]:
    """Read rows in the child process, which keeps the file open as other ones do."""
    key = library._file, library._name
    kept = _kept.get(key)
    if kept is None or kept.identities != library.identities:
        kept = _kept[key] = library
    return kept(start, stop)


_kept: dict[tuple[str, str], Hdf5Library] = {}


# Those unused for longest come first. A fork could leave a lock locked, so there is
# none: each operation on the dict is one step of the interpreter.
_holding: "dict[int, weakref.ref[Hdf5Library]]" = {}


def _keep_few_open(latest: Hdf5Library) -> None:
    """Close the files that were unused for longest, so that only a few stay open."""
    _holding.pop(id(latest), None)
    _holding[id(latest)] = weakref.ref(latest)
    most = min(most_open(), MOST_OPEN)
    if len(_holding) > most:
        for key in list(_holding)[:-most]:
            reference = _holding.pop(key, None)
            library = None if reference is None else reference()
            if library is not None:
                library.close()


class OpenLibrary:
    """Reads rows of a dataset that only this process can see.

    Parameters
    ----------
    dataset
        The open dataset.
    """

    def __init__(self, dataset: "h5py.Dataset") -> None:
        self._dataset = dataset
        self._name = str(dataset.name)
        self._pid = os.getpid()

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``."""
        # A forked process shares the position of the parent's file with it and all its
        # other children: each would read where another one has just moved it.
        if self._pid != os.getpid():
            raise TypeError(self._this_process_only())
        if not self._dataset:
            raise CorruptFileError(
                f"data set {self._name}: the HDF5 file was closed since it was opened"
                " here; keep it open while its cells are read, or open its path"
            )
        rows: npt.NDArray[Any] = self._dataset[start:stop]
        return rows

    def __reduce__(self) -> Any:
        raise TypeError(self._this_process_only())

    def _this_process_only(self) -> str:
        return (
            f"data set {self._name} can be read in this process only: its HDF5 file is"
            " a Python file object, in memory or open for writing; write it to a file,"
            " and open its path, to read it in worker processes"
        )
