"""Parses object headers, groups and text of HDF5 files, without the library.

Opening a file and asking it with h5py takes milliseconds, and thousands of files a
minute. This reads what programs write by default: a superblock of version 0, groups
with symbol tables, object headers of version 1. For all else, and wherever bytes cannot
be right, `AskLibraryError` is raised, or an error of what could not be parsed: HDF5
must be asked, and names what is wrong.

Layouts of the bytes: HDF5 File Format Specification 3.0, sections II.A, III.A.1, III.B
to III.E and IV.A.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..io.open_files import OpenFile, open_and_make_room
from .declared_sizes import check_text
from .hdf5_btrees import header_messages
from .hdf5_heaps import REFERENCE
from .hdf5_messages import (
    TEXT,
    AskLibraryError,
    StoredAttribute,
    parse_attribute,
    parse_shape,
    parse_type,
)

__all__ = [
    "ATTRIBUTE",
    "FILL",
    "FILTERS",
    "LAYOUT",
    "NOT_PARSED",
    "SPACE",
    "TABLE",
    "TYPE",
    "UNDEFINED",
    "Messages",
    "ObjectFile",
    "ParsedAttributes",
]

# What bytes lead to that are not as they are expected.
NOT_PARSED = (AskLibraryError, struct.error, LookupError, ValueError, OverflowError)

_SUPERBLOCK = b"\x89HDF\r\n\x1a\n" + bytes(5) + b"\x08\x08\0"
UNDEFINED = 2**64 - 1
_HARD_LINKS = (0, 1)  # what a symbol table keeps of a member besides its address
_MOST_BYTES = 1 << 24  # of a table of names or a heap
_MOST_NODES = 1 << 12
SPACE, TYPE, FILL, LAYOUT, FILTERS, ATTRIBUTE = 0x01, 0x03, 0x05, 0x08, 0x0B, 0x0C
TABLE = 0x11
# Comments, times, numbers of links, an old kind of fill value; what is free.
_IGNORED = {0x00, 0x04, 0x0D, 0x0E, 0x10, 0x12, 0x16}
_KNOWN = {SPACE, TYPE, FILL, LAYOUT, FILTERS, ATTRIBUTE, TABLE} | _IGNORED

Messages = dict[int, list[bytes]]
_Heap = tuple[bytes, dict[int, tuple[int, int]]]


class ObjectFile:
    """A file whose objects are parsed. It is closed when nothing refers to it.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: str) -> None:
        self.path = str(Path(path).absolute())
        self._file = open_and_make_room(partial(OpenFile, path), path)
        self.identity = self._file.identity
        self.descriptor = self._file.descriptor
        self.read_pieces = self._file.read_pieces
        self._heaps: dict[int, _Heap] = {}
        self._heaps_left = self.identity.n_bytes  # no file has more bytes of heaps

    def read(self, address: int, n_bytes: int) -> bytes:
        """Return bytes of the file, all of them."""
        if not 0 <= address <= self.identity.n_bytes - n_bytes:
            raise AskLibraryError
        (data,) = self.read_pieces([(address, n_bytes)])
        if len(data) < n_bytes:
            raise AskLibraryError
        return data

    @property
    def root(self) -> int:
        """First byte of the object header of the root group."""
        head = self.read(0, 96)
        base, _, end, driver, _, address = struct.unpack_from("<6Q", head, 24)
        known = head.startswith(_SUPERBLOCK) and driver == UNDEFINED
        if not known or base or end > self.identity.n_bytes:
            raise AskLibraryError
        return int(address)

    def messages(self, address: int) -> Messages:
        """Return the messages of the object whose header is at an address."""
        messages: Messages = defaultdict(list)
        for kind, flags, data in header_messages(self.read_pieces, address):
            if flags & 2 or kind not in _KNOWN:  # it lies elsewhere, or is new
                raise AskLibraryError
            messages[kind].append(data)
        return messages

    def members(self, table: bytes) -> dict[str, int | None]:
        """Return the address of each member of a group; None for a soft link."""
        tree, heap = struct.unpack_from("<QQ", table)
        signature, version, size, _, at = struct.unpack(
            "<4sB3xQQQ", self.read(heap, 32)
        )
        if signature != b"HEAP" or version or size > _MOST_BYTES:
            raise AskLibraryError
        names = self.read(at, size)
        found: dict[str, int | None] = {}
        for node in self._symbol_nodes(tree):
            for start, address, kind in node:
                name = names[start : names.index(b"\0", start)].decode()
                found[name] = address if kind in _HARD_LINKS else None
        return found

    def _symbol_nodes(self, root: int) -> Iterator[list[tuple[int, int, int]]]:
        """Yield the entries of each node below the root of a group's B-tree."""
        wanted, n_nodes, seen = [(root, -1)], 0, {root}
        while wanted:
            at, above = wanted.pop(0)
            n_nodes += 1
            head = self.read(at, 24)
            signature, kind, level, used = struct.unpack_from("<4sBBH", head)
            right = signature == b"TREE" and kind == 0 and n_nodes < _MOST_NODES
            if not right or above not in (-1, level + 1):
                raise AskLibraryError
            keys = struct.unpack(f"<{2 * used}Q", self.read(at + 24, 16 * used))
            children = keys[1::2]
            if len(seen | set(children)) < len(seen) + used:  # a node in two places
                raise AskLibraryError
            seen.update(children)
            if level:
                wanted += [(child, level) for child in children]
            else:
                yield from map(self._symbols, children)

    def _symbols(self, address: int) -> list[tuple[int, int, int]]:
        signature, version, used = struct.unpack("<4sBxH", self.read(address, 8))
        if signature != b"SNOD" or version != 1:
            raise AskLibraryError
        entries = self.read(address + 8, 40 * used)
        return list(struct.iter_unpack("<QQI20x", entries))

    def text(self, references: npt.NDArray[np.void]) -> list[str]:
        """Return the text that each reference leads to.

        Raises
        ------
        ImpossibleTextError
            If one is longer than the file: HDF5 must not be asked for that.
        """
        found = []
        for length, address, number in references.tolist():
            if not length:
                found.append("")
                continue
            check_text(self.path, longest=length, file_bytes=self.identity.n_bytes)
            data, places = self._heap(address)
            start, stop = places.get(number, (0, 0))
            text = data[start : start + length]
            if length > stop - start or b"\0" in text:
                raise AskLibraryError
            found.append(text.decode())
        return found

    def _heap(self, address: int) -> _Heap:
        """Return a collection of the heap, and where each object begins and ends."""
        known = self._heaps.get(address)
        if known is not None:
            return known
        signature, size = struct.unpack("<8sQ", self.read(address, 16))
        if signature != b"GCOL\1\0\0\0" or size % 8 or size > _MOST_BYTES:
            raise AskLibraryError
        self._heaps_left -= size
        if self._heaps_left < 0:
            raise AskLibraryError
        data = self.read(address, size)
        words, places, at = struct.unpack(f"<{size // 8}Q", data), {}, 2
        while at + 1 < len(words):
            number, n_bytes = words[at] & 0xFFFF, words[at + 1]
            if not number:  # what is free
                break
            start = 8 * (at + 2)
            places[number] = (start, min(start + n_bytes, size))
            at += 2 + (n_bytes + 7) // 8
        self._heaps[address] = data, places
        return data, places


class ParsedAttributes(Mapping[str, Any]):
    """The attributes of an object; each value is parsed when it is asked for."""

    def __init__(self, file: ObjectFile, messages: list[bytes]) -> None:
        self._file = file
        self._stored: dict[str, StoredAttribute] = dict(map(parse_attribute, messages))

    def __getitem__(self, name: str) -> Any:
        stored = self._stored[name]
        dtype, shape = parse_type(stored.dtype), parse_shape(stored.shape)
        n = prod(shape)
        if dtype == TEXT:
            text = self._file.text(np.frombuffer(stored.value, REFERENCE, n))
            return np.array(text, object).reshape(shape) if shape else text[0]
        values = np.frombuffer(stored.value, dtype, n)
        return values.reshape(shape) if shape else values[0]

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)
