"""Describes arrays of zarr stores, of versions 2 and 3."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError, FileFormatError, ScdatasetError
from ..chunks import ChunkTable
from ..decoding.pipeline import Pipeline
from ..io.byte_sources import SourceIdentity
from ..io.fork_safe_lock import first_use_lock
from ..io.identities import Identity, check_unchanged
from ..layout import ChunkGrid
from .declared_sizes import FREE_BYTES, check_declared
from .description import Description
from .zarr_chunks import ShardIndex, ZarrTableMaker, grid_shape
from .zarr_codecs import (
    MOST_CHUNKS,
    check_description,
    pipeline_of,
    too_many_chunks,
)
from .zarr_files import check_files
from .zarr_stores import (
    archive_of,
    folder_of,
    objects_of,
    reopen_array,
    store_name,
)

if TYPE_CHECKING:
    import zarr

__all__ = [
    "FileGrid",
    "ZarrLibrary",
    "check_written",
    "describe_zarr",
    "list_chunks",
    "read_file_grid",
]

Shape = tuple[int, ...]
Metadata = Mapping[str, Any]  # Any: what JSON holds

_PLAIN_TYPES = {"bool", "float16", "float32", "float64", "complex64", "complex128"}
_PLAIN_TYPES |= {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_PLAIN_KINDS = "biufc"
_TEXT_KINDS = "OSUT"
_LEAST_TEXT = 4  # bytes of the shortest text: its length, or one character
_INDEX_CODECS = (["bytes"], ["bytes", "crc32c"])


class FileGrid(NamedTuple):
    """Says how an array is cut into files, and these into chunks.

    Parameters
    ----------
    file_shape
        Shape of what one file holds: a chunk, or a shard.
    chunk_shape
        Shape of a chunk.
    prefix, separator
        What the names of the files begin with, and what separates their numbers.
    shards
        The index of the shards; None where each file is a chunk.
    codecs
        The codecs of a chunk that version 3 lists; none for version 2.
    """

    file_shape: Shape
    chunk_shape: Shape
    prefix: str
    separator: str
    shards: ShardIndex | None
    codecs: Sequence[Metadata] = ()


class _Encoding(NamedTuple):
    """Says how an array is cut into files and encoded."""

    grid: FileGrid
    stored_dtype: np.dtype[Any]
    pipeline: Pipeline


class _NotNativeError(Exception):
    """Says why only zarr-python can read an array."""


class ZarrLibrary:
    """Reads rows of an array with zarr-python.

    Parameters
    ----------
    array
        The array.
    why
        The reason why this library does not read it itself; empty for text, which
        zarr-python always reads.
    metadata
        The local file that describes the array, or its zip file, with its identity;
        None: there is none.
    """

    def __init__(
        self,
        array: "zarr.Array",
        why: str,
        metadata: tuple[str, SourceIdentity] | None,
    ) -> None:
        self.why = why
        self._array, self.metadata = array, metadata
        self._pid: int | None = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pid": None}

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``."""
        if self.metadata is not None:
            check_unchanged(*self.metadata)
        from .zarr_checks import with_checks  # which imports zarr

        array = self._array
        try:
            array = self._open_in_this_process()
            rows = np.asarray(with_checks(array)[start:stop])
        except (ScdatasetError, MemoryError, ImportError):
            raise
        except Exception as error:  # zarr's codecs raise what they like
            raise CorruptFileError(
                f"{store_name(array)}: data set {array.path}, elements {start} to"
                f" {stop}: zarr cannot read them: {type(error).__name__}: {error}"
            ) from error
        return rows.astype(object) if rows.dtype.kind in _TEXT_KINDS else rows

    def _open_in_this_process(self) -> "zarr.Array":
        """Return the array, open in this process."""
        if self._pid != os.getpid():
            with first_use_lock():
                if self._pid != os.getpid():
                    forked = self._pid is not None
                    self._array = reopen_array(self._array, forked=forked)
                    self._pid = os.getpid()
        return self._array


