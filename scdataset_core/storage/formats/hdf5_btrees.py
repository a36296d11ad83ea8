"""Reads where the chunks of an HDF5 dataset lie straight from the file's bytes.

HDF5's own list calls a Python function for each chunk, which takes more than ten times
as long, and the file must be opened with the library for it. This reads what programs
write by default: an object header of version 1 with a layout of version 3 (chunks in a
B-tree of version 1, or data in one piece). For all else, and wherever a number cannot
be right, the result is None: the library is asked then, and names the damage.

Layouts of the bytes: HDF5 File Format Specification 3.0, sections III.A.1, IV.A.1.a,
IV.A.2.i and IV.A.2.q.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import ScdatasetError
from .hdf5_messages import AskLibraryError

__all__ = [
    "ListedChunks",
    "PieceOfFile",
    "ReadPieces",
    "header_messages",
    "read_layout",
]

# Returns pieces of a file, of which first bytes and lengths are given. A piece that
# would go beyond the end of the file is shorter.
ReadPieces = Callable[[Sequence[tuple[int, int]]], list[bytes]]

_UNDEFINED = 2**64 - 1
_LAYOUT, _CONTINUATION = 0x08, 0x10
_MOST_HEADER_BYTES = 1 << 16
_MOST_BLOCKS = 64  # of one object header
_CONTIGUOUS, _CHUNKED = 1, 2
_NODE_HEAD = 24
_USUAL_ENTRIES = 64  # of a node, unless the file's head says otherwise
_MOST_NODES = 4096  # that are read at a time


class PieceOfFile(NamedTuple):
    """Where data in one piece lie: first byte (None if never written) and length."""

    offset: int | None
    n_bytes: int


class ListedChunks(NamedTuple):
    """The chunks that a B-tree lists, in its order.

    Parameters
    ----------
    corners
        Number of the first element of each along every axis, shape ``(n, n_axes)``.
    offsets, sizes
        First byte and stored bytes of each.
    skipped
        Bits of the filters that each was written without.
    """

    corners: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.uint64]
    skipped: npt.NDArray[np.uint64]


def read_layout(
    read: ReadPieces,
    address: int,
    file_bytes: int,
    *,
    chunk_shape: Sequence[int] | None,
    item_bytes: int,
) -> PieceOfFile | ListedChunks | None:
    """Return where the bytes of a dataset lie; None if the library must be asked.

    Parameters
    ----------
    read
        Reads pieces of the file.
    address
        First byte of the dataset's object header.
    file_bytes
        Size of the file.
    chunk_shape
        Shape of its chunks; None for data in one piece.
    item_bytes
        Bytes of an element.
    """
    try:
        message = _find_layout(read, address)
        if message is None or message[0] != 3:
            return None
        if message[1] == _CONTIGUOUS and chunk_shape is None:
            offset, n_bytes = struct.unpack_from("<QQ", message, 2)
            return PieceOfFile(None if offset == _UNDEFINED else offset, n_bytes)
        if message[1] != _CHUNKED or chunk_shape is None:
            return None
        chunk = (*chunk_shape, item_bytes)
        return _read_chunks(read, file_bytes, message, chunk)
    except ScdatasetError:  # the file is not to be had, for the library neither
        raise
    except (struct.error, IndexError, OverflowError, OSError, AskLibraryError):
        return None


def _find_layout(read: ReadPieces, address: int) -> bytes | None:
    """Return the layout message of an object header of version 1, if it has one."""
    for kind, flags, data in header_messages(read, address):
        if kind == _LAYOUT:
            return None if flags & 2 else data  # shared: it lies elsewhere
    return None


def header_messages(read: ReadPieces, address: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield kind, flags and data of each message of an object header of version 1.

    Raises
    ------
    AskLibraryError
        If it is of another version, or its numbers cannot be right.
    """
    (head,) = read([(address, 512)])
    version, _, _, n_bytes = struct.unpack_from("<BBH4xI", head)
    if version != 1 or n_bytes > _MOST_HEADER_BYTES:
        raise AskLibraryError
    first = head[16 : 16 + n_bytes]
    if len(first) < n_bytes:
        (first,) = read([(address + 16, n_bytes)])
    if len(first) < n_bytes:
        raise AskLibraryError
    blocks, n_blocks = [first], 1
    while blocks:
        block, at = blocks.pop(), 0
        while at + 8 <= len(block):
            kind, size, flags = struct.unpack_from("<HHB", block, at)
            data = block[at + 8 : at + 8 + size]
            if len(data) < size:
                raise AskLibraryError
            yield kind, flags, data
            if kind == _CONTINUATION:
                start, n_bytes = struct.unpack_from("<QQ", data)
                if n_bytes > _MOST_HEADER_BYTES or n_blocks == _MOST_BLOCKS:
                    raise AskLibraryError
                n_blocks += 1
                (more,) = read([(start, n_bytes)])
                if len(more) < n_bytes:
                    raise AskLibraryError
                blocks.insert(0, more)
            at += 8 + size


