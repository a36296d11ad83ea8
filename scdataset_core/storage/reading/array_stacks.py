"""Arrays of many files, the same ones of each, whose ranges are read in one call.

A fetch over thousands of small files wants a few rows of each of them, and what is
asked of one array in Python takes longer than its bytes take to be read. So what a read
has to know of an array is found once and kept in columns, one entry a file. A read then
looks it up for all of its ranges at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..chunks import ChunkTable
from ..io.byte_sources import Location
from ..io.fork_safe_lock import first_use_lock
from ..layout import ArrayLayout
from .conversion import can_convert
from .requests import Request, check_targets

__all__ = ["CACHED", "OTHER", "PLAIN", "ArrayStack", "StackRead", "first_of_each"]

Integers = npt.NDArray[np.int64]
Targets = Sequence[npt.NDArray[Any]]

# Where the chunks of arrays of up to so many lie is copied into one column, in 4 bytes
# a chunk; the tables of larger ones are looked up one by one.
FEW_CHUNKS = 256
_MOST_OFFSET = np.iinfo(np.uint32).max

# How the arrays of a file are read: PLAIN as the bytes that they are, CACHED out of
# caches that keep them decoded, and those of OTHER files one by one.
_UNKNOWN, PLAIN, CACHED, OTHER = range(4)


class ArrayStack:
    """The same arrays of each of several files, read by ranges along the first axis.

    It pickles; what it knows of the files is found anew in each process.

    Parameters
    ----------
    files
        For each file its arrays, as many for each.

    Attributes
    ----------
    slots : list of Slot
        What is known of each of the arrays of a file; empty before any is known.
    """

    def __init__(self, files: Sequence[Sequence[ArrayLayout]]) -> None:
        self.files = files
        self._forget()

    def _forget(self) -> None:
        n_files = len(self.files)
        self._ways = np.full(n_files, _UNKNOWN, np.uint8)
        self._locations: list[Location | None] = [None] * n_files
        self.slots: list[Slot] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.files = state["files"]
        self._forget()

    def find_ways(self, numbers: Integers) -> npt.NDArray[np.uint8]:
        """Return how the arrays of files are read: `PLAIN`, `CACHED` or `OTHER`.

        Those of plain files have one axis, are uncompressed and written whole, and lie
        in one file; those of cached ones have one axis and a cache each. They have the
        types of those of the other files.
        """
        ways = self._ways[numbers]
        new = numbers[ways == _UNKNOWN]
        if len(new):
            with first_use_lock():
                for number in new.tolist():
                    if self._ways[number] == _UNKNOWN:
                        self._ways[number] = self._learn(number)
            ways = self._ways[numbers]
        return ways

    def location(self, number: int) -> Location:
        """Return where the arrays of a file lie, which is plain."""
        location = self._locations[number]
        assert location is not None
        return location

    def find_chunks(self, slot: int, files: Integers, chunks: Integers) -> Integers:
        """Return the first byte of chunks of one array of each file.

        Parameters
        ----------
        slot
            Which of the arrays of a file it is.
        files
            The file of each chunk, which is plain; they do not decrease.
        chunks
            Its number in the array of that file.
        """
        return self.slots[slot].find(
            files, chunks, lambda number: self.files[number][slot].table
        )

    def _learn(self, number: int) -> int:
        """Find what is to be known of a file; return how its arrays are read."""
        arrays = self.files[number]
        dtypes = [array.dtype for array in arrays]
        if self.slots and dtypes != [slot.dtype for slot in self.slots]:
            return OTHER
        way = CACHED if all(map(_is_cached, arrays)) else self._place(number, arrays)
        if way == OTHER:
            return OTHER
        self._make_slots(dtypes)
        for slot, array in zip(self.slots, arrays, strict=True):
            slot.put(number, array)
        return way

    def _place(self, number: int, arrays: Sequence[ArrayLayout]) -> int:
        """Note where the chunks of a file's arrays lie, if these are plain."""
        tables = [_plain_table(array) for array in arrays]
        known = [table for table in tables if table is not None]
        if len(known) < len(tables):
            return OTHER
        location, *others = (table.location(0) for table in known)
        if any(other != location for other in others):
            return OTHER
        self._make_slots([array.dtype for array in arrays])
        for slot, table in zip(self.slots, known, strict=True):
            slot.put_chunks(number, table)
        self._locations[number] = location
        return PLAIN

    def _make_slots(self, dtypes: list[np.dtype[Any]]) -> None:
        if not self.slots:
            self.slots = [Slot(dtype, len(self.files)) for dtype in dtypes]


def _is_cached(array: ArrayLayout) -> bool:
    """Return whether an array has a cache that is asked for its chunks."""
    return array.chunk_cache is not None and len(array.shape) == 1 and len(array) > 0


