"""Requests: ranges of arrays, and where in memory each range goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..layout import ArrayLayout
from .conversion import can_convert

__all__ = [
    "Pieces",
    "Ranges",
    "Request",
    "check_targets",
    "cut_at_chunks",
    "find_addresses",
    "merge_requests",
]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Request:
    """Asks for ranges of one array, and says where each goes.

    Range i, ``[starts[i], stops[i])`` along the first axis, goes to
    ``targets[which[i]][offsets[i] : offsets[i] + stops[i] - starts[i]]``.

    Parameters
    ----------
    array
        The array to read.
    starts, stops
        The ranges, int64, shape ``(k,)``; `starts` do not decrease. Ranges may be
        empty, repeat and overlap.
    targets
        C-contiguous arrays of one dtype; their rows have the array's trailing shape, or
        ``(len(columns),)``. Two ranges may not go to the same rows. Requests with the
        same targets should share this very list, which saves time. The targets of a 1-D
        array may be of another dtype than the array, in which it loses no number; or of
        signed integers: an integer that these cannot hold becomes -1.
    which, offsets
        Number of the target that each range goes to, and its first row there, int64,
        shape ``(k,)``.
    columns
        For a 2-D array, the columns to read, in the order wanted, each at most once;
        None: all.
    is_uncached
        Whether the array's cache was asked already, and has nothing of it.
    """

    array: ArrayLayout
    starts: Integers
    stops: Integers
    targets: Sequence[npt.NDArray[Any]]
    which: Integers
    offsets: Integers
    columns: Integers | None = None
    is_uncached: bool = False

    @property
    def converts(self) -> bool:
        """Whether the targets are of another type than the array."""
        return bool(self.targets) and self.targets[0].dtype != self.array.dtype


class Ranges(NamedTuple):
    """The ranges of several requests, one after another; all were checked.

    Parameters
    ----------
    requests
        The requests.
    bounds
        Where the ranges of each begin, and their number.
    of
        Number of the request that each range belongs to.
    starts, stops
        The ranges.
    target, offset
        Number of each range's target among all, and its first row there.
    targets
        The targets of all requests; those that share a list of targets have it once.
    """

    requests: Sequence[Request]
    bounds: list[int]
    of: Integers
    starts: Integers
    stops: Integers
    target: Integers
    offset: Integers
    targets: list[npt.NDArray[Any]]

    @property
    def n_bytes(self) -> int:
        """Bytes of all ranges, in the types of their arrays."""
        rows = np.bincount(self.of, self.stops - self.starts, len(self.requests))
        return sum(
            int(n) * prod(_row_shape(request)) * request.array.dtype.itemsize
            for n, request in zip(rows.tolist(), self.requests, strict=True)
        )


def merge_requests(requests: Sequence[Request], *, converts: bool = False) -> Ranges:
    """Check requests, and return the ranges of all of them.

    Parameters
    ----------
    requests
        The requests.
    converts
        Whether who asks converts what is read to the type of the targets; else it is an
        error where that is not the type of the array.

    Raises
    ------
    ValueError
        If the parts of a request do not fit each other, or a range or its rows in a
        target are out of bounds.
    """
    counts = [_count_ranges(request) for request in requests]
    of = np.repeat(np.arange(len(requests)), counts)
    starts, stops, which, offset = (
        np.concatenate(
            [getattr(request, name) for request in requests],
            dtype=np.int64,
            casting="same_kind",
        )
        for name in ("starts", "stops", "which", "offsets")
    )
    targets: list[npt.NDArray[Any]] = []
    known: dict[tuple[int, Any], int] = {}
    first_target = []
    for request in requests:
        row = _row_shape(request)
        key = (id(request.targets), (request.array.dtype, row))
        if key not in known:
            known[key] = len(targets)
            _check_targets(request, row, converts=converts)
            targets += request.targets
        first_target.append(known[key])
    # Addresses are computed from these numbers: nothing out of bounds gets past here.
    n_targets = np.array([len(request.targets) for request in requests], np.int64)
    if ((which < 0) | (which >= n_targets[of])).any():
        raise ValueError("which must be numbers of targets")
    target = which + np.array(first_target, np.int64)[of]
    lengths = np.array([len(request.array) for request in requests], np.int64)
    sizes = np.array([len(array) for array in targets], np.int64)
    count = stops - starts
    wrong = (starts < 0) | (count < 0) | (stops > lengths[of])
    wrong |= (offset < 0) | (offset > sizes[target] - count)
    if wrong.any():
        raise _out_of_bounds(requests, of, starts, stops, int(np.argmax(wrong)))
    bounds = [0, *np.cumsum(counts).tolist()]
    return Ranges(requests, bounds, of, starts, stops, target, offset, targets)


def _out_of_bounds(
    requests: Sequence[Request],
    of: Integers,
    starts: Integers,
    stops: Integers,
    at: int,
) -> ValueError:
    array = requests[int(of[at])].array
    start, stop = int(starts[at]), int(stops[at])
    if 0 <= start <= stop <= len(array):
        return ValueError(f"the range {start} to {stop} does not fit its target")
    return ValueError(
        f"ranges of {array.label} must be in [0, {len(array)}], got {start} to {stop}"
    )


def _count_ranges(request: Request) -> int:
    count = len(request.starts)
    if not count == len(request.stops) == len(request.which) == len(request.offsets):
        raise ValueError(
            "starts, stops, which and offsets must be of one length, got"
            f" {count}, {len(request.stops)}, {len(request.which)} and"
            f" {len(request.offsets)}"
        )
    return count


def _row_shape(request: Request) -> tuple[int, ...]:
    """Return the shape of a row of a request's targets."""
    shape, columns = request.array.shape, request.columns
    if columns is None:
        return shape[1:]
    if len(shape) != 2:
        raise ValueError(f"{request.array.label} has no columns: it is not 2-D")
    if len(columns) and not 0 <= columns.min() <= columns.max() < shape[1]:
        raise ValueError(f"columns must be in [0, {shape[1]})")
    return (len(columns),)


