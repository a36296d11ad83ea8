"""The entries of each row from the largest to the smallest."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scdataset_core.transforms.row_order import find_row_order

close = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-3, 3).map(float),
    st.integers(0, 3).map(lambda steps: 1.0 + steps * 2.0**-52),
    st.just(-0.0),
)


@given(
    hnp.arrays(np.float64, st.integers(0, 40), elements=close),
    st.lists(st.integers(0, 40), max_size=5),
)
def test_equals_a_stable_sort_of_each_row(values, cuts):
    inside = sorted(min(cut, len(values)) for cut in cuts)
    starts = np.array([0, *inside, len(values)])
    order = find_row_order(values, starts)
    for start, stop in itertools.pairwise(starts):
        expected = start + np.argsort(-values[start:stop], kind="stable")
        assert order[start:stop].tolist() == expected.tolist()
