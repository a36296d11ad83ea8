"""Finds the chunks of zarr arrays: in a file each, or in shards with an index."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from ...checks import digest
from ...errors import CorruptFileError, FileFormatError
from ..chunks import ABSENT, ChunkTable
from ..decoding.zarr_filters import crc32c_of
from ..io.byte_sources import SourceIdentity
from ..io.identities import Identity, check_unchanged
from ..remote.identity import ObjectIdentity
from ..remote.many_objects import ObjectIdentities, identify_all, read_spans
from ..remote.object_store import ObjectStore
from .declared_sizes import check_present
from .zarr_files import count_levels, list_below, parse_numbers

__all__ = ["FileIdentities", "ShardIndex", "ZarrTableMaker", "grid_shape"]

Integers = npt.NDArray[np.int64]
Shape = tuple[int, ...]
_ENTRY_BYTES = 16  # of a shard's index: offset and size of a chunk
_CHECKSUM_BYTES = 4
_NEVER = np.uint64(2**64 - 1)
_OUTSIDE = 2**62


@dataclass(frozen=True)
class ShardIndex:
    """Says how the index of a shard is stored.

    Parameters
    ----------
    chunk_shape
        Shape of the chunks in a shard.
    at_start
        Whether the index lies before the chunks; else it lies behind them.
    has_checksum
        Whether the index ends with its CRC-32C.
    """

    chunk_shape: Shape
    at_start: bool
    has_checksum: bool


@dataclass(frozen=True)
class ZarrTableMaker:
    """Makes the chunk table of an array that lies in a local folder.

    Parameters
    ----------
    store, name
        The array, for messages.
    folder
        Its folder.
    metadata
        The file that describes the array, and its identity when it was read.
    shape
        Shape of the array.
    file_shape
        Shape of what one file holds: a chunk, or a shard.
    prefix, separator
        What the names of the files begin with, and what separates their numbers.
    shards
        The index of the shards; None where each file is a chunk.
    objects
        The store that the folder is in; None: it is a local one.
    """

    store: str
    name: str
    folder: str
    metadata: tuple[str, SourceIdentity] | None
    shape: Shape
    file_shape: Shape
    prefix: str
    separator: str
    shards: ShardIndex | None
    objects: ObjectStore | None = None

    def __call__(self) -> ChunkTable:
        """Return the table; the array's description must not have changed."""
        grid = grid_shape(self.shape, self.file_shape)
        if self.objects is None:
            start = os.path.join(self.folder, self.prefix)  # noqa: PTH118  # it may end in a separator
        else:
            start = f"{self.folder}/{self.prefix}"
        files = _Files(start, self.separator, grid)
        identities: FileIdentities | ObjectIdentities
        if self.objects is None:
            if self.metadata is not None:
                check_unchanged(*self.metadata)
            identities = _look_at_files(files, self._find_files(files))
        else:
            if self.metadata is not None:
                name, was = self.metadata
                check_unchanged(name, was, self.objects.identify_now(name))
            identities = identify_all(self.objects, self.folder, files)
        table = self._make(files, identities)
        return replace(table, store=self.objects)

    def _find_files(self, files: "_Files") -> Integers:
        """Return the numbers of the local files that are there."""
        n_levels = count_levels(self.prefix, self.separator, len(self.shape))
        names = list_below(self.folder, n_levels)
        there = parse_numbers(names, self.prefix, self.separator, files.grid)
        label = f"{self.store}: data set {self.name}"
        check_present(label, n_chunks=len(files), n_there=len(there))
        return there

    def _make(
        self, files: "_Files", identities: "FileIdentities | ObjectIdentities"
    ) -> ChunkTable:
        if self.shards is None:
            return ChunkTable(
                files,
                identities,
                np.where(identities.n_bytes < 0, ABSENT, 0),
                np.maximum(identities.n_bytes, 0),
                file_of=np.arange(len(files), dtype=np.uint32),
            )
        return self._inside_shards(files, identities, self.shards)

    def _inside_shards(
        self,
        files: "_Files",
        identities: "FileIdentities | ObjectIdentities",
        shards: ShardIndex,
    ) -> ChunkTable:
        """Return the table of the chunks that the shards' indices list."""
        per_shard = grid_shape(self.file_shape, shards.chunk_shape)
        grid = grid_shape(self.shape, shards.chunk_shape)
        there = np.flatnonzero(identities.n_bytes >= 0).tolist()
        self._check_shards(identities, there, prod(grid), prod(per_shard))
        offsets = np.full(grid, ABSENT, np.int64)
        sizes = np.zeros(grid, np.int64)
        file_of = np.zeros(grid, np.uint32)
        indices = self._read_indices(files, identities, there, prod(per_shard), shards)
        for number, index in zip(there, indices, strict=True):
            corner = np.unravel_index(number, files.grid)
            here = tuple(
                slice(int(at) * step, (int(at) + 1) * step)
                for at, step in zip(corner, per_shard, strict=True)
            )
            inside = tuple(slice(size) for size in offsets[here].shape)
            index = index.reshape(*per_shard, 2)[inside]
            written = index[..., 0] != _NEVER
            # Numbers that cannot be right stay so large that they lie outside the file.
            bounded = np.minimum(index, np.uint64(_OUTSIDE)).view(np.int64)
            offsets[here] = np.where(written, bounded[..., 0], ABSENT)
            sizes[here] = np.where(written, bounded[..., 1], 0)
            file_of[here] = number
        small = np.uint32 if sizes.max(initial=0) < 2**32 else np.int64
        return ChunkTable(
            files,
            identities,
            offsets.reshape(-1),
            sizes.reshape(-1).astype(small),
            file_of=None if len(files) == 1 else file_of.reshape(-1),
        )

    def _check_shards(
        self,
        identities: "FileIdentities | ObjectIdentities",
        there: list[int],
        n_chunks: int,
        per_shard: int,
    ) -> None:
        """Raise if the shards that are there cannot list as many chunks as claimed."""
        stored = int(identities.n_bytes[there].sum())
        n_there = min(len(there) * per_shard, stored // _ENTRY_BYTES)
        label = f"{self.store}: data set {self.name}"
        check_present(label, n_chunks=n_chunks, n_there=n_there)

    def _read_indices(
        self,
        files: "_Files",
        identities: "FileIdentities | ObjectIdentities",
        numbers: list[int],
        n_chunks: int,
        shards: ShardIndex,
    ) -> Iterator[npt.NDArray[np.uint64]]:
        """Yield offset and size of every chunk of some shards, ``(n_chunks, 2)``."""
        n_bytes = n_chunks * _ENTRY_BYTES
        stored = n_bytes + _CHECKSUM_BYTES * shards.has_checksum
        sizes = identities.n_bytes[numbers].tolist()
        for number, size in zip(numbers, sizes, strict=True):
            if size < stored:
                wrong = f"it has {size} bytes, fewer than its index"
                raise self._corrupt(files[number], wrong)
        starts = [0 if shards.at_start else size - stored for size in sizes]
        if self.objects is None:
            read = _read_files(files, numbers, starts, stored)
        else:
            objects = [
                (files[number], known)
                for number in numbers
                if isinstance(known := identities[number], ObjectIdentity)
            ]
            read = read_spans(self.objects, objects, starts, stored)
        for number, data in zip(numbers, read, strict=True):
            path = files[number]
            if len(data) < stored:
                raise self._corrupt(path, "it ends inside its index")
            if shards.has_checksum:
                checksum = int.from_bytes(data[n_bytes:], "little")
                if crc32c_of(data[:n_bytes]) != checksum:
                    wrong = "the checksum of its index does not match"
                    raise self._corrupt(path, wrong)
            yield np.frombuffer(data, "<u8", 2 * n_chunks).reshape(-1, 2)

    def _corrupt(self, path: str, wrong: str) -> CorruptFileError:
        return CorruptFileError(
            f"{self.store}: data set {self.name}, shard {path}: {wrong}; the file is"
            " damaged or was cut short, restore it from its origin"
        )


def grid_shape(shape: Shape, step: Shape) -> Shape:
    """Return how many chunks there are along each axis."""
    return tuple(-(-size // n) for size, n in zip(shape, step, strict=True))


class _Files(Sequence[str]):
    """Makes the paths of an array's files when they are asked for."""

    def __init__(self, prefix: str, separator: str, grid: Shape) -> None:
        self._prefix, self._separator, self.grid = prefix, separator, grid
        self._last: tuple[int, str] = (-1, "")

    def __len__(self) -> int:
        return prod(self.grid)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        last, path = self._last
        if number == last:  # a shard holds many chunks
            return path
        parts, rest = [], number
        for size in reversed(self.grid):
            rest, part = divmod(rest, size)
            parts.append(str(part))
        path = self._prefix + self._separator.join(reversed(parts))
        self._last = (number, path)
        return path


class FileIdentities(Sequence[Identity | None]):
    """Holds the identity of each file in 24 bytes; None where there is no file.

    Parameters
    ----------
    n_bytes, mtime_ns, ctime_ns
        See :class:`~..io.identities.Identity`; -1 bytes where there is no file.
    """

    def __init__(
        self, n_bytes: Integers, mtime_ns: Integers, ctime_ns: Integers
    ) -> None:
        self.n_bytes, self._mtime_ns, self._ctime_ns = n_bytes, mtime_ns, ctime_ns

    def digest(self) -> str:
        """Return a digest of what all files are."""
        return digest(np.stack([self.n_bytes, self._mtime_ns, self._ctime_ns]))

    def __len__(self) -> int:
        return len(self.n_bytes)

    @overload
    def __getitem__(self, number: int) -> Identity | None: ...
    @overload
    def __getitem__(self, number: slice) -> list[Identity | None]: ...
    def __getitem__(
        self, number: int | slice
    ) -> Identity | list[Identity | None] | None:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        n_bytes = int(self.n_bytes[number])
        if n_bytes < 0:
            return None
        return Identity(
            n_bytes, int(self._mtime_ns[number]), int(self._ctime_ns[number])
        )


def _read_files(
    files: _Files, numbers: list[int], starts: list[int], n_bytes: int
) -> Iterator[bytes]:
    """Yield so many bytes of some files, from their starts on."""
    for number, start in zip(numbers, starts, strict=True):
        with Path(files[number]).open("rb") as file:
            file.seek(start)
            yield file.read(n_bytes)


def _look_at_files(files: _Files, there: Integers) -> FileIdentities:
    """Return the identity of every file; only those listed can be there."""
    known = np.zeros((3, len(files)), np.int64)
    known[0] = -1
    for number in there.tolist():
        with suppress(FileNotFoundError):  # removed since, or a link that leads nowhere
            path = files[number]
            now = os.stat(path)  # noqa: PTH116  # asked for every file
            if not stat.S_ISREG(now.st_mode):
                raise FileFormatError(
                    f"{path} is no plain file, as each chunk and shard of zarr is;"
                    " copy the store again"
                )
            known[:, number] = now.st_size, now.st_mtime_ns, now.st_ctime_ns
    return FileIdentities(*known)