def _check_targets(request: Request, row: tuple[int, ...], *, converts: bool) -> None:
    dtype = request.array.dtype
    wanted = request.targets[0].dtype if request.targets else dtype
    if converts and wanted != dtype and not row and can_convert(dtype, wanted):
        dtype = wanted
    check_targets(request.targets, dtype, row, request.array.label)


def check_targets(
    targets: Sequence[npt.NDArray[Any]],
    dtype: np.dtype[Any],
    row: tuple[int, ...],
    label: str,
) -> None:
    """Raise unless bytes can be read straight into targets.

    Parameters
    ----------
    targets
        The targets.
    dtype, row
        The type of their elements and the shape of a row that they must have.
    label
        What is read into them, for the error.
    """
    for target in targets:
        flags = target.flags
        if (
            target.dtype != dtype
            or target.shape[1:] != row
            or not flags.c_contiguous
            or not flags.writeable
        ):
            raise ValueError(
                f"targets of {label} must be writable C-contiguous"
                f" {dtype} with rows of shape {row}, got {target.dtype} of shape"
                f" {target.shape}"
            )


def find_addresses(targets: Sequence[npt.NDArray[Any]]) -> Integers:
    """Return where in memory each target begins."""
    # An array's `ctypes` would make an object of each.
    begins = [target.__array_interface__["data"][0] for target in targets]
    return np.array(begins, np.int64)


class Pieces(NamedTuple):
    """Ranges that were cut where rows of chunks meet.

    Parameters
    ----------
    range
        Number of the range that each piece belongs to.
    chunk
        Row of chunks that it lies in.
    first
        First row inside the chunk.
    n
        Number of rows.
    offset
        First row in the target.
    """

    range: Integers
    chunk: Integers
    first: Integers
    n: Integers
    offset: Integers


def cut_at_chunks(
    starts: Integers, stops: Integers, offset: Integers, chunk_rows: Integers
) -> Pieces:
    """Cut ranges where they cross from one row of chunks into the next.

    Empty ranges give no piece. The pieces of a range follow one another, and the ranges
    keep their order; `chunk_rows` has the rows in a chunk for each range.
    """
    chunk = starts // chunk_rows
    n = stops - starts
    n_crossed = (stops - 1) // chunk_rows - chunk
    # An empty range at the start of a chunk crosses -1 borders.
    if n.all() and not n_crossed.any():
        numbers = np.arange(len(starts))
        return Pieces(numbers, chunk, starts - chunk * chunk_rows, n, offset)
    counts = np.where(n > 0, n_crossed + 1, 0)
    of = np.repeat(np.arange(len(starts)), counts)
    chunk = np.arange(len(of)) + np.repeat(chunk - np.cumsum(counts) + counts, counts)
    step, start = chunk_rows[of], starts[of]
    edge = chunk * step
    low = np.maximum(start, edge)
    high = np.minimum(stops[of], edge + step)
    return Pieces(of, chunk, low - edge, high - low, offset[of] + low - start)
