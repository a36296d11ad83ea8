"""Describes data sets of HDF5 files, so that they are read without the library."""

import warnings
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FileFormatError
from ..decoding.filters import Filter
from ..decoding.pipeline import Pipeline
from ..decoding.registry import missing_install
from ..layout import ChunkGrid, Library
from ..remote.object_store import ObjectStore
from .declared_sizes import check_declared
from .description import Description
from .hdf5_chunks import DatasetShape, check_complete
from .hdf5_files import FileFacts, ObjectPlace, file_facts, find_outside_files, place_of
from .hdf5_heaps import REFERENCE
from .hdf5_libraries import Hdf5Library, Hdf5TableMaker, OpenLibrary

if TYPE_CHECKING:
    import h5py

__all__ = ["describe", "describe_references"]

# Types whose stored bytes are their bytes in memory, but for their order.
PLAIN_KINDS = "biufcS"
MOST_FILTERS = 8


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


def describe_references(
    dataset: "h5py.Dataset", *, quietly: bool = False
) -> Description | None:
    """Return how the references of a text of variable length lie in its file.

    Its elements are bytes of the type `REFERENCE`. The result is None if only HDF5 can
    read them.

    Parameters
    ----------
    dataset
        The data set.
    quietly
        Whether nothing is said where it has an unknown filter.
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
    # Names are written whole: nothing else tells a file of few bytes that claims many.
    _check_size(dataset, facts.path, facts.identity.n_bytes, whole=True)
    name = str(dataset.name)
    shape = DatasetShape.of(dataset, facts.path)
    make_table = Hdf5TableMaker(shape, facts.identity, place.address)
    dtype = np.dtype(f"S{REFERENCE.itemsize}")
    grid = _make_grid(dataset, make_table, dtype, b"", quietly=quietly)
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
    *,
    quietly: bool = False,
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
        if quietly:
            return None
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