def describe_zarr(array: "zarr.Array") -> Description:
    """Return how an array is laid out in its store.

    Raises
    ------
    FileFormatError
        If it has no first axis, or holds pickled objects.
    """
    store, metadata = store_name(array), array.metadata.to_dict()
    shape = tuple(int(size) for size in array.shape)
    if not shape:
        raise FileFormatError(f"{store}: data set {array.path} must be an array")
    check_description(f"{store}: data set {array.path}", metadata)
    dtype = np.dtype(array.dtype)
    text = dtype.kind in _TEXT_KINDS
    dtype = np.dtype(object) if text else dtype.newbyteorder("=")
    folder, archive, objects = folder_of(array), archive_of(array), None
    described_by: tuple[str, SourceIdentity] | None = None
    if folder is not None:
        described_by = _find_metadata_file(folder)
    elif archive is not None:
        described_by = archive, Identity.of(archive)
    elif (place := objects_of(array)) is not None:
        objects, folder = place
        name = ".zarray" if array.metadata.zarr_format == 2 else "zarr.json"
        described = f"{folder}/{name}"
        described_by = described, objects.identify(described)
    grid, why = None, "" if text else f"its store is a {type(array.store).__name__}"
    if folder is not None and not text:
        try:
            found = _read_encoding(metadata)
            check_declared(
                f"{store}: data set {array.path}",
                file_bytes=0,
                array_bytes=0,
                n_chunks=1,
                chunk_bytes=prod(found.grid.chunk_shape) * dtype.itemsize,
                whole=False,
            )
            _check_grid(found.grid, shape, f"{store}: data set {array.path}")
        except _NotNativeError as reason:
            why = str(reason)
        else:
            make_table = replace(
                _make_table_maker(array, found.grid, folder, described_by),
                objects=objects,
            )
            fill = 0 if array.fill_value is None else array.fill_value
            grid = ChunkGrid(
                found.grid.chunk_shape,
                found.stored_dtype,
                found.pipeline,
                fill,
                make_table,
            )
    library = None
    if grid is None:
        if (cut := read_file_grid(array)) is not None:
            counts = grid_shape(shape, cut.file_shape)
            check_files(array, cut.prefix, cut.separator, counts)
        # Of objects each request finds out whether they are what they were.
        checked = None if objects is not None else described_by
        library = ZarrLibrary(array, why, checked)
    return Description(store, array.path, shape, dtype, grid, library, False)


def _make_table_maker(
    array: "zarr.Array",
    grid: FileGrid,
    folder: str,
    described_by: tuple[str, SourceIdentity] | None,
) -> ZarrTableMaker:
    return ZarrTableMaker(
        store_name(array),
        array.path,
        folder,
        described_by,
        tuple(int(size) for size in array.shape),
        grid.file_shape,
        grid.prefix,
        grid.separator,
        grid.shards,
    )


def check_written(array: "zarr.Array", where: str) -> None:
    """Raise if an array claims more than its files hold, and was written whole.

    Values that differ from each other, such as names, are: of those that zarr leaves
    out, all are the same.
    """
    text = np.dtype(array.dtype).kind in _TEXT_KINDS
    n_bytes = prod(array.shape) * (_LEAST_TEXT if text else array.dtype.itemsize)
    if n_bytes > FREE_BYTES:
        check_declared(
            where,
            file_bytes=int(array.nbytes_stored()),
            array_bytes=n_bytes,
            n_chunks=1,
            chunk_bytes=0,
            whole=True,
        )


def read_file_grid(array: "zarr.Array") -> FileGrid | None:
    """Return how an array of any type is cut into files; None: not in a known way."""
    try:
        return _read_grid(array.metadata.to_dict())
    except _NotNativeError:
        return None


def list_chunks(array: "zarr.Array", grid: FileGrid) -> ChunkTable | None:
    """Return where the chunks of an array lie; None if no folder holds them."""
    folder, place = folder_of(array), objects_of(array)
    if place is not None:
        maker = _make_table_maker(array, grid, place[1], None)
        return replace(maker, objects=place[0])()
    return None if folder is None else _make_table_maker(array, grid, folder, None)()


def _find_metadata_file(folder: str) -> tuple[str, Identity] | None:
    for name in ("zarr.json", ".zarray"):
        path = os.path.join(folder, name)  # noqa: PTH118  # a string is kept
        if os.path.exists(path):  # noqa: PTH110
            return path, Identity.of(path)
    return None


def _check_grid(found: FileGrid, shape: Shape, where: str) -> None:
    """Raise where chunks cannot be placed here."""
    if len(shape) > 2 and found.chunk_shape[1:] != shape[1:]:
        raise _NotNativeError(f"it has {len(shape)} axes")
    n_chunks = prod(grid_shape(shape, found.chunk_shape))
    if n_chunks > MOST_CHUNKS:
        raise too_many_chunks(where, n_chunks)


