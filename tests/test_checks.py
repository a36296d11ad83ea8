"""Checks of arguments, and the gate for what becomes an index."""

import math

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.checks import first_outside, first_unfit

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


@pytest.mark.parametrize("dtype", ["<i8", ">i8", "<u2", ">u2"])
def test_numbers_in_any_byte_order(dtype):
    """256 has the bytes of 1 in the other order."""
    assert first_outside(np.array([1, 2], dtype), 200) is None
    assert first_outside(np.array([1, 256], dtype), 200) == 1
    rows = np.array([1, 2], dtype)
    source = scd.open(np.arange(600).reshape(200, 3))
    assert source.read(rows, places=rows - 1)["X"][:, 0].tolist() == [3, 6]
    assert source.where(rows).to_numpy().tolist() == [1, 2]


def test_numbers_may_each_have_a_limit():
    numbers = np.array([5, -3, 5], np.int8)
    assert first_outside(numbers, np.array([6, 200, 5])) == 1
    assert first_outside(numbers[[0, 2]], np.array([6, 5])) == 1
    assert first_outside(numbers[[0, 2]], np.array([6, 6])) is None
    assert first_outside(numbers[:0], np.array([], np.int64)) is None


NUMBERS = [*TYPES, "f2", "f4", "f8"]


def fits(value, dtype) -> bool:
    """Return whether a type holds a number, by Python's exact arithmetic."""
    finite = math.isfinite(value)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return not finite or math.isfinite(dtype.type(value))
    limits = np.iinfo(dtype)
    return finite and limits.min <= int(value) <= limits.max


@pytest.mark.parametrize("to", NUMBERS)
@pytest.mark.parametrize("stored", NUMBERS)
def test_values_that_a_type_cannot_hold_are_found(stored, to):
    target, kind = np.dtype(to), np.dtype(stored)
    edges = [0, 0.5, -0.5, -0.99, np.nan, np.inf, -np.inf, 65504, 65519, 65520, 3.41e38]
    for bits in (7, 8, 15, 16, 31, 32, 63, 64):
        edges += [s * 2**bits + d for s in (1, -1) for d in (-1, -0.5, 0, 0.5, 1, 1.5)]
    values = []
    for edge in edges:
        if kind.kind == "f":
            with np.errstate(over="ignore"):
                value, inf = kind.type(edge), kind.type(np.inf)
                values += [value, np.nextafter(value, inf), np.nextafter(value, -inf)]
        elif math.isfinite(edge) and fits(edge, kind):
            values.append(kind.type(int(edge)))
    for value in values:
        expected = None if fits(value, target) else 1
        assert first_unfit(np.array([0, value, 0], kind), target) == expected, value


def test_anything_may_become_a_boolean():
    assert first_unfit(np.array([np.nan, 300.0, -1.0]), np.dtype(bool)) is None
    assert first_unfit(np.array([True, False]), np.dtype(np.int8)) is None
    assert first_unfit(np.array([], np.float64), np.dtype(np.int8)) is None
