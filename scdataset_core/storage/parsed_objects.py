"""Groups and datasets of a local HDF5 file, parsed from its bytes.

They have what is used of h5py's objects. Where a file has what is not parsed, an error
of `NOT_PARSED` is raised: the library must be asked.
"""

import struct
from collections.abc import Iterator
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from .arrays import StoredArray
from .decoding.pipeline import Pipeline
from .formats.declared_sizes import check_declared
from .formats.hdf5 import MOST_FILTERS
from .formats.hdf5_btrees import ListedChunks, read_layout
from .formats.hdf5_chunks import DatasetShape
from .formats.hdf5_heaps import REFERENCE, read_text
from .formats.hdf5_libraries import Hdf5Library, Hdf5TableMaker
from .formats.hdf5_messages import (
    TEXT,
    AskLibraryError,
    parse_fill,
    parse_filters,
    parse_shape,
    parse_type,
)
from .formats.hdf5_objects import (
    ATTRIBUTE,
    FILL,
    FILTERS,
    LAYOUT,
    NOT_PARSED,
    SPACE,
    TABLE,
    TYPE,
    UNDEFINED,
    Messages,
    ObjectFile,
    ParsedAttributes,
)
from .layout import ChunkGrid

__all__ = ["NOT_PARSED", "TEXT", "AskLibraryError", "ParsedArray", "ParsedGroup"]

_MOST_READ = 1 << 22  # bytes of an array that is read whole
# References as bytes, and what those are that were not written.
_REFERENCE = np.dtype(f"S{REFERENCE.itemsize}"), b""


class ParsedGroup:
    """A group.

    Parameters
    ----------
    file
        The file.
    name
        Its name in the file.
    messages
        The messages of its object header.
    """

    def __init__(self, file: ObjectFile, name: str, messages: Messages) -> None:
        self.file, self.name = file, name
        self.attrs = ParsedAttributes(file, messages[ATTRIBUTE])
        (self._table,) = messages[TABLE]

    @classmethod
    def root_of(cls, path: str) -> "ParsedGroup":
        """Return the root of a file, which is open as long as this refers to it."""
        file = ObjectFile(path)
        return cls(file, "/", file.messages(file.root))

    @cached_property
    def addresses(self) -> dict[str, int | None]:
        """The address of each member; None for a soft link."""
        return self.file.members(self._table)

    def __iter__(self) -> Iterator[str]:
        return iter(self.addresses)

    def __len__(self) -> int:
        return len(self.addresses)

    def get(self, name: str) -> "ParsedGroup | ParsedArray | None":
        """Return the member of a name; None if there is none."""
        if name not in self.addresses:
            return None
        address = self.addresses[name]
        if address is None:
            raise AskLibraryError
        messages = self.file.messages(address)
        path = f"{self.name.rstrip('/')}/{name}"
        if messages[TABLE]:
            return ParsedGroup(self.file, path, messages)
        return ParsedArray(self.file, path, address, messages)


