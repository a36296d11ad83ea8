"""Describes data sets of HDF5 files, so that they are read without the library."""

import os
import warnings
import weakref
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, FileFormatError, ScdatasetError
from ..chunks import ChunkTable
from ..decoding.filters import Filter
from ..decoding.pipeline import Pipeline
from ..decoding.registry import missing_install
from ..io.byte_sources import SourceIdentity
from ..io.open_files import (
    Identity,
    OpenFile,
    check_unchanged,
    is_of_system,
    most_open,
    open_and_make_room,
)
from ..isolation import call_isolated, is_child
from ..layout import ChunkGrid, Library
from ..remote.object_store import ObjectStore
from .declared_sizes import check_declared
from .description import Description
from .hdf5_btrees import ReadPieces
from .hdf5_chunks import (
    DatasetShape,
    check_complete,
    make_chunk_table,
    read_chunk_table,
)
from .hdf5_files import (
    FileFacts,
    ObjectPlace,
    file_facts,
    find_outside_files,
    open_hdf5,
    place_of,
)
from .hdf5_heaps import REFERENCE

if TYPE_CHECKING:
    import h5py

__all__ = [
    "Hdf5Library",
    "Hdf5TableMaker",
    "OpenLibrary",
    "describe",
    "describe_references",
]

# Types whose stored bytes are their bytes in memory, but for their order.
PLAIN_KINDS = "biufcS"
MOST_FILTERS = 8


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
    """

    shape: DatasetShape
    identity: SourceIdentity
    address: int | None
    store: ObjectStore | None = None
    isolated: bool = field(default_factory=is_child)

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
        kept = None if self.store is None else self.store.kept(self.file)
        if kept is None:
            return self._make()
        counts = self.shape.chunk_counts
        table = kept.find_table(self.name, counts)
        if table is None:
            table = self._make()
            kept.keep_table(self.name, counts, table)
        return replace(table, store=self.store)

    def _make(self) -> ChunkTable:
        """Return the table from the file."""
        if self.store is None:
            check_unchanged(self.file, self.identity)
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
    most = most_open()
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


def describe(
    dataset: "h5py.Dataset",
    *,
    whole: bool = False,
    place: tuple[str, ObjectStore] | None = None,
) -> Description:
    """Return how a dataset is laid out in its file.

    Parameters
    ----------
    dataset
        The dataset.
    whole
        Whether all chunks must have been written.
    place
        Name and store of the object that the file is; None: it is a local file.

    Raises
    ------
    FileFormatError
        If it has no first axis, or nothing here decodes it.
    CorruptFileError
        If it must be whole and is not, and is read through h5py.
    """
    store: ObjectStore | None = None
    if place is None:
        facts = file_facts(dataset)
    else:
        file, store = place
        has_user_block = bool(dataset.file.userblock_size)
        facts = FileFacts(file, store.identify(file), has_user_block)
    file, identity = facts.path, facts.identity
    name = str(dataset.name)
    if not dataset.shape:
        raise FileFormatError(
            f"{file}: data set {name} must be an array, it has the shape"
            f" {dataset.shape}"
        )
    shape = tuple(int(size) for size in dataset.shape)
    dtype = to_native(dataset.dtype)
    if dataset.name is None or identity is None:
        if whole:
            check_complete(dataset, file)
        library: Library = OpenLibrary(dataset)
        return Description(file, name, shape, dtype, None, library, False)
    found = _check_name(dataset, file)
    _check_size(dataset, file, identity.n_bytes, whole=whole)
    address = None if found is None or facts.has_user_block else found.address
    make_table = Hdf5TableMaker(
        DatasetShape.of(dataset, file), identity, address, store
    )
    grid = _describe_grid(dataset, make_table, whole=whole)
    contiguous = grid is not None and dataset.chunks is None
    if grid is not None:
        return Description(file, name, shape, dtype, grid, None, contiguous)
    if whole:
        check_complete(dataset, file)
    library = Hdf5Library(file, name, identity, find_outside_files(dataset), store)
    return Description(file, name, shape, dtype, None, library, False)


def _check_size(
    dataset: "h5py.Dataset", file: str, file_bytes: int, *, whole: bool
) -> None:
    """Raise if a dataset claims more than its file can hold."""
    if dataset.is_virtual or dataset.external:
        return
    # Text of any length takes 16 bytes an element, besides the text itself.
    item_bytes = 16 if dataset.dtype.kind == "O" else dataset.dtype.itemsize
    chunks = dataset.chunks
    steps = () if chunks is None else zip(dataset.shape, chunks, strict=True)
    check_declared(
        f"{file}: data set {dataset.name}",
        file_bytes=file_bytes,
        array_bytes=prod(dataset.shape) * item_bytes,
        n_chunks=prod(-(-size // step) for size, step in steps),
        chunk_bytes=0 if chunks is None else prod(chunks) * item_bytes,
        whole=whole,
    )


def describe_references(dataset: "h5py.Dataset") -> Description | None:
    """Return how the references of a text of variable length lie in its file.

    Its elements are bytes of the type `REFERENCE`. The result is None if only HDF5 can
    read them.
    """
    from h5py import h5t

    facts = file_facts(dataset)
    kind, place = dataset.id.get_type(), place_of(dataset)
    if (
        facts.identity is None
        or facts.has_user_block
        or place is None
        or not isinstance(kind, h5t.TypeStringID)
        or not kind.is_variable_str()
    ):
        return None
    _check_size(dataset, facts.path, facts.identity.n_bytes, whole=False)
    name = str(dataset.name)
    shape = DatasetShape.of(dataset, facts.path)._replace(item_bytes=REFERENCE.itemsize)
    make_table = Hdf5TableMaker(shape, facts.identity, place.address)
    dtype = np.dtype(f"S{REFERENCE.itemsize}")
    grid = _make_grid(dataset, make_table, dtype, b"")
    if grid is None:
        return None
    return Description(
        facts.path, name, dataset.shape, dtype, grid, None, dataset.chunks is None
    )


def _check_name(dataset: "h5py.Dataset", file: str) -> ObjectPlace | None:
    """Raise if another dataset, or none, has this one's name in its own file.

    HDF5 names a dataset by the links that led to it. These may lead through other
    files, but readers open the dataset again in its own file, by that name.
    """
    place = place_of(dataset)
    same = place is not None and place_of(dataset, str(dataset.name)) == place
    if not same and dataset.file.get(dataset.name) != dataset:
        raise FileFormatError(
            f"{file}: the data set was reached as {dataset.name} by links that lead"
            " through another file; open this file itself, by its path"
        )
    return place


def to_native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a type in native byte order, without h5py's notes on it."""
    if dtype.kind in PLAIN_KINDS:
        return np.dtype(dtype.str).newbyteorder("=")
    return dtype


