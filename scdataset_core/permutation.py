"""All randomness of the library: one keyed hash of integers, and permutations from it.

A random value is never drawn from a generator; it is the hash of its use: the seed,
the epoch, the purpose, and a number. So each value can be computed on its own, in any
order and process. It is the same on every platform and NumPy version, since only 64-bit
integer addition, multiplication, shifts and exclusive or are used.

The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast
splittable pseudorandom number generators", OOPSLA 2014; constants of Stafford's
variant 13). The permutation is a Feistel network (Luby and Rackoff 1988) on the
smallest power of two that holds `n`, walked along its cycle until it falls inside
``range(n)`` (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
"""

from enum import IntEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = [
    "Purpose",
    "derive_key",
    "hash_numbers",
    "permute",
    "permute_each",
    "shuffled",
    "uniform",
]

_MASK = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB

# For `n` up to this a table of sorted hashes is smaller than a fetch, and makes all
# permutations equally likely, which a Feistel network of a few bits does not.
_TABLE_LIMIT = 1024
_ROUNDS = 6
# The same for each of many ranges at once, whose tables are made together: 64 ranges of
# 128 take 0.7 ms, the network for 4,096 positions takes 0.6 ms.
_SMALL_LIMIT = 128


class Purpose(IntEnum):
    """The use of a random value; it is part of the key, so uses never share values."""

    GRID = 1
    BLOCKS = 2
    SHUFFLE = 3
    DRAWS = 4
    CELLS = 5
    MIX = 6
    STARTS = 7
    ROUNDS = 8
    CHOSEN_GENES = 32
    ZERO_GENES = 33
    MASKED_GENES = 34
    BIN_SIDES = 35
    BUCKETS = 36
    SPLIT = 48


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))


def _mix_int(value: int) -> int:
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def derive_key(seed: int, epoch: int, purpose: Purpose, number: int = 0) -> int:
    """Return the 64-bit key of one use of randomness.

    Parameters
    ----------
    seed, epoch, number
        Integers from -2**63 to 2**64 - 1; `number` may be that of a fetch or a round.
    purpose
        What the key is for.

    Returns
    -------
    key
        From 0 to 2**64 - 1; the parts are mixed in one after the other.

    Examples
    --------
    >>> derive_key(0, 0, Purpose.BLOCKS) == derive_key(0, 1, Purpose.BLOCKS)
    False
    """
    key = 0
    for part in (seed, epoch, int(purpose), number):
        key = _mix_int((key + _STEP + part) & _MASK)
    return key


