"""What is asked of storage: ranges of an array, each to a place of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .layout import ArrayLayout

__all__ = ["Pieces", "Request", "cut"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Request:
    """Ranges of one array, and where each goes.

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
        C-contiguous arrays of the array's dtype; their rows have the array's trailing
        shape, or ``(len(columns),)``. The places of two ranges must not overlap.
    which, offsets
        Target of each range and its first row there, int64, shape ``(k,)``.
    columns
        For a 2-D array, the columns to read, in the order wanted, each at most once;
        None: all.

    Raises
    ------
    ValueError
        If these do not fit each other, or a range or place is out of bounds.
    """

    array: ArrayLayout
    starts: Integers
    stops: Integers
    targets: Sequence[npt.NDArray[Any]]
    which: Integers
    offsets: Integers
    columns: Integers | None = None

    def __post_init__(self) -> None:
        sizes = self._check_targets()
        k = len(self.starts)
        for name in ("stops", "which", "offsets"):
            if len(getattr(self, name)) != k:
                raise ValueError(
                    f"starts and {name} must be of one length, got {k} and"
                    f" {len(getattr(self, name))}"
                )
        if k == 0:
            return
        if self.which.min() < 0 or self.which.max() >= len(sizes):
            raise ValueError(f"which must be in [0, {len(sizes)})")
        lengths = self.stops - self.starts
        # Addresses are computed from these numbers: nothing out of bounds gets past.
        if self.starts.min() < 0 or lengths.min() < 0:
            raise ValueError("starts must be at least 0 and at most stops")
        if self.stops.max() > self.array.shape[0]:
            raise ValueError(
                f"stops must be at most {self.array.shape[0]}, the length of"
                f" {self.array.label}, got {int(self.stops.max())}"
            )
        room = np.array(sizes, np.int64)[self.which] - self.offsets - lengths
        if self.offsets.min() < 0 or room.min() < 0:
            raise ValueError("a range does not fit its target")

    def _check_targets(self) -> list[int]:
        """Check types and shapes of targets, and return their lengths."""
        row: tuple[int, ...] = self.array.shape[1:]
        if self.columns is not None:
            if len(self.array.shape) != 2:
                raise ValueError(f"{self.array.label} has no columns: it is not 2-D")
            columns = self.columns
            if len(columns) and not 0 <= columns.min() <= columns.max() < row[0]:
                raise ValueError(f"columns must be in [0, {row[0]})")
            row = (len(columns),)
        dtype = self.array.dtype
        for target in self.targets:
            if (
                target.dtype != dtype
                or target.shape[1:] != row
                or not target.flags.c_contiguous
                or not target.flags.writeable
            ):
                raise ValueError(
                    f"targets must be C-contiguous {dtype} of shape (n, *{row}), got"
                    f" {target.dtype} of shape {target.shape}"
                )
        return [len(target) for target in self.targets]


class Pieces(NamedTuple):
    """Ranges cut where rows of chunks meet.

    Parameters
    ----------
    chunk
        Row of chunks each piece lies in.
    first
        First row of each piece inside its chunk.
    n
        Rows of each piece.
    which, offset
        Where it goes: target and first row there.
    """

    chunk: Integers
    first: Integers
    n: Integers
    which: Integers
    offset: Integers


def cut(
    starts: Integers,
    stops: Integers,
    which: Integers,
    offsets: Integers,
    *,
    chunk_rows: int,
) -> Pieces:
    """Cut ranges where they cross from one row of chunks into the next.

    Empty ranges give no piece. The pieces of a range follow one another, and the ranges
    keep their order.
    """
    chunk = starts // chunk_rows
    n_crossed = (stops - 1) // chunk_rows - chunk
    lengths = stops - starts
    if lengths.all() and not n_crossed.any():
        return Pieces(chunk, starts - chunk * chunk_rows, lengths, which, offsets)
    counts = np.where(lengths > 0, n_crossed + 1, 0)
    of = np.repeat(np.arange(len(starts)), counts)
    number = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    chunk = chunk[of] + number
    edge = chunk * chunk_rows
    low = np.maximum(starts[of], edge)
    high = np.minimum(stops[of], edge + chunk_rows)
    return Pieces(
        chunk, low - edge, high - low, which[of], offsets[of] + low - starts[of]
    )