def _describe_grid(
    dataset: "h5py.Dataset", make_table: Hdf5TableMaker, *, whole: bool
) -> ChunkGrid | None:
    """Return the chunks of a dataset, or None where only the library can read it."""
    from h5py import h5t

    dtype = dataset.dtype
    if dtype.kind not in PLAIN_KINDS:
        return None
    stored = h5t.py_create(dtype, logical=True)
    if not stored.equal(dataset.id.get_type()):
        return None
    grid = _make_grid(dataset, make_table, np.dtype(dtype.str), dataset.fillvalue)
    return None if grid is None else replace(grid, whole=whole)


def _make_grid(
    dataset: "h5py.Dataset",
    make_table: Hdf5TableMaker,
    stored_dtype: np.dtype[Any],
    fill: Any,  # Any: a scalar of the type
) -> ChunkGrid | None:
    """Return the chunks of a dataset whose elements have a plain type."""
    from h5py import h5d

    plist = dataset.id.get_create_plist()
    layout = plist.get_layout()
    if layout not in (h5d.CHUNKED, h5d.CONTIGUOUS) or plist.get_external_count():
        return None
    shape = tuple(int(size) for size in dataset.shape)
    chunk_shape = dataset.chunks or tuple(max(size, 1) for size in shape)
    if len(shape) > 2 and chunk_shape[1:] != shape[1:]:
        return None
    pipeline = Pipeline(
        tuple(
            Filter(code, label.decode(errors="replace"), tuple(values))
            for code, _, values, label in map(
                plist.get_filter, range(plist.get_nfilters())
            )
        )
    )
    unknown = pipeline.unknown
    if unknown is not None or len(pipeline.filters) > MOST_FILTERS:
        _check_available(dataset, make_table.file, pipeline)
        _announce(dataset, make_table.file, str(unknown or pipeline))
        return None
    return ChunkGrid(chunk_shape, stored_dtype, pipeline, fill, make_table)


def _check_available(dataset: "h5py.Dataset", file: str, pipeline: Pipeline) -> None:
    """Raise if HDF5 lacks the plug-in of a filter, which a read would find too late."""
    from h5py import h5z

    for step in pipeline.filters:
        if not h5z.filter_avail(step.code):
            command = missing_install(step)
            also = f", or {command}" if command else ""
            raise FileFormatError(
                f"{file}: data set {dataset.name} is compressed with the filter {step}"
                f" (number {step.code}), and HDF5 has no plug-in for it: import the"
                f" package that brings it (hdf5plugin has most) before opening{also}"
            )


# The file, as it was opened, and the filter that a warning was last about.
_announced: tuple[int, str] | None = None


def _announce(dataset: "h5py.Dataset", file: str, filters: str) -> None:
    """Warn of filters that are unknown here, once for each file that is opened."""
    global _announced
    opened = (int(dataset.file.id.id), filters)
    if opened == _announced:
        return
    _announced = opened
    warnings.warn(
        f"{file}: data set {dataset.name} is compressed with the filter {filters},"
        " which this library does not decode; it is read through h5py, which is slower,"
        " and so is all of this file that has this filter",
        stacklevel=5,
    )
