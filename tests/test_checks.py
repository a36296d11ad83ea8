"""Checks of arguments, and the gate for what becomes an index."""

import numpy as np
import pytest

from scdataset_core.checks import first_outside

TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [0, 1, 100, 128, 200, 40_000, 2**31 - 1])
def test_numbers_outside_are_found_at_both_ends_in_every_type(dtype, n):
    limits = np.iinfo(dtype)
    for value in {0, n - 1, n, -1, -2, 2**15, limits.min, limits.max}:
        if limits.min <= value <= limits.max:
            numbers = np.array([0, value, 0] if n else [value], dtype)
            expected = None if 0 <= value < n else len(numbers) // 2
            assert first_outside(numbers, n) == expected
            assert first_outside(numbers, np.full(len(numbers), n)) == expected


def test_numbers_may_each_have_a_limit():
    numbers = np.array([5, -3, 5], np.int8)
    assert first_outside(numbers, np.array([6, 200, 5])) == 1
    assert first_outside(numbers[[0, 2]], np.array([6, 5])) == 1
    assert first_outside(numbers[[0, 2]], np.array([6, 6])) is None
    assert first_outside(numbers[:0], np.array([], np.int64)) is None
