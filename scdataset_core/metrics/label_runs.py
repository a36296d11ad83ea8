"""The runs of a label along the rows, and what windows of neighbouring rows hold."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..permutation import Purpose, derive_key, hash_numbers
from .label_counts import count_from_least, number_labels

__all__ = ["LabelRuns"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# A label with more runs than this is looked at in some windows, not in all.
_RUNS_MOST = 1 << 18
_SAMPLED_WINDOWS = 1 << 16
_SAMPLED_CELLS = 1 << 23


class LabelRuns:
    """A label as runs of neighbouring rows that share it.

    Give it in place of the labels of all rows where these are long and the runs few:
    14 plates of 7 million cells are 14 runs.

    Parameters
    ----------
    labels
        The label of each run, shape ``(n_runs,)``: codes, numbers or strings.
    lengths
        Rows of each run, shape ``(n_runs,)``, each at least 1.

    Attributes
    ----------
    n_rows, n_runs
        Rows of all runs together, and runs.
    shares
        How common each label is, shape ``(n_labels,)``; in the order of their values.

    Raises
    ------
    ValueError
        If there are no runs, `labels` and `lengths` differ in shape, or a length is
        below 1.

    Examples
    --------
    >>> runs = LabelRuns(["plate1", "plate2"], [7_000_000, 7_000_000])
    >>> runs.n_rows, runs.shares.tolist()
    (14000000, [0.5, 0.5])
    """

    def __init__(self, labels: npt.ArrayLike, lengths: npt.ArrayLike) -> None:
        of_runs, rows = np.asarray(labels), np.asarray(lengths)
        if of_runs.ndim != 1 or of_runs.shape != rows.shape or not len(of_runs):
            raise ValueError(
                "labels and lengths must be 1-D, of the same length and not empty, got"
                f" shapes {of_runs.shape} and {rows.shape}"
            )
        if rows.dtype.kind not in "iu" or rows.min() < 1:
            raise ValueError(
                f"lengths must be integers of at least 1, got {rows.dtype} from"
                f" {rows.min()}"
            )
        self._codes = _number(of_runs)
        # Where each run starts, and the number of rows; None where each row is a run.
        self._starts: Integers | None = None
        weights = None
        if rows.max() > 1:
            self._starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
            weights = rows
        self.n_rows = int(rows.sum(dtype=np.int64))
        self.n_runs = len(rows)
        self.shares = np.bincount(self._codes, weights=weights) / self.n_rows

    @classmethod
    def of(cls, labels: "npt.ArrayLike | LabelRuns") -> "LabelRuns":
        """Return the runs of the labels of all rows.

        Parameters
        ----------
        labels
            The label of every row, shape ``(n,)``. A missing label, such as the code
            -1, counts as a label of its own.

        Examples
        --------
        >>> LabelRuns.of([0, 0, 1, 1, 1, 0])
        LabelRuns(6 rows, 3 runs, 2 labels)
        """
        if isinstance(labels, LabelRuns):
            return labels
        array = np.asarray(labels)
        if array.ndim != 1 or not len(array):
            raise ValueError(
                f"labels must be a non-empty 1-D array, got shape {array.shape}"
            )
        changes = array[1:] != array[:-1]
        if np.count_nonzero(changes) >= _RUNS_MOST:
            return cls(array, np.ones(len(array), np.int8))
        starts = np.flatnonzero(np.concatenate([[True], changes]))
        return cls(array[starts], np.diff(starts, append=len(array)))

    def __repr__(self) -> str:
        n_labels = np.count_nonzero(self.shares)
        return (
            f"LabelRuns({self.n_rows:,} rows, {self.n_runs:,} runs,"
            f" {n_labels:,} labels)"
        )

    def window_counts(self, size: int, first: int, last: int) -> Floats:
        """Return how often a window of neighbouring rows holds each count of a label.

        A window may begin at any row, each with the same chance, and goes on at row 0
        after the last row, as the blocks of an epoch do. If the label has more than
        2^18 runs, 65,536 windows (fewer, if they are long) stand for all.

        Parameters
        ----------
        size
            Rows of a window, from 1 to `n_rows`.
        first, last
            Which labels: those with the numbers from `first` up to `last`, in the order
            of `shares`.

        Returns
        -------
        chances
            Shape ``(last - first, size + 1)``; each row sums to 1.
        """
        if self.n_runs > _RUNS_MOST:
            return self._sample_windows(size, first, last)
        return self._count_windows(size, first, last)

    def _count_windows(self, size: int, first: int, last: int) -> Floats:
        """Count exactly.

        From a window to the next one the count of a label rises or falls by one, or
        stays. What it does changes only where an end of the window meets one of a run.
        """
        n, n_labels = self.n_rows, last - first
        ours = (self._codes >= first) & (self._codes < last)
        codes = self._codes[ours].astype(np.int64) - first
        bounds = np.arange(n + 1) if self._starts is None else self._starts
        starts, ends = bounds[:-1][ours], bounds[1:][ours]
        numbers = np.arange(n_labels)
        # The count in the first window, and its change from the last window to it.
        inside = np.clip(np.minimum(ends, size) - starts, 0, None)
        at_zero = np.bincount(codes, weights=inside, minlength=n_labels)
        entered, left = self._code_at(np.array([size - 1, n - 1])) - first
        slope = (numbers == entered).astype(np.int64) - (numbers == left)
        # Sorted by label, then by place; one event of each label is at row 0.
        places = np.concatenate([starts, ends, starts - size, ends - size]) % n
        changes = np.repeat([-1, 1, 1, -1], len(codes))
        owners = np.concatenate([np.tile(codes, 4), numbers])
        places = np.concatenate([places, np.zeros(n_labels, np.int64)])
        changes = np.concatenate([changes, slope])
        sorting = np.argsort(owners * n + places, kind="stable")
        owners, places, changes = owners[sorting], places[sorting], changes[sorting]
        opens = np.concatenate([[True], owners[1:] != owners[:-1]])
        # What a label adds up to is taken away before the next one begins.
        closes = np.append(np.where(opens[1:], n, places[1:]), n)
        lengths = closes - places
        slopes = _sum_within(changes, opens)
        moved = _sum_within(slopes * lengths, opens)
        counts = at_zero[owners].astype(np.int64) + moved - slopes * lengths
        return _fill_ramps(owners, counts, slopes, lengths, (n_labels, size + 1)) / n

    def _sample_windows(self, size: int, first: int, last: int) -> Floats:
        n_windows = max(1, min(_SAMPLED_WINDOWS, _SAMPLED_CELLS // size))
        key = derive_key(0, 0, Purpose.BLOCKS)
        hashed = hash_numbers(np.arange(n_windows), key=key)
        begins = (hashed % np.uint64(self.n_rows)).astype(np.int64)
        rows = (begins[:, None] + np.arange(size)) % self.n_rows
        codes = self._code_at(rows.reshape(-1)).astype(np.int64) - first
        windows = np.repeat(np.arange(n_windows), size)
        ours = (codes >= 0) & (codes < last - first)
        keys = codes[ours] * n_windows + windows[ours]
        found, counts = np.unique(keys, return_counts=True)
        shape = (last - first, size + 1)
        chances = np.bincount(
            found // n_windows * shape[1] + counts, minlength=shape[0] * shape[1]
        ).reshape(shape)
        chances[:, 0] = n_windows - chances[:, 1:].sum(axis=1)
        return np.asarray(chances / n_windows, np.float64)

    def _code_at(self, rows: Integers) -> npt.NDArray[np.int32]:
        if self._starts is not None:
            rows = np.searchsorted(self._starts, rows, side="right") - 1
        return self._codes[rows]


def _number(labels: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return a number of each label, from 0, in the order of their values."""
    numbers = count_from_least(labels)
    if numbers is None:
        numbers = np.asarray(number_labels(labels)[1], np.int32)
    return numbers


