"""Looks at the footer of a Parquet file before Arrow uses what it says of columns.

Arrow's Python module does not catch the errors of its C++ library there, which then end
the process: where the least or the largest value of a column has too few bytes for its
type, where a column is of no known type or is encrypted, and where the counts of its
nulls and lists do not fit the schema. And it takes the columns of a group of rows to be
as many as those of the schema.

A footer is one structure of Thrift's compact protocol: each field begins with a byte of
its type and of the step from the last field's number.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...errors import FileFormatError

__all__ = ["Patterns", "check_footer"]

_MAGIC = b"PAR1"
_TAIL = 8  # the length of the footer, and the magic bytes
_MOST_DEPTH = 32
_MOST_BITS = 64  # of a number
# Thrift's types, and the bytes of those of one size; a boolean field's value is in its
# type.
_INT32, _INTEGERS, _BINARY = 5, (4, 5, 6), 8
_LIST, _LISTS, _MAP, _STRUCT = 9, (9, 10), 11, 12
_SIZES = {1: 0, 2: 0, 3: 1, 7: 8, 13: 16}
_BOOLEANS = (1, 2)
# Bytes of a value, by Parquet's type: boolean, 32, 64 and 96 bits, float, double, and
# bytes of any length; those of type 7 are as long as the schema says.
_N_BYTES = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8, 6: 0}
_TEXT, _FIXED = 6, 7
_VALUES = (1, 2, 5, 6)  # the fields of statistics that hold a value of the column
# Patterns of an integer, and of a text with its length.
_INTEGER = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_MOST_SHORT = 64
# To make a pattern takes as long as to walk through 30 to 100 chunks.
_FIRST_PATTERN, _LATER, _MOST_PATTERNS = 50, 4, 256
_SHORT = b"|".join(re.escape(bytes([n])) + b".{%d}" % n for n in range(_MOST_SHORT))
_SHORT = b"(?:" + _SHORT + b")"
_ENCRYPTED = "it is encrypted, which is not read here"


class Leaf(NamedTuple):
    """A column as the schema has it.

    Parameters
    ----------
    kind, n_bytes
        Parquet's type, and the bytes of a value.
    levels
        In how many lists a value lies at most, and in how many things that may be
        missing.
    """

    kind: int
    n_bytes: int
    levels: tuple[int, int]


@dataclass
class _Known:
    """What was sound of a column, as a pattern that chunks of other groups match.

    Parameters
    ----------
    pattern
        The pattern; None as long as it would not pay.
    n_missed
        How many chunks did not match it.
    n_next
        Of how many of these the last one makes the next pattern.
    """

    pattern: "re.Pattern[bytes] | None" = None
    n_missed: int = 0
    n_next: int = _FIRST_PATTERN

    def end_of(self, data: bytes, at: int) -> int | None:
        """Return where a chunk ends that begins at a place; None: it is to be seen."""
        found = self.pattern.match(data, at) if self.pattern else None
        if found is None:
            self.n_missed += 1
            return None
        return found.end()

    def learn(self, pattern: bytes) -> None:
        """Take the pattern of what was seen last."""
        self.pattern = re.compile(pattern, re.DOTALL)
        self.n_next *= _LATER


# By the number of the column.
Patterns = dict[tuple[int, Leaf], _Known]


class _UnsoundError(Exception):
    """Says what is wrong with a footer."""


def check_footer(file: str, known: Patterns | None = None) -> None:
    """Check what the footer of a Parquet file says of its columns.

    What is no footer at all is left to Arrow, whose errors about that can be caught.

    Parameters
    ----------
    file
        The file.
    known
        What was sound in other files, to which more is added. Groups of rows look
        alike, as do files of one data set, so that this saves most of the time.

    Raises
    ------
    FileFormatError
        If Arrow would end the process.
    """
    footer = _read_footer(file)
    if footer is None:
        return
    try:
        _Footer(footer, {} if known is None else known).check()
    except (IndexError, _UnsoundError) as error:
        what = "it ends early" if isinstance(error, IndexError) else error
        raise FileFormatError(
            f"{file} cannot be read: its footer is not sound: {what}; if it was cut"
            " short, copy or download it again"
        ) from None


def _read_footer(file: str) -> bytes | None:
    """Return the footer; None if the file ends as no Parquet file does."""
    with Path(file).open("rb") as opened:
        n_bytes = opened.seek(0, 2)
        if n_bytes < _TAIL:
            return None
        opened.seek(-_TAIL, 2)
        tail = opened.read()
        n = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or n + _TAIL > n_bytes:
            return None
        opened.seek(-_TAIL - n, 2)
        return opened.read(n)


class _Footer:
    """Walks through a footer, from its first byte on."""

    def __init__(self, data: bytes, known: Patterns) -> None:
        self._data, self._at = data, 0
        self._known = known
        # Where values lie that may differ from chunk to chunk, and what matches others.
        self._values: list[tuple[int, int, bytes]] = []

    def check(self) -> None:
        """Raise if what it says of columns cannot be."""
        leaves: list[Leaf] = []
        for field, kind in self._fields():
            if field == 2 and kind == _LIST:
                leaves = self._schema()
            elif field == 4 and kind == _LIST:
                for _ in range(self._n_structs()):
                    self._group(leaves)
            elif field == 8:
                raise _UnsoundError(_ENCRYPTED)
            else:
                self._skip(kind)

    def _schema(self) -> list[Leaf]:
        """Pass over the schema, and return its columns.

        A group comes before its members. The first one holds all.
        """
        leaves: list[Leaf] = []
        outer: list[tuple[int, tuple[int, int]]] = []  # members that are left; levels
        for _ in range(self._n_structs()):
            kind, length, repetition, n_children = self._element()
            levels = 0, 0
            if outer:
                left, (lists, optional) = outer.pop()
                levels = lists + (repetition == 2), optional + (repetition in (1, 2))
                if left > 1:
                    outer.append((left - 1, (lists, optional)))
                if not n_children:
                    n_bytes = length if kind == _FIXED else _N_BYTES.get(kind, 0)
                    leaves.append(Leaf(kind, n_bytes, levels))
            if n_children:
                outer.append((n_children, levels))
        return leaves

    def _element(self) -> tuple[int, int, int, int]:
        """Pass over an element; return type, length, repetition, number of members."""
        said = {1: -1, 2: 0, 3: 0, 5: 0}
        for field, kind in self._fields():
            if field in said and kind == _INT32:  # Arrow skips other types
                said[field] = self._integer()
            else:
                self._skip(kind)
        return said[1], said[2], said[3], said[5]

    def _group(self, leaves: list[Leaf]) -> None:
        """Pass over a group of rows."""
        for field, kind in self._fields():
            if field == 1 and kind == _LIST:
                n = self._n_structs()
                if n != len(leaves):
                    raise _UnsoundError(
                        f"a row group has {n} columns, and the schema {len(leaves)}"
                    )
                for number, leaf in enumerate(leaves):
                    self._alike(number, leaf)
            else:
                self._skip(kind)

    def _alike(self, number: int, leaf: Leaf) -> None:
        """Pass over what is said of a column; quickly where it is as of others."""
        known = self._known.setdefault((number, leaf), _Known())
        end = known.end_of(self._data, self._at)
        if end is not None:
            self._at = end
            return
        self._values, start = [], self._at
        self._chunk(leaf)
        if known.n_missed != known.n_next or number >= _MOST_PATTERNS:
            return
        pieces = []
        for first, stop, other in self._values:
            pieces += [re.escape(self._data[start:first]), other]
            start = stop
        pieces.append(re.escape(self._data[start : self._at]))
        known.learn(b"".join(pieces))

    def _chunk(self, leaf: Leaf) -> None:
        """Pass over what is said of a column of a group."""
        for field, kind in self._fields():
            if field == 3 and kind == _STRUCT:
                self._column(leaf)
            elif field == 8:
                raise _UnsoundError(_ENCRYPTED)
            else:
                self._skip(kind)

    def _column(self, leaf: Leaf) -> None:
        for field, kind in self._fields():
            if field == 1 and kind == _INT32:
                own = self._integer()
                if own != leaf.kind or own not in (*_N_BYTES, _FIXED):
                    raise _UnsoundError(
                        f"a column is of type {own}, and of {leaf.kind} in the schema"
                    )
            elif field == 12 and kind == _STRUCT:
                self._statistics(leaf)
            elif field == 16 and kind == _STRUCT:
                self._size_statistics(leaf)
            else:
                self._skip(kind)

    def _statistics(self, leaf: Leaf) -> None:
        for field, kind in self._fields():
            if field in _VALUES and kind == _BINARY:
                n = self._text(_SHORT if leaf.kind == _TEXT else b"")
                if 0 < n < leaf.n_bytes:
                    raise _UnsoundError(
                        f"the least or largest value of a column has {n} bytes of"
                        f" {leaf.n_bytes}"
                    )
            else:
                self._skip(kind)

    def _size_statistics(self, leaf: Leaf) -> None:
        for field, kind in self._fields():
            if field in (2, 3) and kind == _LIST:
                n, inner = self._n_items()
                for _ in range(n):
                    self._skip_item(inner, 0)
                most = leaf.levels[field - 2]
                if n not in (0, most + 1):
                    raise _UnsoundError(f"{n} counts of {most + 1} levels of a column")
            elif field == 1 and leaf.kind != _TEXT:
                raise _UnsoundError("a column of numbers has the bytes of texts")
            else:
                self._skip(kind)

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of each field of a structure; each is passed over."""
        last = 0
        while head := self._byte():
            step = head >> 4
            field = last + step if step else self._integer()
            if field <= last:
                raise _UnsoundError("its fields are not in order")
            last = field
            yield field, head & 15

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _number(self) -> int:
        """Return a number without a sign, of seven bits in each byte."""
        data, at = self._data, self._at
        found = data[at] & 127
        shift = 7
        while data[at] > 127:
            if shift > _MOST_BITS:
                raise _UnsoundError("a number has too many bits")
            at += 1
            found |= (data[at] & 127) << shift
            shift += 7
        self._at = at + 1
        return found

    def _integer(self) -> int:
        found = self._number()
        return (found >> 1) ^ -(found & 1)

    def _text(self, other: bytes = b"") -> int:
        """Pass over bytes and their number, which is returned.

        Parameters
        ----------
        other
            What matches other ones that may stand here; others of this length always.
        """
        start = self._at
        n = self._number()
        self._at += n
        if other and n < _MOST_SHORT:
            self._values.append((start, self._at, other))
        else:
            self._values.append((self._at - n, self._at, b".{%d}" % n))
        return n

    def _n_items(self) -> tuple[int, int]:
        """Return how many elements a list has, and their type."""
        head = self._byte()
        n = head >> 4
        return (self._number() if n == 15 else n), head & 15

    def _n_structs(self) -> int:
        n, kind = self._n_items()
        if n and kind != _STRUCT:
            raise _UnsoundError("a list is of other things than it should")
        return n

    def _skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value."""
        data = self._data
        if depth > _MOST_DEPTH:
            raise _UnsoundError("it is nested too deep")
        if kind in _INTEGERS:
            start = at = self._at
            while data[at] > 127:
                at += 1
            self._at = at + 1
            self._values.append((start, at + 1, _INTEGER))
        elif kind == _BINARY:
            self._text()
        elif kind in _LISTS:
            n, inner = self._n_items()
            for _ in range(n):
                self._skip_item(inner, depth)
        elif kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner, depth + 1)
        elif kind == _MAP:
            self._skip_map(depth)
        elif kind in _SIZES:
            self._at += _SIZES[kind]
        else:
            raise _UnsoundError(f"it has a value of the unknown type {kind}")
        if self._at > len(data):
            raise IndexError

    def _skip_item(self, kind: int, depth: int) -> None:
        """Pass over an element of a list."""
        if kind in _BOOLEANS:
            self._byte()
        else:
            self._skip(kind, depth + 1)

    def _skip_map(self, depth: int) -> None:
        n = self._number()
        kinds = self._byte() if n else 0
        for _ in range(n):
            self._skip_item(kinds >> 4, depth)
            self._skip_item(kinds & 15, depth)
