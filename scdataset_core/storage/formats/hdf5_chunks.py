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
from ..io.open_files import Identity
from .hdf5_files import counts_user_block

if TYPE_CHECKING:
    import h5py

__all__ = ["check_complete", "make_chunk_table"]


class _Listed(NamedTuple):
    """Holds the chunks that a file lists, in its order.

    Parameters
    ----------
    chunk
        Number of each in the grid.
    offsets, sizes
        Where its bytes lie.
    skipped
        Bits of the filters it was written without.
    """

    chunk: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.uint64]
    skipped: npt.NDArray[np.uint8]


def make_chunk_table(
    dataset: "h5py.Dataset", file: str, identity: Identity
) -> ChunkTable:
    """Return where the chunks of a dataset lie.

    Raises
    ------
    CorruptFileError
        If what the file lists contradicts itself: a chunk outside the shape, one
        listed twice, or two that share bytes.
    """
    user_block = int(dataset.file.userblock_size)
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        n_bytes = prod(dataset.shape) * dataset.dtype.itemsize
        start = ABSENT if offset is None else offset
        if user_block and offset is not None and not counts_user_block()[1]:
            start += user_block
        return ChunkTable(
            (file,), (identity,), np.array([start], np.int64), np.array([n_bytes])
        )
    index, offsets, sizes, skipped = _list_chunks(dataset, file)
    if user_block and not counts_user_block()[0]:
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


def check_complete(dataset: "h5py.Dataset", file: str) -> None:
    """Raise if chunks of a dataset were never written."""
    if dataset.chunks is None or dataset.is_virtual:
        return
    expected, there = prod(_grid_shape(dataset)), dataset.id.get_num_chunks()
    if there < expected:
        raise _corrupt(
            dataset, file, f"{expected - there} of its {expected} chunks are missing"
        )


def _corrupt(dataset: "h5py.Dataset", file: str, wrong: str) -> CorruptFileError:
    return CorruptFileError(
        f"{file}: data set {dataset.name}: {wrong}; the file is damaged or was written"
        " in part, restore it from its origin"
    )


def _grid_shape(dataset: "h5py.Dataset") -> tuple[int, ...]:
    return tuple(
        -(-size // step)
        for size, step in zip(dataset.shape, dataset.chunks, strict=True)
    )


def _list_chunks(dataset: "h5py.Dataset", file: str) -> _Listed:
    """Check the chunks that the file lists, and return them."""
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
    at = np.frombuffer(corners, np.uint64).reshape(-1, len(steps))
    cells = at // steps
    grid = np.array(_grid_shape(dataset), np.uint64)
    outside = (cells >= grid).any(axis=1)
    if outside.any():
        corner = tuple(at[np.argmax(outside)].tolist())
        raise _corrupt(
            dataset,
            file,
            f"it has a chunk outside its shape {dataset.shape}, at {corner}",
        )
    strides = np.cumprod(np.append(grid[1:], np.uint64(1))[::-1], dtype=np.uint64)[::-1]
    listed = _Listed(
        (cells * strides).sum(axis=1, dtype=np.uint64).view(np.int64),
        np.frombuffer(offsets, np.uint64),
        np.frombuffer(sizes, np.uint64),
        np.frombuffer(masks, np.uint64).astype(np.uint8),
    )
    _check_listed(dataset, file, listed)
    unfiltered = _find_unfiltered(dataset, at, listed)
    if len(unfiltered):
        n_filters = dataset.id.get_create_plist().get_nfilters()
        listed.skipped[unfiltered] = (1 << n_filters) - 1
    return listed


def _check_listed(dataset: "h5py.Dataset", file: str, listed: _Listed) -> None:
    """Raise if a chunk is listed twice, or two lie on the same bytes."""
    index, offsets, sizes, _ = listed
    known, first = np.unique(index, return_index=True)
    if len(known) < len(index):
        twice = int(np.delete(index, first)[0])
        raise _corrupt(dataset, file, f"chunk {twice} is listed twice")
    order = np.argsort(offsets, kind="stable")
    begins, ends = offsets[order], (offsets + sizes)[order]
    shared = np.flatnonzero(begins[1:] < ends[:-1])
    if len(shared):
        a, b = index[order[shared[0]]], index[order[shared[0] + 1]]
        raise _corrupt(
            dataset,
            file,
            f"chunks {a} and {b} lie on the same bytes, at {begins[1:][shared[0]]}",
        )


def _find_unfiltered(
    dataset: "h5py.Dataset", corners: npt.NDArray[np.uint64], listed: _Listed
) -> npt.NDArray[np.int64]:
    """Return which chunks were stored without their filters, and are not marked so.

    HDF5 can be told to leave chunks that the shape cuts off as they are
    (H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS), and h5py cannot say whether it was. Such a
    chunk has the size of a whole one, and the rows that HDF5 reads are its bytes.
    """
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if not codes:
        return np.empty(0, np.int64)
    n_bytes = prod(dataset.chunks) * dataset.dtype.itemsize
    shape, steps = np.array(dataset.shape), np.array(dataset.chunks)
    cut = (corners.astype(np.int64) + steps > shape).any(axis=1)
    cut &= (listed.sizes == n_bytes) & (listed.skipped == 0)
    found: list[int] = []
    for at in np.flatnonzero(cut).tolist():
        raw = _read_stored_rows(dataset, corners[at])
        if raw is None:  # filtered, and of that size by chance
            return np.empty(0, np.int64)
        found.append(at)
        shuffled = unshuffle(raw, n_bytes, dataset.dtype.itemsize)
        if set(codes) != {SHUFFLE} or bytes(shuffled) != raw:
            return np.flatnonzero(cut)  # so it is with all of them
    return np.array(found, np.int64)


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