def _read_chunks(
    read: ReadPieces, file_bytes: int, message: bytes, chunk: tuple[int, ...]
) -> ListedChunks | None:
    """Return the chunks of the B-tree that a layout message names."""
    n_axes = message[2]
    (root,) = struct.unpack_from("<Q", message, 3)
    if struct.unpack_from(f"<{n_axes}I", message, 11) != chunk:
        return None
    key = np.dtype(
        [
            ("size", "<u4"),
            ("skipped", "<u4"),
            ("corner", "<u8", (n_axes - 1,)),
            ("within", "<u8"),
            ("child", "<u8"),
        ]
    )
    leaves = b"" if root == _UNDEFINED else _read_leaves(read, file_bytes, root, key)
    found = np.frombuffer(leaves, key)
    corners = found["corner"].astype(np.uint64)
    if found["within"].any() or (corners % np.array(chunk[:-1], np.uint64)).any():
        return None
    return ListedChunks(
        corners,
        found["child"].astype(np.uint64),
        found["size"].astype(np.uint64),
        found["skipped"].astype(np.uint64),
    )


def _read_leaves(
    read: ReadPieces, file_bytes: int, root: int, key: np.dtype[np.void]
) -> bytes:
    """Return the entries of all leaves below a node, one after another."""
    ((level, entries),) = _read_nodes(read, [root], key)
    # Nodes share no bytes, so all of them are no larger than the file.
    left = file_bytes - len(entries)
    found = [entries]  # bytes: joining arrays of records takes Python longer
    while level:
        addresses = np.frombuffer(b"".join(found), key)["child"].tolist()
        found = []
        for start in range(0, len(addresses), _MOST_NODES):
            some = addresses[start : start + _MOST_NODES]
            for own_level, entries in _read_nodes(read, some, key):
                left -= _NODE_HEAD + len(entries)
                if own_level != level - 1 or left < 0:
                    raise AskLibraryError
                found.append(entries)
        level -= 1
    return b"".join(found)


def _read_nodes(
    read: ReadPieces, addresses: Sequence[int], key: np.dtype[np.void]
) -> Iterator[tuple[int, bytes]]:
    """Yield the level of each node and its entries: keys, with what each leads to."""
    usual = _NODE_HEAD + _USUAL_ENTRIES * key.itemsize
    nodes = read([(address, usual) for address in addresses])
    for address, node in zip(addresses, nodes, strict=True):
        data = node
        signature, kind, level, used = struct.unpack_from("<4sBBH", data)
        if signature != b"TREE" or kind != 1:
            raise AskLibraryError
        n_bytes = _NODE_HEAD + used * key.itemsize
        if n_bytes > len(data) and used > _USUAL_ENTRIES:
            (data,) = read([(address, n_bytes)])
        if n_bytes > len(data):
            raise AskLibraryError
        yield level, data[_NODE_HEAD:n_bytes]
