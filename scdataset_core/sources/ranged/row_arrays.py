"""Arrays along the cells, read at the rows of a fetch, the small ones kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt

from ...storage import (
    ReadContext,
    Request,
    StoredArray,
    default_context,
    first_use_lock,
    read_requests,
)
from ..rows import Rows, cut_runs

__all__ = [
    "KEPT_BYTES",
    "KEPT_CODE_BYTES",
    "BroughtArrays",
    "Check",
    "KeptArrays",
    "MemoryArray",
    "RowArray",
    "read_runs",
    "read_together",
    "windows",
]

# Bytes that the row pointers and numbers of a source may take in memory: the pointers
# of 8 million cells fit. Larger arrays are read by range in every fetch, so
# that memory does not grow with the number of cells.
KEPT_BYTES = 32 << 20
# The same for the codes of labels, which most batches carry and which are small: five
# columns of up to 255 labels of 10^8 cells fit. From chunks that are compressed, such a
# column costs a fetch a decoded chunk for each block.
KEPT_CODE_BYTES = 512 << 20

# Rows closer than this are read in one range: a request costs more than rows between.
_GAP_ROWS = 512
_WINDOW_ROWS = 1 << 20
# Of a longer array so many rows in one run are read as they lie, so that who reads it
# once, from its beginning to its end, does not keep it.
_LONG_ROWS = 32 << 20
_RUN_ROWS = 1 << 16
_MOST_TOGETHER = 64  # arrays that are read in one call
# An array of so few bytes is read whole with others sooner than in parts by itself.
_MOST_PASSING = 1 << 16


class RowArray(Protocol):
    """An array with one entry a cell that can be read by ranges."""

    @property
    def file(self) -> str:
        """The file it lies in."""

    @property
    def name(self) -> str:
        """Its path in the file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; the cells run along axis 0."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what :meth:`read` returns."""

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the entries in ``[start, stop)``."""


@dataclass(frozen=True)
class MemoryArray:
    """An array in memory, read like one in a file."""

    values: npt.NDArray[Any]
    name: str
    file: str = "memory"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the array."""
        return self.values.dtype

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the entries in ``[start, stop)``."""
        return self.values[start:stop]


def windows(n: int, size: int = _WINDOW_ROWS) -> Iterable[tuple[int, int]]:
    """Yield ``(start, stop)`` of consecutive pieces of ``range(n)``."""
    for start in range(0, n, size):
        yield start, min(start + size, n)


_Key = tuple[str, str]
Check = Callable[[npt.NDArray[Any], int], npt.NDArray[Any]]
_New = dict[_Key, tuple[StoredArray, Check]]


class KeptArrays:
    """Reads arrays at rows; those that fit a fixed budget are read once and kept.

    Parameters
    ----------
    arrays
        Arrays that may be kept in their own type, the smallest first, until
        `most_bytes` are spent.
    codes
        Codes that may be kept, and the type in which they are; the smallest first,
        until `most_code_bytes` are spent.
    most_bytes, most_code_bytes
        Bytes that `arrays` may take, and `codes`; None: `KEPT_BYTES` and
        `KEPT_CODE_BYTES`.
    """

    def __init__(
        self,
        arrays: Iterable[RowArray],
        codes: Iterable[tuple[RowArray, np.dtype[Any]]] = (),
        most_bytes: int | None = None,
        most_code_bytes: int | None = None,
    ) -> None:
        own = [(array, array.dtype) for array in arrays]
        most_bytes = KEPT_BYTES if most_bytes is None else most_bytes
        self._keep = _choose_kept(own, most_bytes)
        most_code = KEPT_CODE_BYTES if most_code_bytes is None else most_code_bytes
        self._keep |= _choose_kept(codes, most_code)
        self._most = -1
        self._kept: dict[tuple[str, str], npt.NDArray[Any]] = {}

    @classmethod
    def up_to(cls, n_bytes: int) -> "KeptArrays":
        """Return what keeps every array of at most so many bytes."""
        kept = cls(())
        kept._most = n_bytes
        return kept

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": {}}

    def at(
        self,
        array: RowArray,
        rows: Rows,
        context: ReadContext,
        *,
        check: Check,
    ) -> tuple[npt.NDArray[Any], Rows]:
        """Return entries that hold those at `rows`, and where each is among them.

        Parameters
        ----------
        array
            What to read.
        rows
            Non-decreasing rows.
        context
            Threads for the read.
        check
            Called with entries as they are read and the row of the first one; raises
            if they are wrong, and returns them in the type they are to be kept in.
            What lies in memory is not checked.
        """
        if isinstance(array, MemoryArray):
            return array.values, rows
        is_run = len(rows) >= _RUN_ROWS and rows[-1] - rows[0] < len(rows)
        if is_run and array.shape[0] > _LONG_ROWS:
            kept = self.held(array)
        else:
            kept = self._whole(array, check)
        if kept is not None:
            return kept, rows
        return read_runs(array, rows, context, check)

    def bring(
        self,
        arrays: Iterable[tuple[RowArray, Check]],
        context: ReadContext | None = None,
    ) -> "BroughtArrays":
        """Read those of some arrays together that are small, or are to be kept.

        Of thousands of small files, one call for many costs a fraction of a call each.

        Parameters
        ----------
        arrays
            Arrays, each with what checks it, see :meth:`at`.
        context
            Threads for what is not kept; None: those of one-off reads.

        Returns
        -------
        brought
            Reads these arrays; it holds those that are not kept.
        """
        new: _New = {}
        passing: _New = {}
        for array, check in arrays:
            key = _key(array)
            if not isinstance(array, StoredArray) or key in self._kept:
                continue
            if self._keeps(key, array):
                if 0 < array.shape[0] <= _WINDOW_ROWS:
                    new[key] = array, check
            elif is_passing(array):
                passing[key] = array, check
        if len(new) > 1:
            with first_use_lock():
                left = {k: v for k, v in new.items() if k not in self._kept}
                read = read_together(list(left.values()))
                self._kept.update(zip(left, read, strict=True))
        if len(passing) < 2:
            return BroughtArrays(self, {})
        own = read_together(list(passing.values()), context)
        return BroughtArrays(self, dict(zip(passing, own, strict=True)))

    def held(self, array: RowArray) -> npt.NDArray[Any] | None:
        """Return an array if it lies in memory already."""
        if isinstance(array, MemoryArray):
            return array.values
        return self._kept.get(_key(array))

    def _keeps(self, key: tuple[str, str], array: RowArray) -> bool:
        return key in self._keep or _nbytes(array, array.dtype) <= self._most

    def _whole(self, array: RowArray, check: Check) -> npt.NDArray[Any] | None:
        key = _key(array)
        if key not in self._kept and self._keeps(key, array):
            with first_use_lock():
                if key not in self._kept:
                    self._kept[key] = _read_checked(array, check)
        return self._kept.get(key)


class BroughtArrays:
    """Reads arrays of which some were read together before, see `KeptArrays.bring`.

    Parameters
    ----------
    kept
        Reads the others.
    own
        Those that were read for one fetch alone.
    """

    def __init__(self, kept: KeptArrays, own: Mapping[_Key, npt.NDArray[Any]]) -> None:
        self._kept, self._own = kept, own

    def at(
        self,
        array: RowArray,
        rows: Rows,
        context: ReadContext,
        *,
        check: Check,
    ) -> tuple[npt.NDArray[Any], Rows]:
        """Return entries that hold those at `rows`, see :meth:`KeptArrays.at`."""
        own = self._own.get(_key(array))
        if own is not None:
            return own, rows
        return self._kept.at(array, rows, context, check=check)


def _key(array: RowArray) -> tuple[str, str]:
    return array.file, array.name


def _nbytes(array: RowArray, dtype: np.dtype[Any]) -> int:
    return prod(array.shape) * dtype.itemsize


def _choose_kept(
    arrays: Iterable[tuple[RowArray, np.dtype[Any]]], budget: int
) -> set[tuple[str, str]]:
    """Return the keys of the smallest arrays that fit a budget together."""
    sizes = {
        _key(array): _nbytes(array, dtype)
        for array, dtype in arrays
        if not isinstance(array, MemoryArray)
    }
    chosen = set()
    for key in sorted(sizes, key=sizes.__getitem__):
        budget -= sizes[key]
        if budget < 0:
            break
        chosen.add(key)
    return chosen


def is_passing(array: RowArray) -> "TypeGuard[StoredArray]":
    """Return whether a fetch reads all of an array sooner than a part of it."""
    if not isinstance(array, StoredArray):
        return False
    return 0 < _nbytes(array, array.dtype) <= _MOST_PASSING


def read_together(
    arrays: Sequence[tuple[RowArray, Check]], context: ReadContext | None = None
) -> Iterable[npt.NDArray[Any]]:
    """Yield all of each array as its check returns it; many small ones take few calls.

    Parameters
    ----------
    arrays
        Arrays, each with what checks it, see :meth:`KeptArrays.at`.
    context
        Threads for the read; None: those of one-off reads.
    """
    context = default_context() if context is None else context
    for start, stop in windows(len(arrays), _MOST_TOGETHER):
        some = arrays[start:stop]
        small = [array for array, _ in some if _is_small(array)]
        read = iter(_read_whole(small, context))
        for array, check in some:
            if _is_small(array):
                yield check(next(read), 0)
            else:
                yield _read_checked(array, check)


def _is_small(array: RowArray) -> TypeGuard[StoredArray]:
    """Return whether all of an array may be read in one call with others."""
    return isinstance(array, StoredArray) and array.shape[0] <= _WINDOW_ROWS


def _read_whole(
    arrays: Sequence[StoredArray], context: ReadContext
) -> list[npt.NDArray[Any]]:
    """Return all of some arrays, read in one call."""
    zero = np.zeros(1, np.int64)
    read = [np.empty(array.shape, array.dtype) for array in arrays]
    requests = [
        Request(array, zero, np.array(array.shape[:1]), [target], zero, zero)
        for array, target in zip(arrays, read, strict=True)
    ]
    read_requests(requests, context)
    return read


def _read_checked(array: RowArray, check: Check) -> npt.NDArray[Any]:
    """Return all of an array as `check` returns it, reading it by pieces."""
    n = array.shape[0]
    size = max(_WINDOW_ROWS, getattr(array, "chunk_rows", None) or 0)
    piece = array.read(0, min(n, size))
    checked = check(piece, 0)
    if n <= size:
        return checked
    whole = np.empty(array.shape, checked.dtype)
    whole[:size] = checked
    for start in range(size, n, size):
        stop = min(start + size, n)
        # Neighbours are checked together, also those of two pieces.
        piece = np.concatenate([piece[-1:], array.read(start, stop)])
        whole[start:stop] = check(piece, start - 1)[1:]
    return whole


def read_runs(
    array: RowArray, rows: Rows, context: ReadContext, check: Check, span: int = 1
) -> tuple[npt.NDArray[Any], Rows]:
    """Read the runs of neighbours among rows, see :meth:`KeptArrays.at`.

    Of each row on, `span` entries are wanted: ``values[positions + span - 1]`` is
    there.
    """
    runs = cut_runs(rows, _GAP_ROWS)
    starts, stops = rows[runs[:-1]], rows[runs[1:] - 1] + span
    offsets = np.cumsum(stops - starts) - (stops - starts)
    if isinstance(array, StoredArray):
        values = np.empty((int((stops - starts).sum()), *array.shape[1:]), array.dtype)
        which = np.zeros(len(starts), np.int64)
        read_requests(
            [Request(array, starts, stops, [values], which, offsets)], context
        )
    else:
        pieces = zip(starts.tolist(), stops.tolist(), strict=True)
        values = np.concatenate([array.read(start, stop) for start, stop in pieces])
    ends = np.append(offsets[1:], len(values))
    checked = [
        check(values[start:stop], row)
        for start, stop, row in zip(
            offsets.tolist(), ends.tolist(), starts.tolist(), strict=True
        )
    ]
    shift = np.repeat(starts - offsets, np.diff(runs))
    return (checked[0] if len(checked) == 1 else np.concatenate(checked)), rows - shift
