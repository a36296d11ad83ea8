"""Arrays in plain values: how each is found and decoded, recorded and made again."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import FileFormatError
from ...storage import StoredArray
from ...storage.decoding.filters import Filter
from ...storage.decoding.pipeline import Pipeline
from ...storage.formats.hdf5_chunks import DatasetShape
from ...storage.formats.hdf5_libraries import Hdf5Library, Hdf5TableMaker
from ...storage.formats.zarr import ZarrLibrary
from ...storage.formats.zarr_chunks import ZarrTableMaker
from ...storage.io.byte_sources import SourceIdentity
from ...storage.io.identities import Identity
from ...storage.layout import ChunkGrid, Library, TableMaker
from ...storage.remote.object_store import ObjectStore
from . import recorded_zarr

__all__ = ["RecordedFile", "make_array", "plain_dtype", "record_array"]

# Keeps integers, and returns the slot of the first.
Slot = Callable[..., int]


class RecordedFile(NamedTuple):
    """The record of one file, with the lists that it shares with others.

    Parameters
    ----------
    file
        Its absolute path, or its URL.
    identity
        What it was when it was recorded.
    skeleton
        Its groups and arrays by name, see :mod:`.recording`.
    integers
        What the slots of the skeleton stand for, int64.
    lists
        The pool of labels and names.
    store
        The store that it is in; None: it is a local file.
    """

    file: str
    identity: SourceIdentity
    skeleton: Mapping[str, Any]
    integers: npt.NDArray[np.int64]
    lists: Sequence[list[Any]]
    store: ObjectStore | None = None

    def sizes(self, slot: int, n: int) -> tuple[int, ...]:
        """Return `n` integers from a slot on."""
        return tuple(self.integers[slot : slot + n].tolist())

    def listed(self, slot: int) -> list[Any]:
        """Return the list whose number is in a slot."""
        return self.lists[int(self.integers[slot])]


def record_array(array: StoredArray, own_file: str, slot: Slot) -> dict[str, Any]:
    """Return what an array is in values that JSON holds, its integers in slots.

    Parameters
    ----------
    array
        The array.
    own_file
        The file that is recorded; the array may lie in another one.
    slot
        Keeps integers, and returns the slot of the first.

    Raises
    ------
    FileFormatError
        If it cannot be read in another process.
    """
    found: dict[str, Any] = {"name": array.name, "dtype": array.dtype.str}
    found["contiguous"] = array.contiguous
    grid = array.grid
    if grid is None:
        if isinstance(array.library, ZarrLibrary):
            found["zarr"] = recorded_zarr.record_library(
                array.library, slot, array.file
            )
            return found
        return {**found, **_record_library(array, own_file)}
    found["chunk_shape"] = slot(*grid.chunk_shape)
    found["stored"], found["whole"] = grid.stored_dtype.str, grid.whole
    fill = np.asarray(grid.fill, grid.stored_dtype)
    found["fill"] = fill.tobytes().hex()
    found["filters"] = [
        [step.code, step.name, slot(*step.values), len(step.values)]
        for step in grid.pipeline.filters
    ]
    table = grid.make_table
    if isinstance(table, ZarrTableMaker):
        return {**found, "zarr": recorded_zarr.record_table(table, slot)}
    assert isinstance(table, Hdf5TableMaker)
    found["address"] = slot(-1 if table.address is None else table.address)
    found["chunked"] = table.shape.chunks is not None
    place = table.find_place()
    if place is not None:  # most arrays of small files, which thus need no looking up
        found["place"] = slot(*place)
    return {**found, **_outside(own_file, array.file, table.identity)}


def _record_library(array: StoredArray, own_file: str) -> dict[str, Any]:
    library = array.library
    if not isinstance(library, Hdf5Library):
        raise FileFormatError(f"{array.label} can be read in this process only")
    if not library.identities:  # an object in a store
        return {"others": []}
    (_, identity), *others = library.identities
    listed = [
        [file, one.n_bytes, one.mtime_ns]
        for file, one in others
        if isinstance(one, Identity)
    ]
    return {"others": listed, **_outside(own_file, array.file, identity)}


def _outside(own_file: str, file: str, identity: SourceIdentity) -> dict[str, Any]:
    """Return which other file an array is in, where a link led to one."""
    if file == own_file or not isinstance(identity, Identity):
        return {}
    return {"outside": [file, identity.n_bytes, identity.mtime_ns]}


def make_array(of: RecordedFile, node: Mapping[str, Any]) -> StoredArray:
    """Return the array of a node of a record.

    Raises
    ------
    FileFormatError
        If it could not be described when the file was recorded.
    """
    if "error" in node:
        raise FileFormatError(f"{of.file}: {node['error']}")
    found = node["described"]
    place = _Place(of.file, of.identity, of.store)
    if "outside" in found:
        file, n_bytes, mtime_ns = found["outside"]
        place = _Place(file, Identity(n_bytes, mtime_ns), None)
    shape = of.sizes(node["shape"], node["ndim"])
    grid, library = None, None
    if "stored" in found:
        dtype = plain_dtype(found["dtype"])
        grid = _make_grid(of, found, place, shape)
    else:
        dtype = np.dtype(object) if node["text"] else plain_dtype(found["dtype"])
        library = _make_library(of, found, place)
    return StoredArray(
        place.file,
        found["name"],
        shape=shape,
        dtype=dtype,
        grid=grid,
        library=library,
        contiguous=found["contiguous"],
    )


class _Place(NamedTuple):
    """The file that an array lies in."""

    file: str
    identity: SourceIdentity
    store: ObjectStore | None


def _make_grid(
    of: RecordedFile, found: Mapping[str, Any], place: _Place, shape: tuple[int, ...]
) -> ChunkGrid:
    name, stored = found["name"], plain_dtype(found["stored"])
    chunk_shape = of.sizes(found["chunk_shape"], len(shape))
    table: TableMaker
    if "zarr" in found:
        table = recorded_zarr.make_table(
            found["zarr"], of.sizes, store=place.file, name=name, shape=shape
        )
    else:
        chunks = chunk_shape if found["chunked"] else None
        dataset = DatasetShape(place.file, name, shape, chunks, stored.itemsize)
        address = int(of.integers[found["address"]])
        known = None
        if "place" in found:
            first, n_bytes, skipped = of.sizes(found["place"], 3)
            known = (first, n_bytes, skipped)
        table = Hdf5TableMaker(
            dataset,
            place.identity,
            None if address < 0 else address,
            place.store,
            known=known,
        )
    fill = np.frombuffer(bytes.fromhex(found["fill"]), stored)[0]
    filters = tuple(
        (code, label, of.sizes(slot, n)) for code, label, slot, n in found["filters"]
    )
    pipeline = _pipeline(filters)
    return ChunkGrid(chunk_shape, stored, pipeline, fill, table, found["whole"])


def _make_library(of: RecordedFile, found: Mapping[str, Any], place: _Place) -> Library:
    file, identity, store = place
    if "zarr" in found:
        return recorded_zarr.make_library(
            found["zarr"], of.sizes, store=file, name=found["name"]
        )
    others = tuple((f, Identity(n, t)) for f, n, t in found["others"])
    return Hdf5Library(file, found["name"], identity, others, store)


@lru_cache(256)
def plain_dtype(text: str) -> np.dtype[Any]:
    """Return the type that a text names."""
    return np.dtype(text)


@lru_cache(256)
def _pipeline(filters: tuple[tuple[int, str, tuple[int, ...]], ...]) -> Pipeline:
    return Pipeline(tuple(Filter(*step) for step in filters))