class ParsedArray:
    """A dataset.

    Parameters
    ----------
    file
        The file.
    name
        Its name in the file.
    address
        First byte of its object header.
    messages
        The messages of that.
    """

    def __init__(
        self, file: ObjectFile, name: str, address: int, messages: Messages
    ) -> None:
        self._file, self.name, self._address = file, name, address
        self.attrs = ParsedAttributes(file, messages[ATTRIBUTE])
        (space,), (dtype,) = messages[SPACE], messages[TYPE]
        (self._layout,), (self._fill,) = messages[LAYOUT], messages[FILL]
        self.shape, self.dtype = parse_shape(space), parse_type(dtype)
        filters = messages[FILTERS]
        self._pipeline = parse_filters(filters[0]) if filters else Pipeline()
        self._item_bytes = (REFERENCE if self.dtype == TEXT else self.dtype).itemsize

    @property
    def ndim(self) -> int:
        """Its number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Its number of elements."""
        return prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        if self.size * self._item_bytes > _MOST_READ:
            raise AskLibraryError
        data = self._bytes()
        if self.dtype == TEXT:
            text = self._file.text(np.frombuffer(data, REFERENCE))
            return np.array(text, object).reshape(self.shape)[key]
        return np.frombuffer(data, self.dtype).reshape(self.shape)[key]

    @cached_property
    def _chunks(self) -> tuple[int, ...] | None:
        """Shape of a chunk; None where it lies in one piece."""
        if self._layout[:2] == b"\3\1":
            return None
        if self._layout[:2] != b"\3\2" or self._layout[2] != self.ndim + 1:
            raise AskLibraryError
        *chunks, n_bytes = struct.unpack_from(f"<{self.ndim + 1}I", self._layout, 11)
        if n_bytes != self._item_bytes or not all(chunks):
            raise AskLibraryError
        return tuple(chunks)

    @property
    def _place(self) -> int | None:
        """First byte of its elements, which lie in one piece; None: not written."""
        address, n_bytes = struct.unpack_from("<QQ", self._layout, 2)
        if address == UNDEFINED:
            return None
        if n_bytes != self.size * self._item_bytes:
            raise AskLibraryError
        return int(address)

    def describe(self) -> StoredArray:
        """Return the array by which ranges of it are read.

        A vector must be written whole: it has one entry for each cell or stored value.
        """
        shape = self._check()
        if self.dtype != TEXT:
            return self._plain(shape, self.dtype, parse_fill(self._fill, self.dtype))
        if self.ndim == 1 and self.size and not self._is_whole(shape):
            raise AskLibraryError
        library = Hdf5Library(shape.file, self.name, self._file.identity)
        text = StoredArray(
            shape.file,
            self.name,
            shape=self.shape,
            dtype=TEXT,
            grid=None,
            library=library,
            contiguous=False,
        )
        text.references = self._plain(shape, *_REFERENCE)
        return text

    def _check(self) -> DatasetShape:
        """Return how it is cut, after a look at what it claims."""
        file, chunks = self._file.path, self._chunks
        shape = DatasetShape(file, self.name, self.shape, chunks, self._item_bytes)
        if not self.shape or (chunks and chunks[1:] != self.shape[1:]):
            raise AskLibraryError
        check_declared(
            f"{file}: data set {self.name}",
            file_bytes=self._file.identity.n_bytes,
            array_bytes=self.size * self._item_bytes,
            n_chunks=prod(shape.chunk_counts),
            chunk_bytes=0 if chunks is None else prod(chunks) * self._item_bytes,
            whole=self.ndim == 1,
        )
        filters = self._pipeline
        if len(filters.filters) > MOST_FILTERS or filters.unknown is not None:
            raise AskLibraryError
        return shape

    def _is_whole(self, shape: DatasetShape) -> bool:
        """Return whether all of it was written."""
        if self._chunks is None:
            return self._place is not None
        return len(self._listed().offsets) == prod(shape.chunk_counts)

    def _plain(
        self, shape: DatasetShape, dtype: np.dtype[Any], fill: Any
    ) -> StoredArray:
        """Return an array of elements of a plain type."""
        steps = self._chunks or tuple(max(size, 1) for size in self.shape)
        table = Hdf5TableMaker(shape, self._file.identity, self._address)
        whole = self.ndim == 1
        return StoredArray(
            shape.file,
            self.name,
            shape=self.shape,
            dtype=dtype.newbyteorder("="),
            grid=ChunkGrid(steps, dtype, self._pipeline, fill, table, whole),
            library=None,
            contiguous=self._chunks is None,
        )

    def _listed(self) -> ListedChunks:
        found = read_layout(
            self._file.read_pieces,
            self._address,
            self._file.identity.n_bytes,
            chunk_shape=self._chunks,
            item_bytes=self._item_bytes,
        )
        if not isinstance(found, ListedChunks):
            raise AskLibraryError
        return found

    def _bytes(self) -> bytes:
        """Return its elements, as the file has them."""
        n_bytes = self.size * self._item_bytes
        if not n_bytes:
            return b""
        if self._chunks is None:
            if self._place is None:
                raise AskLibraryError
            return self._file.read(self._place, n_bytes)
        dtype = np.dtype(f"V{self._item_bytes}")
        return self._plain(self._check(), dtype, np.zeros(1, dtype)[0]).read().tobytes()

    def last_value(self) -> int:
        """Return the last value of a vector of integers."""
        row = len(self) - 1
        if self._pipeline or row < 0:
            return int(self.describe().read(row)[0])
        if self._chunks is None:
            start = self._place
        else:
            found = self._listed()
            corner = row // self._chunks[0] * self._chunks[0]
            (at,) = np.flatnonzero(found.corners[:, 0] == corner).tolist()
            start, row = int(found.offsets[at]), row - corner
        if start is None:
            raise AskLibraryError
        data = self._file.read(start + row * self._item_bytes, self._item_bytes)
        return int(np.frombuffer(data, self.dtype)[0])

    def text_key(self) -> bytes | None:
        """Return bytes that another text has only if all its entries are the same."""
        if self.dtype != TEXT or self.ndim != 1:
            return None
        references = np.frombuffer(self._bytes(), REFERENCE)
        text = read_text(self._file.descriptor, references)
        return None if text is None else text.key
