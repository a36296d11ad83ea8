"""Arrays of HDF5 files: their layout taken out of the library, once."""

import os
import tempfile
import warnings
import weakref
from array import array as compact
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import CorruptFileError, FileFormatError
from .chunks import ABSENT, ChunkTable
from .codecs import Pipeline
from .files import Identity, check_unchanged
from .filters import Filter
from .layout import ChunkGrid, Library

if TYPE_CHECKING:
    import h5py

__all__ = ["Description", "Hdf5Library", "Hdf5Table", "OpenLibrary", "describe"]

# Drivers whose files are what lies at their path, byte for byte.
PLAIN_DRIVERS = {"sec2", "stdio", "windows", "direct"}
# Types whose stored bytes are their bytes in memory, but for their order.
PLAIN_KINDS = "biufcS"
MOST_FILTERS = 8
# Of the arrays that are read through the library; systems allow 256 files or more.
MOST_OPEN = 64


@dataclass(frozen=True)
class Hdf5Table:
    """Makes the chunk table of a dataset.

    Parameters
    ----------
    file, name
        The dataset.
    identity
        What the file was when the dataset was described.
    """

    file: str
    name: str
    identity: Identity

    def __call__(self) -> ChunkTable:
        """Return the table; the file must not have changed."""
        import h5py

        check_unchanged(self.file, self.identity)
        try:
            with h5py.File(self.file, "r") as file:
                return table_of(file[self.name], self.file, self.identity)
        except CorruptFileError:
            raise
        except (OSError, RuntimeError, KeyError) as error:
            raise CorruptFileError(
                f"{self.file}: data set {self.name}: HDF5 cannot list its chunks:"
                f" {error}; the file is damaged, restore it from its origin"
            ) from error


class Hdf5Library:
    """Reads rows of a dataset with h5py; keeps the file open in the process that reads.

    Parameters
    ----------
    file, name
        The dataset.
    identity
        What the file was when the dataset was described.
    """

    def __init__(self, file: str, name: str, identity: Identity) -> None:
        self._file, self._name, self._identity = file, name, identity
        self._open: tuple[int, h5py.Dataset] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``."""
        check_unchanged(self._file, self._identity)
        try:
            rows: npt.NDArray[Any] = self._dataset()[start:stop]
        except (OSError, RuntimeError, KeyError) as error:
            raise CorruptFileError(
                f"{self._file}: data set {self._name}, rows {start} to {stop}: HDF5"
                f" cannot read them: {error}"
            ) from error
        return rows

    def _dataset(self) -> "h5py.Dataset":
        held = self._open
        if held is None or held[0] != os.getpid():
            import h5py

            held = (os.getpid(), h5py.File(self._file, "r")[self._name])
        self._open = held
        _keep_few_open(self)
        return held[1]

    def close(self) -> None:
        """Let go of the file, which the next read opens again."""
        self._open = None


# The longest unused come first. No lock, which a fork could leave locked: each step on
# the dict is one of the interpreter's.
_holding: "dict[int, weakref.ref[Hdf5Library]]" = {}


def _keep_few_open(latest: Hdf5Library) -> None:
    """Close the files that were not read for longest, so that `MOST_OPEN` stay open."""
    _holding.pop(id(latest), None)
    _holding[id(latest)] = weakref.ref(latest)
    if len(_holding) > MOST_OPEN:
        for key in list(_holding)[:-MOST_OPEN]:
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

    def __call__(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop``."""
        rows: npt.NDArray[Any] = self._dataset[start:stop]
        return rows

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self._dataset.name} lies in a file that only this process can open: it"
            " is in memory or open for writing; save it, and open the path read-only,"
            " to read it in other processes"
        )


class Description(NamedTuple):
    """What an array needs to be read.

    Parameters
    ----------
    file, name, shape, dtype, grid, library, contiguous
        As for :class:`ArrayLayout`.
    """

    file: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    grid: ChunkGrid | None
    library: Library | None
    contiguous: bool


def describe(dataset: "h5py.Dataset") -> Description:
    """Return how a dataset is laid out in its file.

    Raises
    ------
    FileFormatError
        If it has no first axis.
    """
    file = str(Path(dataset.file.filename).absolute())
    name = str(dataset.name)
    if not dataset.shape:
        raise FileFormatError(
            f"{file}: data set {name} must be an array, it has the shape"
            f" {dataset.shape}"
        )
    shape = tuple(int(size) for size in dataset.shape)
    dtype = native(dataset.dtype)
    if (
        dataset.name is None
        or dataset.file.mode != "r"
        or dataset.file.driver not in PLAIN_DRIVERS
    ):
        library: Library = OpenLibrary(dataset)
        return Description(file, name, shape, dtype, None, library, False)
    identity = Identity.of(file)
    grid = _grid_of(dataset, Hdf5Table(file, name, identity))
    contiguous = grid is not None and dataset.chunks is None
    if grid is not None:
        return Description(file, name, shape, dtype, grid, None, contiguous)
    library = Hdf5Library(file, name, identity)
    return Description(file, name, shape, dtype, None, library, False)


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a type in native byte order, without h5py's notes on it."""
    if dtype.kind in PLAIN_KINDS:
        return np.dtype(dtype.str).newbyteorder("=")
    return dtype