def _plain_table(array: ArrayLayout) -> ChunkTable | None:
    """Return the table of an array whose elements lie where it says, else None."""
    grid = array.grid
    if (
        grid is None
        or grid.pipeline
        or array.chunk_cache is not None
        or len(array.shape) != 1
        or not len(array)
        or grid.stored_dtype != array.dtype
    ):
        return None
    table = array.table
    n_chunks = -(-len(array) // grid.chunk_shape[0])
    if not table.is_plain or len(table) < n_chunks or table.sizes[0] != grid.n_bytes:
        return None
    return table


class Slot:
    """What reads have to know of one array of each file.

    Parameters
    ----------
    dtype
        Type of the elements, the same in all files.
    n_files
        Number of files.

    Attributes
    ----------
    lengths, chunk_rows : ndarray of int64
        Elements of the array of each file, and of a chunk of it.
    """

    def __init__(self, dtype: np.dtype[Any], n_files: int) -> None:
        self.dtype = dtype
        self.lengths = np.zeros(n_files, np.int64)
        self.chunk_rows = np.ones(n_files, np.int64)
        # Where the chunks of each file begin among the offsets; -1: they have a table.
        self._first = np.zeros(n_files, np.int64)
        self._offsets = np.empty(1024, np.uint32)
        self._n = 0
        self._any_tabled = False

    def put(self, number: int, array: ArrayLayout) -> None:
        """Note the array of a file."""
        self.lengths[number] = len(array)
        self.chunk_rows[number] = array.needed_grid.chunk_shape[0]

    def put_chunks(self, number: int, table: ChunkTable) -> None:
        """Note where the chunks of the array of a file lie."""
        offsets = table.offsets
        n = len(offsets)
        if n > FEW_CHUNKS or offsets.max() > _MOST_OFFSET:
            self._first[number] = -1
            self._any_tabled = True
            return
        if self._n + n > len(self._offsets):  # readers may go on with the old ones
            grown = np.empty(2 * len(self._offsets), np.uint32)
            grown[: self._n] = self._offsets[: self._n]
            self._offsets = grown
        self._offsets[self._n : self._n + n] = offsets
        self._first[number] = self._n
        self._n += n

    def find(
        self,
        files: Integers,
        chunks: Integers,
        table_of: Callable[[int], ChunkTable],
    ) -> Integers:
        """Return the first byte of chunks.

        Parameters
        ----------
        files
            The file of each chunk; they do not decrease.
        chunks
            Its number in the array of that file.
        table_of
            Returns the table of the array of a file.
        """
        first = self._first[files]
        at = first + chunks
        if not self._any_tabled or not len(first) or first.min() >= 0:
            near: Integers = self._offsets[at].astype(np.int64)
            return near
        tabled = first < 0
        at[tabled] = 0
        found: Integers = self._offsets[at].astype(np.int64)
        for number, here in _runs(files):
            if tabled[here.start]:
                found[here] = table_of(number).offsets[chunks[here]]
        return found


def _runs(numbers: Integers) -> Iterator[tuple[int, slice]]:
    """Yield each of some numbers, which do not decrease, and where it stands."""
    edges = [*first_of_each(numbers).tolist(), len(numbers)]
    for start, stop in pairwise(edges):
        yield int(numbers[start]), slice(start, stop)


def first_of_each(numbers: Integers) -> Integers:
    """Return where each of some numbers, which do not decrease, stands first."""
    new = np.empty(len(numbers), bool)
    new[:1] = True
    np.not_equal(numbers[1:], numbers[:-1], out=new[1:])
    return np.flatnonzero(new)


@dataclass(frozen=True, eq=False)
class StackRead:
    """Asks for ranges of the arrays of a stack, the same ranges of each of its arrays.

    Range i is ``[starts[i], stops[i])`` of each array of file ``files[i]``. That of
    array s goes to ``targets[s][which[i]]``, where its first element is ``offsets[i]``.

    Parameters
    ----------
    stack
        The arrays.
    files
        The file of each range, int64, shape ``(k,)``; they do not decrease.
    starts, stops, which, offsets
        As those of a :class:`~.requests.Request`, for the ranges of each file.
    targets
        For each array of a file its targets, as those of a
        :class:`~.requests.Request`; all have as many, of the same lengths.
    """

    stack: ArrayStack
    files: Integers
    starts: Integers
    stops: Integers
    which: Integers
    offsets: Integers
    targets: Sequence[Targets]

    @property
    def n_wanted(self) -> int:
        """Elements of all ranges, of one array of each file."""
        return int((self.stops - self.starts).sum())

    @property
    def n_places(self) -> int:
        """Elements of all targets of one array of each file."""
        return sum(map(len, self.targets[0]))

    @property
    def fills_targets(self) -> bool:
        """Whether every place of the targets is read to, so that all can be widened."""
        return self.n_wanted == self.n_places

    @property
    def n_bytes(self) -> int:
        """Bytes of all ranges, in the types of the arrays."""
        return self.n_wanted * sum(slot.dtype.itemsize for slot in self.stack.slots)

    def fits(self) -> bool:
        """Return whether all ranges can be read into the targets.

        The files are plain or cached. What is wrong with ranges that do not fit,
        requests for each array say.

        Raises
        ------
        ValueError
            If bytes cannot be read straight into a target.
        """
        slots, which = self.stack.slots, self.which
        sizes = np.array([len(target) for target in self.targets[0]], np.int64)
        count = self.stops - self.starts
        if which.min() < 0 or which.max() >= len(sizes) or self.starts.min() < 0:
            return False
        if count.min() < 0 or self.offsets.min() < 0:
            return False
        if (self.offsets > sizes[which] - count).any():
            return False
        for slot, targets in zip(slots, self.targets, strict=True):
            dtype = targets[0].dtype
            check_targets(targets, dtype, (), "stacked arrays")
            if dtype != slot.dtype and not can_convert(slot.dtype, dtype):
                return False
            if [len(target) for target in targets] != sizes.tolist():
                return False
            if (self.stops > slot.lengths[self.files]).any():
                return False
        return True

    def take(self, some: npt.NDArray[np.bool_]) -> "StackRead":
        """Return the read of some of the ranges."""
        return replace(
            self,
            files=self.files[some],
            starts=self.starts[some],
            stops=self.stops[some],
            which=self.which[some],
            offsets=self.offsets[some],
        )

    def split(self) -> list[Request]:
        """Return the requests for each array on its own."""
        return [
            Request(
                array,
                self.starts[here],
                self.stops[here],
                targets,
                self.which[here],
                self.offsets[here],
            )
            for number, here in _runs(self.files)
            for array, targets in zip(
                self.stack.files[number], self.targets, strict=True
            )
        ]
