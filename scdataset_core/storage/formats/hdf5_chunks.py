"""Makes chunk tables of HDF5 datasets, and checks what the file lists."""

from array import array as compact
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import CorruptFileError
from ..chunks import ABSENT, ChunkTable
from ..decoding.filters import SHUFFLE, unshuffle
from ..io.byte_sources import SourceIdentity
from .hdf5_btrees import ListedChunks, PieceOfFile, ReadPieces, read_layout
from .hdf5_files import counts_user_block
from .hdf5_heaps import REFERENCE

if TYPE_CHECKING:
    import h5py

__all__ = ["DatasetShape", "check_complete", "make_chunk_table", "read_chunk_table"]

Rows = npt.NDArray[np.int64]


class DatasetShape(NamedTuple):
    """How a dataset is cut into chunks, and what errors call it.

    Parameters
    ----------
    file, name
        The dataset.
    shape
        Its shape.
    chunks
        Shape of a chunk; None where it lies in one piece.
    item_bytes
        Bytes of an element.
    """

    file: str
    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None
    item_bytes: int

    @classmethod
    def of(cls, dataset: "h5py.Dataset", file: str) -> "DatasetShape":
        """Return that of an open dataset."""
        # Of text the file has references, where the array in memory has pointers.
        kind = REFERENCE if dataset.dtype.kind == "O" else dataset.dtype
        return cls(
            file, str(dataset.name), dataset.shape, dataset.chunks, kind.itemsize
        )

    @property
    def needed_chunks(self) -> tuple[int, ...]:
        """Shape of a chunk, for callers who know that there are some."""
        assert self.chunks is not None
        return self.chunks

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        sizes = zip(self.shape, self.needed_chunks, strict=True)
        return tuple(-(-size // step) for size, step in sizes)

    @property
    def chunk_counts(self) -> tuple[int, ...]:
        """Number of chunks along each axis; 1 where it lies in one piece."""
        return (1,) if self.chunks is None else self.grid_shape

    def corrupt(self, wrong: str) -> CorruptFileError:
        """Return the error for a dataset that cannot be right."""
        return CorruptFileError(
            f"{self.file}: data set {self.name}: {wrong}; the file is damaged or was"
            " written in part, restore it from its origin"
        )


def make_chunk_table(
    dataset: "h5py.Dataset", file: str, identity: SourceIdentity
) -> ChunkTable:
    """Return where the chunks of a dataset lie, as HDF5 lists them.

    Raises
    ------
    CorruptFileError
        If what the file lists contradicts itself: a chunk outside the shape, one
        listed twice, or two that share bytes.
    """
    user_block = int(dataset.file.userblock_size)
    shape = DatasetShape.of(dataset, file)
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if user_block and offset is not None and not counts_user_block()[1]:
            offset += user_block
        return _table_of_piece(offset, shape, identity)
    found = _list_with_hdf5(dataset)
    index = _number_chunks(shape, found)
    unfiltered = _find_unfiltered(dataset, found)
    if len(unfiltered):
        n_filters = dataset.id.get_create_plist().get_nfilters()
        found.skipped[unfiltered] = (1 << n_filters) - 1
    if user_block and not counts_user_block()[0]:
        found = found._replace(offsets=found.offsets + np.uint64(user_block))
    return _table_of_chunks(index, found, shape, identity)


def read_chunk_table(
    read: ReadPieces, address: int, shape: DatasetShape, identity: SourceIdentity
) -> ChunkTable | None:
    """Return where the chunks of a dataset lie, read from the file without HDF5.

    Parameters
    ----------
    read
        Reads bytes of the file.
    address
        First byte of the dataset's object header.
    shape
        The dataset.
    identity
        Identity of the file.

    Returns
    -------
    table
        None where HDF5 must be asked.

    Raises
    ------
    CorruptFileError
        As for :func:`make_chunk_table`.
    """
    found = read_layout(
        read,
        address,
        identity.n_bytes,
        chunk_shape=shape.chunks,
        item_bytes=shape.item_bytes,
    )
    if isinstance(found, PieceOfFile):
        same = found.n_bytes == prod(shape.shape) * shape.item_bytes
        return _table_of_piece(found.offset, shape, identity) if same else None
    if found is None:
        return None
    # No chunk of such a file was left without its filters and not marked so.
    return _table_of_chunks(_number_chunks(shape, found), found, shape, identity)


def check_complete(dataset: "h5py.Dataset", file: str) -> None:
    """Raise if chunks of a dataset, or all of it, were never written."""
    if dataset.is_virtual or dataset.external or not dataset.size:
        return
    shape = DatasetShape.of(dataset, file)
    if dataset.chunks is None:
        if not dataset.id.get_storage_size():
            raise shape.corrupt("it is missing, nothing was ever written there")
        return
    expected, there = prod(shape.grid_shape), dataset.id.get_num_chunks()
    if there < expected:
        raise shape.corrupt(f"{expected - there} of its {expected} chunks are missing")


def _table_of_piece(
    offset: int | None, shape: DatasetShape, identity: SourceIdentity
) -> ChunkTable:
    n_bytes = prod(shape.shape) * shape.item_bytes
    if offset is not None and offset + n_bytes > identity.n_bytes:
        raise shape.corrupt(
            f"it would lie at byte {offset} and take {n_bytes} bytes, outside the file"
            f" of {identity.n_bytes} bytes"
        )
    start = np.array([ABSENT if offset is None else offset], np.int64)
    return ChunkTable((shape.file,), (identity,), start, np.array([n_bytes]))


def _table_of_chunks(
    index: Rows, found: ListedChunks, shape: DatasetShape, identity: SourceIdentity
) -> ChunkTable:
    sizes = found.sizes
    n_chunks = prod(shape.grid_shape)
    small = np.uint32 if not len(sizes) or sizes.max() < 2**32 else np.uint64
    all_offsets = np.full(n_chunks, ABSENT, np.int64)
    all_sizes = np.zeros(n_chunks, small)
    all_offsets[index] = found.offsets.view(np.int64)
    all_sizes[index] = sizes
    all_skipped = None
    if found.skipped.any():
        all_skipped = np.zeros(n_chunks, np.uint8)
        all_skipped[index] = found.skipped.astype(np.uint8)
    return ChunkTable((shape.file,), (identity,), all_offsets, all_sizes, all_skipped)


def _list_with_hdf5(dataset: "h5py.Dataset") -> ListedChunks:
    """Return the chunks that HDF5 lists."""
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
    return ListedChunks(
        np.frombuffer(corners, np.uint64).reshape(-1, len(dataset.chunks)),
        np.frombuffer(offsets, np.uint64),
        np.frombuffer(sizes, np.uint64),
        np.frombuffer(masks, np.uint64).copy(),
    )


def _number_chunks(shape: DatasetShape, found: ListedChunks) -> Rows:
    """Return the number of each chunk in the grid, after checking what is listed."""
    cells = found.corners // np.array(shape.needed_chunks, np.uint64)
    grid = np.array(shape.grid_shape, np.uint64)
    outside = (cells >= grid).any(axis=1)
    if outside.any():
        corner = tuple(found.corners[np.argmax(outside)].tolist())
        raise shape.corrupt(
            f"it has a chunk outside its shape {shape.shape}, at {corner}"
        )
    strides = np.cumprod(np.append(grid[1:], np.uint64(1))[::-1], dtype=np.uint64)[::-1]
    index: Rows = (cells * strides).sum(axis=1, dtype=np.uint64).view(np.int64)
    _check_listed(shape, index, found)
    return index


def _check_listed(shape: DatasetShape, index: Rows, found: ListedChunks) -> None:
    """Raise if a chunk is listed twice, or two lie on the same bytes."""
    if not (index[1:] > index[:-1]).all():
        known, first = np.unique(index, return_index=True)
        if len(known) < len(index):
            twice = int(np.delete(index, first)[0])
            raise shape.corrupt(f"chunk {twice} is listed twice")
    order = np.argsort(found.offsets, kind="stable")
    begins, ends = found.offsets[order], (found.offsets + found.sizes)[order]
    shared = np.flatnonzero(begins[1:] < ends[:-1])
    if len(shared):
        a, b = index[order[shared[0]]], index[order[shared[0] + 1]]
        raise shape.corrupt(
            f"chunks {a} and {b} lie on the same bytes, at {begins[1:][shared[0]]}"
        )


def _find_unfiltered(
    dataset: "h5py.Dataset", found: ListedChunks
) -> npt.NDArray[np.int64]:
    """Return which chunks were stored without their filters, and are not marked so.

    HDF5 can be told to leave chunks that the shape cuts off as they are
    (H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS), and h5py cannot say whether it was. Such a
    chunk has the size of a whole one, and the rows that HDF5 reads are its bytes.
    """
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if not codes or dataset.dtype.kind == "O":  # h5py gives text, not its references
        return np.empty(0, np.int64)
    n_bytes = prod(dataset.chunks) * dataset.dtype.itemsize
    shape, steps = np.array(dataset.shape), np.array(dataset.chunks)
    cut = (found.corners.astype(np.int64) + steps > shape).any(axis=1)
    cut &= (found.sizes == n_bytes) & (found.skipped == 0)
    plain: list[int] = []
    for at in np.flatnonzero(cut).tolist():
        raw = _read_stored_rows(dataset, found.corners[at])
        if raw is None:  # filtered, and of that size by chance
            return np.empty(0, np.int64)
        plain.append(at)
        shuffled = unshuffle(raw, n_bytes, dataset.dtype.itemsize)
        if set(codes) != {SHUFFLE} or bytes(shuffled) != raw:
            return np.flatnonzero(cut)  # so it is with all of them
    return np.array(plain, np.int64)


def _read_stored_rows(
    dataset: "h5py.Dataset", corner: npt.NDArray[np.uint64]
) -> bytes | None:
    """Return the stored bytes of a chunk if they are what HDF5 reads there."""
    try:
        _, raw = dataset.id.read_direct_chunk(tuple(corner.tolist()))
        region = tuple(_slices(dataset, corner))
        seen = dataset[region]
    except OSError:  # a filter that HDF5 does not know, or damage
        return None
    inside = tuple(slice(0, size) for size in seen.shape)
    stored = np.frombuffer(raw, dataset.dtype).reshape(dataset.chunks)[inside]
    return bytes(raw) if stored.tobytes() == seen.tobytes() else None


def _slices(dataset: "h5py.Dataset", corner: npt.NDArray[np.uint64]) -> Iterator[slice]:
    """Yield the part of a dataset that a chunk is, along each axis."""
    for start, step, size in zip(
        corner.tolist(), dataset.chunks, dataset.shape, strict=True
    ):
        yield slice(start, min(start + step, size))
