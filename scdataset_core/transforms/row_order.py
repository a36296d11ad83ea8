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
    most = int(np.diff(starts).max(initial=1))
    low = np.uint64((1 << most.bit_length()) - 1)
    positions = np.arange(most, dtype=np.uint64)
    keys = (values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    # Bits of floats, read as integers, are in the order of the floats once those of
    # negative ones are inverted; here the order is the other way round.
    negative = keys >= _SIGN
    keys ^= ~_SIGN
    if negative.any():
        keys[negative] ^= ~_SIGN
    keys &= ~low
    order = np.empty(len(values), np.int64)
    bounds = starts.tolist()
    for start, stop in itertools.pairwise(bounds):
        row = keys[start:stop]
        row |= positions[: stop - start]
        row.sort()
        row &= low
        np.add(row, start, out=order[start:stop], casting="unsafe")
    found = values[order]
    rises = found[1:] > found[:-1]
    inside = starts[(starts > 0) & (starts < len(values))]
    rises[inside - 1] = False
    if rises.any():
        rows = np.searchsorted(starts, np.flatnonzero(rises), side="right") - 1
        for wrong in np.unique(rows).tolist():
            start, stop = bounds[wrong], bounds[wrong + 1]
            order[start:stop] = start + np.argsort(-values[start:stop], kind="stable")
    return order
