"""Numbers of one type in memory of another, against arithmetic without a limit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scdataset_core.storage.reading.conversion import can_convert, convert

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i8", ">u4"]


@given(
    stored=st.sampled_from(INTEGERS),
    wanted=st.sampled_from(["i1", "i2", "i4", "i8"]),
    data=st.data(),
)
def test_integers_that_do_not_fit_become_minus_one(stored, wanted, data):
    values = data.draw(hnp.arrays(stored, st.integers(0, 20)))
    out = np.full(len(values), 99, wanted)
    convert(values, out)
    limits = np.iinfo(wanted)
    want = [v if limits.min <= v <= limits.max else -1 for v in values.tolist()]
    assert out.tolist() == want


@pytest.mark.parametrize("edge", [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32 + 5])
def test_the_edges_of_int32(edge):
    out = np.empty(3, np.int32)
    convert(np.array([1, edge, 2]), out)
    assert out.tolist() == [1, edge if -(2**31) <= edge < 2**31 else -1, 2]


@pytest.mark.parametrize(
    ("stored", "wanted", "can"),
    [
        ("i8", "i4", True),
        ("u8", "i4", True),
        (">i8", "i4", True),
        ("u1", "i8", True),
        ("f4", "f8", True),
        ("i4", "f8", True),
        ("?", "f4", True),
        ("i4", "u4", False),
        ("f8", "f4", False),
        ("f4", "i4", False),
        ("i8", "f4", False),
        ("S4", "i4", False),
    ],
)
def test_nothing_else_loses_a_number(stored, wanted, can):
    assert can_convert(np.dtype(stored), np.dtype(wanted)) is can


@given(values=hnp.arrays("f4", st.integers(0, 20)))
def test_floats_are_widened_bit_for_bit(values):
    out = np.empty(len(values), "f8")
    convert(values, out)
    np.testing.assert_array_equal(out.astype("f4"), values)