def hash_numbers(
    numbers: npt.ArrayLike, *, key: int | npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each number under `key`, the shape of `numbers`.

    A key is for all numbers; an array of keys, shape ``(k,)``, is for `k` numbers one
    by one. Under one key, different numbers have different hashes.

    Examples
    --------
    >>> hash_numbers([0, 1], key=7).dtype
    dtype('uint64')
    """
    array = np.asarray(numbers)
    # The overflow is intended; NumPy warns of that of scalars, but not of arrays.
    counters = array.reshape(-1).astype(np.uint64) + np.uint64(1)
    mixed = _mix(_mix(counters * np.uint64(_STEP)) ^ np.asarray(key, np.uint64))
    return mixed.reshape(array.shape)


def uniform(numbers: npt.ArrayLike, *, key: int) -> npt.NDArray[np.float64]:
    """Return a value in [0, 1) for each number under `key`: 53 bits of its hash."""
    bits = hash_numbers(numbers, key=key) >> np.uint64(11)
    return np.asarray(bits).astype(np.float64) * 2.0**-53


def shuffled(n: int, *, key: int) -> npt.NDArray[np.int64]:
    """Return a permutation of ``range(n)``, shape ``(n,)``: the order of its hashes.

    Any of the n! permutations is as likely as another. The function takes memory for
    `n` values; where few of a large `n` are wanted, :func:`permute` takes less.
    """
    hashes = hash_numbers(np.arange(n, dtype=np.uint64), key=key)
    # They are distinct, so that every way to sort them gives the same; this is the
    # fastest.
    return np.argsort(hashes).astype(np.int64, copy=False)


@lru_cache(maxsize=16)
def _table(n: int, key: int) -> npt.NDArray[np.int64]:
    return shuffled(n, key=key)


def permute(
    positions: npt.NDArray[np.int64], *, n: int, key: int
) -> npt.NDArray[np.int64]:
    """Return where a keyed permutation of ``range(n)`` sends `positions`.

    Each position is computed on its own, so no array of length `n` is ever made.

    Parameters
    ----------
    positions
        Positions to look up, shape ``(k,)``, each in ``[0, n)``.
    n
        Size of the permuted range, from 1 to 2**62.
    key
        Any 64-bit integer; another key is another permutation.

    Returns
    -------
    rows
        Shape ``(k,)``; over all positions, each value of ``range(n)`` exactly once.
        The same on every platform and NumPy version.

    Raises
    ------
    ValueError
        If `n` is outside its range, or a position is outside ``[0, n)``.

    Examples
    --------
    >>> rows = permute(np.arange(5), n=5, key=7)
    >>> sorted(rows.tolist())
    [0, 1, 2, 3, 4]
    """
    if not 1 <= n <= 2**62:
        raise ValueError(f"n must be from 1 to 2**62, got {n}")
    positions = np.asarray(positions, np.int64)
    if positions.size and (positions.min() < 0 or positions.max() >= n):
        bad = positions[(positions < 0) | (positions >= n)].flat[0]
        raise ValueError(f"positions must lie in [0, {n}), got {bad}")
    if n <= _TABLE_LIMIT:
        return _table(n, key & _MASK)[positions]
    return _walk(positions.astype(np.uint64), n, key & _MASK).astype(np.int64)


def _walk(values: npt.NDArray[np.uint64], n: int, key: int) -> npt.NDArray[np.uint64]:
    """Apply the network to each value until the result lies below `n`.

    The domain of the network is less than twice `n`, so a value takes two applications
    at most on average. The network is a bijection, so the cycle from a value below `n`
    always comes back to one.
    """
    bits = (n - 1).bit_length()
    out = _feistel(values, bits, key)
    outside = np.flatnonzero(out >= n)
    while outside.size:
        again = _feistel(out[outside], bits, key)
        out[outside] = again
        outside = outside[again >= n]
    return out


def _feistel(
    values: npt.NDArray[np.uint64], bits: int, key: int
) -> npt.NDArray[np.uint64]:
    """Return where a keyed bijection of ``range(2**bits)`` sends each value."""
    low_bits = bits // 2
    high_bits = bits - low_bits
    low = values & np.uint64((1 << low_bits) - 1)
    high = values >> np.uint64(low_bits)
    for turn in range(_ROUNDS):
        turn_key = np.uint64(_mix_int((key + _STEP * (turn + 1)) & _MASK))
        if turn % 2:
            low ^= _turn(high, turn_key, low_bits)
        else:
            high ^= _turn(low, turn_key, high_bits)
    return (high << np.uint64(low_bits)) | low


def _turn(
    half: npt.NDArray[np.uint64],
    key: np.uint64 | npt.NDArray[np.uint64],
    bits: int | npt.NDArray[np.uint64],
) -> npt.NDArray[np.uint64]:
    """Return the top `bits` bits of a mix of `half`, which all of its bits reach."""
    mixed = (half + key) * np.uint64(_FIRST)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(_SECOND)
    mixed >>= np.uint64(64) - np.asarray(bits, np.uint64)
    return mixed


def permute_each(
    positions: npt.NDArray[np.int64],
    owners: npt.NDArray[np.int64],
    *,
    sizes: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
) -> npt.NDArray[np.int64]:
    """Return where keyed permutations of several ranges send positions.

    It takes as long as :func:`permute` for as many positions of one range, not a call
    for each range. The permutations are others than those of :func:`permute`.

    Parameters
    ----------
    positions
        Positions to look up, shape ``(k,)``, each in ``[0, sizes[owner])``.
    owners
        Which range each position is of, shape ``(k,)``.
    sizes, keys
        The size of each range, from 1 to 2**53, and the key of its permutation.

    Examples
    --------
    >>> keys = hash_numbers([0, 1], key=7)
    >>> ranges = {"sizes": np.array([3, 1000]), "keys": keys}
    >>> sorted(permute_each(np.arange(3), np.zeros(3, int), **ranges).tolist())
    [0, 1, 2]
    """
    found = np.empty_like(positions)
    is_small = (sizes <= _SMALL_LIMIT)[owners]
    small, large = np.flatnonzero(is_small), np.flatnonzero(~is_small)
    if small.size:
        ranges, own = np.unique(owners[small], return_inverse=True)
        starts, table = _join_tables(sizes[ranges], keys[ranges])
        found[small] = table[starts[own.reshape(-1)] + positions[small]]
    if large.size:
        own = owners[large]
        found[large] = _walk_each(
            positions[large].astype(np.uint64),
            sizes[own].astype(np.uint64),
            keys[own],
            np.frexp(sizes[own] - 1)[1].astype(np.uint64),
        )
    return found


def _join_tables(
    sizes: npt.NDArray[np.int64], keys: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where the permutation of each range starts in an array of all of them."""
    starts = np.cumsum(sizes) - sizes
    owners = np.repeat(np.arange(len(sizes)), sizes)
    places = np.arange(len(owners)) - starts[owners]
    counters = (places + 1).astype(np.uint64) * np.uint64(_STEP)
    hashes = _mix(_mix(counters) ^ keys[owners])
    return starts, np.lexsort((hashes, owners)) - starts[owners]


def _walk_each(
    values: npt.NDArray[np.uint64],
    n: npt.NDArray[np.uint64],
    keys: npt.NDArray[np.uint64],
    bits: npt.NDArray[np.uint64],
) -> npt.NDArray[np.int64]:
    """Apply to each value a network of its own until the result is below its `n`."""
    out = _feistel_each(values, bits, keys)
    outside = np.flatnonzero(out >= n)
    while outside.size:
        again = _feistel_each(out[outside], bits[outside], keys[outside])
        out[outside] = again
        outside = outside[again >= n[outside]]
    return out.astype(np.int64)


def _feistel_each(
    values: npt.NDArray[np.uint64],
    bits: npt.NDArray[np.uint64],
    keys: npt.NDArray[np.uint64],
) -> npt.NDArray[np.uint64]:
    """Return where a bijection of ``range(2**bits)`` of its own sends each value."""
    one = np.uint64(1)
    low_bits = bits >> one
    high_bits = bits - low_bits
    low = values & ((one << low_bits) - one)
    high = values >> low_bits
    for turn in range(_ROUNDS):
        turn_keys = _mix(keys + np.uint64(_STEP * (turn + 1) & _MASK))
        if turn % 2:
            low = low ^ _turn(high, turn_keys, low_bits)
        else:
            high = high ^ _turn(low, turn_keys, high_bits)
    joined: npt.NDArray[np.uint64] = (high << low_bits) | low
    return joined