def _sum_within(parts: Integers, opens: npt.NDArray[np.bool_]) -> Integers:
    """Return running sums that begin anew wherever `opens` is true."""
    sums = np.cumsum(parts)
    firsts = np.flatnonzero(opens)
    before = np.repeat((sums - parts)[firsts], np.diff(firsts, append=len(parts)))
    within: Integers = sums - before
    return within


def _fill_ramps(
    owners: Integers,
    counts: Integers,
    slopes: Integers,
    lengths: Integers,
    shape: tuple[int, int],
) -> Floats:
    """Return how often each count comes, of stretches that stay, rise or fall by one.

    A stretch begins at a count, and has a length in windows.
    """
    n_cells = shape[0] * shape[1]
    flat = slopes == 0
    staying = np.bincount(
        owners[flat] * shape[1] + counts[flat],
        weights=lengths[flat],
        minlength=n_cells,
    )
    ramps = ~flat & (lengths > 0)
    owner, count, length = owners[ramps], counts[ramps], lengths[ramps]
    low = np.where(slopes[ramps] > 0, count, count - length + 1)
    begins = owner * (shape[1] + 1) + low
    width = shape[0] * (shape[1] + 1)
    steps = np.bincount(begins, minlength=width)
    steps = steps - np.bincount(begins + length, minlength=width)
    moving = np.cumsum(steps.reshape(shape[0], -1), axis=1)[:, :-1]
    return np.asarray(staying.reshape(shape) + moving, np.float64)
