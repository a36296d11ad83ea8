"""Bits in 64-bit words, with running counts by which the n-th set bit is found.

The counts make it a matter of one binary search and a few look-ups to find a set bit by
its number, or to count those below a place (rank and select: Jacobson, "Space-efficient
static trees and graphs", 1989).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = [
    "WORD",
    "WORD_ROWS",
    "BitPacker",
    "Words",
    "count_below",
    "find_bits",
    "running_counts",
]

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

# Words are little-endian on every machine, so that bit i of byte j is row 8 j + i.
WORD = np.dtype("<u8")
WORD_ROWS = 64
# With 8 bytes for a running count, one for eight words takes n / 64 bytes of n bits.
GROUP_WORDS = 8

_BITS = np.unpackbits(
    np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"
)
_BYTE_COUNTS = _BITS.sum(axis=1, dtype=np.uint8)
# Which bits of each byte are set, in order; 8 where there are no more.
_NTH_BIT = np.sort(np.where(_BITS == 1, np.arange(8), 8), axis=1)


class BitPacker:
    """Packs booleans into words, piece after piece.

    Parameters
    ----------
    n
        How many there will be.
    """

    def __init__(self, n: int) -> None:
        self._octets = np.zeros(-(-n // WORD_ROWS) * 8, np.uint8)
        self._at = 0

    def add(self, mask: npt.NDArray[np.bool_]) -> None:
        """Pack the next piece; all but the last have a multiple of 8 booleans."""
        octets = np.packbits(mask, bitorder="little")
        self._octets[self._at : self._at + len(octets)] = octets
        self._at += len(octets)

    def words(self) -> Words:
        """Return the words."""
        return self._octets.view(WORD)


def running_counts(words: Words) -> tuple[Integers, int]:
    """Return how many bits are set before each group of eight words, and in all."""
    if not len(words):
        return np.empty(0, np.int64), 0
    firsts = np.arange(0, len(words), GROUP_WORDS)
    sums = np.add.reduceat(_count_bits(words), firsts, dtype=np.int64)
    return np.cumsum(sums) - sums, int(sums.sum())


def find_bits(words: Words, counts: Integers, numbers: Integers) -> Integers:
    """Return where the set bits of some numbers are, counted from 0.

    Parameters
    ----------
    words, counts
        The bits, and what :func:`running_counts` returned for them.
    numbers
        Numbers of set bits, shape ``(k,)``, in any order; there must be as many.
    """
    group = np.searchsorted(counts, numbers, side="right") - 1
    left = numbers - counts[group]
    octets = words.view(np.uint8)
    word, left = _pass(group * GROUP_WORDS, left, lambda at: _count_bits(words[at]))
    octet, left = _pass(word * 8, left, lambda at: _BYTE_COUNTS[octets[at]])
    found: Integers = octet * 8 + _NTH_BIT[octets[octet], left]
    return found


def _pass(
    at: Integers, left: Integers, count_at: Callable[[Integers], npt.NDArray[np.uint8]]
) -> tuple[Integers, Integers]:
    """Return which of eight units from `at` on holds a bit, and its number in there.

    Parameters
    ----------
    at
        The first of eight words or octets, for each bit.
    left
        Number of the bit among those that are set from there on.
    count_at
        Returns how many bits are set in each of some words, or octets.
    """
    for _ in range(7):
        count = count_at(at)
        is_passed = left >= count
        left = left - count * is_passed
        at = at + is_passed
    return at, left


def count_below(words: Words, counts: Integers, places: Integers) -> Integers:
    """Return how many set bits lie below each place, of the shape of `places`.

    Parameters
    ----------
    words, counts
        The bits, and what :func:`running_counts` returned for them.
    places
        From 0 to the number of bits, in any order.
    """
    if not len(words):
        return np.zeros(places.shape, np.int64)
    word = places // WORD_ROWS
    group = np.minimum(word // GROUP_WORDS, len(counts) - 1)
    found = counts[group]
    at = group * GROUP_WORDS
    for _ in range(GROUP_WORDS):
        is_below = at < word
        found = found + _count_bits(words[np.where(is_below, at, 0)]) * is_below
        at = at + is_below
    is_inside = word < len(words)
    bits = words[np.where(is_inside, word, 0)]
    lower = (np.uint64(1) << (places % WORD_ROWS).astype(np.uint64)) - np.uint64(1)
    return found + _count_bits(bits & lower) * is_inside


def _count_bits(words: Words) -> npt.NDArray[np.uint8]:
    """Return how many bits are set in each word."""
    if hasattr(np, "bitwise_count"):
        counts: npt.NDArray[np.uint8] = np.bitwise_count(words)
        return counts
    octets = np.ascontiguousarray(words).view(np.uint8).reshape(-1, 8)  # NumPy 1.26
    found: npt.NDArray[np.uint8] = _BYTE_COUNTS[octets].sum(axis=1, dtype=np.uint8)
    return found
