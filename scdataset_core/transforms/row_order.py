"""Entries of each row in order, from the largest value to the smallest."""

import itertools

import numpy as np
import numpy.typing as npt

__all__ = ["find_row_order"]

_SIGN = np.uint64(1 << 63)


def find_row_order(
    values: npt.NDArray[np.float64], starts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the entries of each row, the largest value first; of equals the first one.

    NumPy sorts plain integers several times as fast as it sorts indirectly, so value
    and position are packed into one: the position stands in the last bits of the
    value's. Values that differ in these bits alone may come out in the wrong order;
    the rows where some do are sorted again.

    Parameters
    ----------
    values
        Values without NaN, one row after the other, shape ``(n_entries,)``.
    starts
        Where each row starts, and the number of entries, shape ``(n_rows + 1,)``.

    Returns
    -------
    order
        Positions in `values`, shape ``(n_entries,)``; those of a row stand where the
        row stood.

    Examples
    --------
    >>> values, starts = np.array([1.0, 3.0, 2.0, 5.0, 5.0]), np.array([0, 3, 5])
    >>> find_row_order(values, starts).tolist()
    [1, 2, 0, 3, 4]
    """
    lengths = np.diff(starts)
    first = np.repeat(starts[:-1], lengths)
    low = np.uint64((1 << int(lengths.max(initial=1)).bit_length()) - 1)
    # Bits of floats, read as integers, are in the order of the floats once those of
    # negative ones are inverted; here the order is the other way round.
    keys = (values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    negative = keys >= _SIGN
    keys ^= np.where(negative, np.uint64(0), ~_SIGN)
    keys &= ~low
    keys |= (np.arange(len(values)) - first).astype(np.uint64)
    bounds = starts.tolist()
    for start, stop in itertools.pairwise(bounds):
        keys[start:stop].sort()
    keys &= low
    order = keys.astype(np.int64)
    order += first
    found = values[order]
    rises = found[1:] > found[:-1]
    rises[starts[1:-1][(starts[1:-1] > 0) & (starts[1:-1] < len(values))] - 1] = False
    if rises.any():
        rows = np.searchsorted(starts, np.flatnonzero(rises), side="right") - 1
        for row in np.unique(rows).tolist():
            start, stop = bounds[row], bounds[row + 1]
            order[start:stop] = start + np.argsort(-values[start:stop], kind="stable")
    return order