def _grid_of(dataset: "h5py.Dataset", make_table: Hdf5Table) -> ChunkGrid | None:
    """Return the chunks of a dataset, or None where only the library can read it."""
    from h5py import h5d, h5t

    plist = dataset.id.get_create_plist()
    layout = plist.get_layout()
    stored = h5t.py_create(dataset.dtype, logical=True)
    if (
        dataset.dtype.kind not in PLAIN_KINDS
        or not stored.equal(dataset.id.get_type())
        or layout not in (h5d.CHUNKED, h5d.CONTIGUOUS)
        or plist.get_external_count()
    ):
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
        _announce(dataset, make_table.file, str(unknown or pipeline))
        return None
    stored_dtype = np.dtype(dataset.dtype.str)
    return ChunkGrid(chunk_shape, stored_dtype, pipeline, dataset.fillvalue, make_table)


# The file, as it was opened, and the filter that a warning was last about.
_announced: tuple[int, str] | None = None


def _announce(dataset: "h5py.Dataset", file: str, filters: str) -> None:
    """Warn of filters unknown here, once for all data sets of a file that is opened."""
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


def table_of(dataset: "h5py.Dataset", file: str, identity: Identity) -> ChunkTable:
    """Return where the chunks of a dataset lie."""
    user_block = int(dataset.file.userblock_size)
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        n_bytes = prod(dataset.shape) * dataset.dtype.itemsize
        start = ABSENT if offset is None else offset
        if user_block and offset is not None and not _counts_user_block()[1]:
            start += user_block
        return ChunkTable(
            (file,), (identity,), np.array([start], np.int64), np.array([n_bytes])
        )
    index, offsets, sizes, skipped = _chunks_of(dataset, file)
    if user_block and not _counts_user_block()[0]:
        offsets = offsets + np.uint64(user_block)
    n_chunks = prod(_grid_shape(dataset))
    small = np.uint32 if not len(sizes) or sizes.max() < 2**32 else np.uint64
    all_offsets = np.full(n_chunks, ABSENT, np.int64)
    all_sizes = np.zeros(n_chunks, small)
    all_offsets[index] = offsets.view(np.int64)
    all_sizes[index] = sizes
    all_skipped = None
    if skipped.any():
        all_skipped = np.zeros(n_chunks, np.uint8)
        all_skipped[index] = skipped
    return ChunkTable((file,), (identity,), all_offsets, all_sizes, all_skipped)


def _grid_shape(dataset: "h5py.Dataset") -> tuple[int, ...]:
    return tuple(
        -(-size // step)
        for size, step in zip(dataset.shape, dataset.chunks, strict=True)
    )


def _chunks_of(
    dataset: "h5py.Dataset", file: str
) -> tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint8],
]:
    """Return number, offset, size and filter mask of every chunk there is."""
    # Millions of chunks: 17 bytes each while they are collected, no objects.
    corners, offsets, sizes = compact("Q"), compact("Q"), compact("Q")
    masks = compact("Q")

    def collect(chunk: Any) -> None:
        corner, mask, offset, size = chunk
        corners.extend(corner)
        masks.append(mask)
        offsets.append(offset)
        sizes.append(size)

    dataset.id.chunk_iter(collect)
    steps = np.array(dataset.chunks, np.uint64)
    n_dims = len(steps)
    cells = np.frombuffer(corners, np.uint64).reshape(-1, n_dims) // steps
    grid = np.array(_grid_shape(dataset), np.uint64)
    if (cells >= grid).any():
        raise CorruptFileError(
            f"{file}: data set {dataset.name} has a chunk outside its shape"
            f" {dataset.shape}; the file is damaged, restore it from its origin"
        )
    strides = np.cumprod(np.append(grid[1:], np.uint64(1))[::-1], dtype=np.uint64)[::-1]
    index = (cells * strides).sum(axis=1, dtype=np.uint64).view(np.int64)
    return (
        index,
        np.frombuffer(offsets, np.uint64),
        np.frombuffer(sizes, np.uint64),
        np.frombuffer(masks, np.uint64).astype(np.uint8),
    )


@lru_cache
def _counts_user_block() -> tuple[bool, bool]:
    """Return whether offsets of chunks, and of whole data, count the user block.

    Releases differ, so it is tried out on a small file.
    """
    import h5py

    block = 512
    mark = np.frombuffer(b"scdataset mark!!", np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "probe.h5"))
        with h5py.File(path, "w", userblock_size=block) as file:
            file.create_dataset("chunked", data=mark, chunks=mark.shape)
            file.create_dataset("whole", data=mark + 1)
        contents = Path(path).read_bytes()
        with h5py.File(path, "r") as file:
            found: list[int] = []
            file["chunked"].id.chunk_iter(lambda chunk: found.append(chunk.byte_offset))
            offset = file["whole"].id.get_offset()
    return (
        contents.find(mark.tobytes()) == found[0],
        contents.find((mark + 1).astype(np.uint8).tobytes()) == offset,
    )