def _read_encoding(metadata: Metadata) -> _Encoding:
    """Return the encoding that metadata describe."""
    if metadata["zarr_format"] == 2:
        return _read_version_2(metadata)
    return _read_version_3(metadata)


def _read_grid(metadata: Metadata) -> FileGrid:
    """Return how metadata cut an array into files and chunks."""
    if metadata["zarr_format"] == 2:
        chunks = tuple(metadata["chunks"])
        separator = str(metadata.get("dimension_separator", "."))
        return FileGrid(chunks, chunks, "", separator, None)
    grid, codecs = metadata["chunk_grid"], list(metadata["codecs"])
    if grid["name"] != "regular" or metadata.get("storage_transformers"):
        raise _NotNativeError("its chunks are not on a regular grid")
    file_shape = tuple(grid["configuration"]["chunk_shape"])
    prefix, separator = _read_key_encoding(metadata["chunk_key_encoding"])
    if codecs[0]["name"] != "sharding_indexed":
        return FileGrid(file_shape, file_shape, prefix, separator, None, codecs)
    if len(codecs) > 1:
        raise _NotNativeError("its shards are encoded as a whole")
    shards, codecs = _read_shards(codecs[0]["configuration"])
    return FileGrid(file_shape, shards.chunk_shape, prefix, separator, shards, codecs)


def _read_version_2(metadata: Metadata) -> _Encoding:
    dtype = metadata["dtype"]
    if not isinstance(dtype, str) or np.dtype(dtype).kind not in _PLAIN_KINDS:
        raise _NotNativeError(f"its type is {dtype}")
    if metadata["order"] != "C" and len(metadata["chunks"]) > 1:
        raise _NotNativeError("its chunks are stored by columns")
    steps = [*(metadata.get("filters") or ()), metadata.get("compressor")]
    # Blosc packs the array itself; behind a filter it packs bytes, and then says so.
    item = {"typesize": np.dtype(dtype).itemsize}
    codecs = [
        {"name": step["id"], "configuration": {**item, **step}}
        for step in steps
        if step is not None
    ]
    if any(codec["name"] == "crc32c" for codec in codecs):
        raise _NotNativeError(
            "its codec is crc32c"
        )  # numcodecs' has a layout of its own
    return _Encoding(_read_grid(metadata), np.dtype(dtype), _make_pipeline(codecs))


def _read_version_3(metadata: Metadata) -> _Encoding:
    data_type = metadata["data_type"]
    if not isinstance(data_type, str) or data_type not in _PLAIN_TYPES:
        raise _NotNativeError(f"its type is {data_type}")
    grid = _read_grid(metadata)
    stored_dtype = _read_byte_order(np.dtype(data_type), grid.codecs[0])
    return _Encoding(grid, stored_dtype, _make_pipeline(grid.codecs[1:]))


def _read_key_encoding(encoding: Metadata) -> tuple[str, str]:
    """Return how the names of chunks begin, and what stands between their numbers."""
    options = encoding.get("configuration", {})
    if encoding["name"] == "default":
        separator = str(options.get("separator", "/"))
        return f"c{separator}", separator
    if encoding["name"] == "v2":
        return "", str(options.get("separator", "."))
    raise _NotNativeError(f"its chunks are named in the way {encoding['name']}")


def _read_shards(options: Metadata) -> tuple[ShardIndex, list[Metadata]]:
    """Return the index of shards, and the codecs of the chunks in them."""
    index = list(options["index_codecs"])
    names = [codec["name"] for codec in index]
    if names not in _INDEX_CODECS or _read_endian(index[0]) != "little":
        raise _NotNativeError(f"the index of its shards is encoded as {names}")
    found = ShardIndex(
        tuple(options["chunk_shape"]),
        options.get("index_location", "end") == "start",
        "crc32c" in names,
    )
    return found, list(options["codecs"])


def _read_byte_order(dtype: np.dtype[Any], codec: Metadata) -> np.dtype[Any]:
    """Return the stored type, from the codec that turns an array into bytes."""
    if codec["name"] != "bytes":
        raise _NotNativeError(f"its codec is {codec['name']}")
    return dtype.newbyteorder("<" if _read_endian(codec) == "little" else ">")


def _read_endian(codec: Metadata) -> str:
    return str((codec.get("configuration") or {}).get("endian", "little"))


def _make_pipeline(codecs: Sequence[Metadata]) -> Pipeline:
    pipeline = pipeline_of(codecs)
    if isinstance(pipeline, str):
        raise _NotNativeError(f"its codec is {pipeline}")
    return pipeline
