"""Ranges of numbers: as the plain lists of numbers that they stand for."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.ranges import RangeNumbers, complement, union


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8))
def test_union_and_complement_of_ranges(pairs):
    inside = set(itertools.chain(*(range(a, b) for a, b in pairs)))
    ranges = union(pairs)
    assert set(itertools.chain(*(range(a, b) for a, b in ranges))) == inside
    assert np.all(ranges[1:, 0] > ranges[:-1, 1])
    rest = complement(ranges, 25)
    left = set(itertools.chain(*(range(a, b) for a, b in rest)))
    assert left == set(range(25)) - inside


PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)


@given(PAIRS)
def test_numbers_of_ranges_are_those_of_the_list(pairs):
    numbers = RangeNumbers(union(pairs))
    listed = list(itertools.chain(*(range(a, b) for a, b in union(pairs))))
    assert len(numbers) == len(listed)
    assert numbers.at(np.arange(len(listed))).tolist() == listed
    below = numbers.count_below(np.arange(33))
    assert below.tolist() == [sum(x < n for x in listed) for n in range(33)]
    for n in range(len(listed) + 1):
        assert (
            list(itertools.chain(*(range(a, b) for a, b in numbers.first(n))))
            == (listed[:n])
        )
