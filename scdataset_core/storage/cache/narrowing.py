"""Chooses the narrowest type that holds the values of a chunk exactly."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "N_KINDS",
    "can_keep",
    "common_kind",
    "kept_dtype",
    "narrow",
    "narrow_rows",
]

# Kinds are numbers in the records of a cache: never change what one means.
_NARROW = ("u1", "u2", "u4", "f4")
_WHOLE_BYTES = (1, 2, 4)
_AS_STORED = len(_NARROW) + 1
N_KINDS = _AS_STORED + 1  # 0 says that a chunk is not kept


def can_keep(dtype: np.dtype[Any]) -> bool:
    """Return whether arrays of a type can be kept: numbers can, records cannot."""
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def kept_dtype(kind: int, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that a chunk is kept in.

    Parameters
    ----------
    kind
        A number from :func:`narrow`.
    dtype
        Type of the array.
    """
    return dtype if kind == _AS_STORED else np.dtype(_NARROW[kind - 1])


def common_kind(a: int, b: int) -> int:
    """Return the narrowest kind that holds what two kinds hold."""
    wholes = len(_NARROW) - 1
    return max(a, b) if a == b or max(a, b) <= wholes else _AS_STORED


def narrow(values: npt.NDArray[Any]) -> tuple[int, npt.NDArray[Any]]:
    """Return values in the narrowest type that gives them back bit for bit.

    Parameters
    ----------
    values
        Numbers in native byte order, at least one.

    Returns
    -------
    kind
        Number of the type, see :func:`kept_dtype`: uint8, uint16 or uint32 for whole
        numbers from 0 on, float32 for float64 values that are float32's, else the
        type as it is.
    kept
        A copy of the values in that type.

    Examples
    --------
    >>> narrow(np.array([0.0, 3.0, 255.0]))
    (1, array([  0,   3, 255], dtype=uint8))
    >>> narrow(np.array([-1, 3]))
    (5, array([-1,  3]))
    """
    [(kind, _, kept)] = narrow_rows(values[None])
    return kind, kept[0]


def narrow_rows(
    rows: npt.NDArray[Any],
) -> list[tuple[int, npt.NDArray[np.int64], npt.NDArray[Any]]]:
    """Narrow each row of a matrix by itself, see :func:`narrow`.

    Few calls for many rows: each call of NumPy gives up the interpreter's lock, and
    waits for it again where other threads work.

    Returns
    -------
    list of (kind, which, kept)
        For each kind that occurs: numbers of its rows, int64, and a copy of them.
    """
    kinds = _kinds_of_wholes(rows)
    found = []
    for kind in set(kinds.tolist()):
        which = np.flatnonzero(kinds == kind)
        some = rows if len(which) == len(rows) else rows[which]
        if not kind:
            found += _narrow_others(some, which)
            continue
        kept = some.astype(_NARROW[kind - 1])  # they are in its range
        # Integers fit by their range alone.
        if rows.dtype.kind != "f" or (same := _has_bits_of(kept, some)).all():
            found.append((kind, which, kept))
            continue
        fits = same.all(axis=1)
        found.append((kind, which[fits], kept[fits]))
        found += _narrow_others(some[~fits], which[~fits])
    return [part for part in found if len(part[1])]


def _has_bits_of(
    kept: npt.NDArray[Any], floats: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Return which numbers are the same bit for bit once they are floats again.

    A thread may be set to take the smallest floats for 0, as PyTorch's
    ``set_flush_denormal`` does. For it they are equal to 0, and no bits are.
    """
    bits = f"u{floats.itemsize}"
    again = kept.astype(floats.dtype)
    same: npt.NDArray[np.bool_] = again.view(bits) == floats.view(bits)
    return same


def _kinds_of_wholes(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the kind that has the range of each row, 0 where none is narrower."""
    if rows.dtype.kind == "b":
        return np.zeros(len(rows), np.uint8)
    kinds, ends = _ends_of_kinds(rows.dtype)
    bits = rows.view(ends.dtype).max(axis=1)
    found: npt.NDArray[np.uint8] = kinds[np.searchsorted(ends, bits, side="right")]
    return found


@lru_cache
def _ends_of_kinds(
    dtype: np.dtype[Any],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Return the kinds of whole numbers that are narrower, with 0 as the last one.

    And the bits of the first number that is too large for each, in rising order. Bits
    of numbers from 0 on are in the order of the numbers, of floats too. Those of
    numbers below 0, of -0.0, of NaN and of infinity are higher than all of these.
    """
    narrower = [n for n in _WHOLE_BYTES if n < dtype.itemsize]
    ends = np.array([256.0**n for n in narrower]).astype(dtype)
    kinds = np.array([*range(1, len(narrower) + 1), 0], np.uint8)
    return kinds, ends.view(f"u{dtype.itemsize}")


def _narrow_others(
    rows: npt.NDArray[Any], which: npt.NDArray[np.int64]
) -> list[tuple[int, npt.NDArray[np.int64], npt.NDArray[Any]]]:
    """Narrow rows that are not whole numbers from 0 on."""
    if rows.dtype != np.float64:
        return [(_AS_STORED, which, rows.copy())]
    kind = _NARROW.index("f4") + 1
    with np.errstate(invalid="ignore", over="ignore"):
        kept = rows.astype(_NARROW[kind - 1])
        back = kept.astype(rows.dtype)
    fits = (back.view("u8") == rows.view("u8")).all(axis=1)
    return [(kind, which[fits], kept[fits]), (_AS_STORED, which[~fits], rows[~fits])]
