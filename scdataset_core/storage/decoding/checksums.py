"""The Fletcher-32 checksum as HDF5 computes it."""

from collections.abc import Sequence

import numpy as np

__all__ = ["fletcher32"]

BLOCK_WORDS = 1 << 20
MODULUS = 65535


def fletcher32(data: "bytes | memoryview") -> tuple[int, int]:
    """Return the two sums over big-endian 16-bit words, each modulo 65535.

    Examples
    --------
    >>> fletcher32(bytes([0, 1, 0, 2]))
    (3, 4)
    """
    n_bytes = len(data)
    words = np.frombuffer(data, ">u2", n_bytes // 2)
    first = second = 0
    for start in range(0, len(words), BLOCK_WORDS):
        block = words[start : start + BLOCK_WORDS].astype(np.int64)
        n = len(block)
        second += n * first + int(block @ np.arange(n, 0, -1))
        first += int(block.sum())
        first %= MODULUS
        second %= MODULUS
    if n_bytes % 2:
        first = (first + (data[-1] << 8)) % MODULUS
        second = (second + first) % MODULUS
    return first, second


def matches(stored: Sequence[int], data: "bytes | memoryview") -> bool:
    """Return whether the four stored bytes are the checksum of `data`."""
    first, second = fletcher32(data)
    low = (stored[0] | stored[1] << 8) % MODULUS
    high = (stored[2] | stored[3] << 8) % MODULUS
    # HDF5 before 1.6.3 wrote each half with its bytes swapped; all versions read it.
    low_swapped = (stored[1] | stored[0] << 8) % MODULUS
    high_swapped = (stored[3] | stored[2] << 8) % MODULUS
    return (first, second) in ((low, high), (low_swapped, high_swapped))
