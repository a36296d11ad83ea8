"""clip is numpy.clip, where zeros stay zeros."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.transforms import clip
from tests.transforms.matrices import LAYOUTS, counts, densify, freeze, lay_out


@given(
    counts(),
    st.sampled_from(LAYOUTS),
    st.sampled_from([(None, 3), (0, None), (-1, 2), (-300, 70_000), (None, np.inf)]),
)
def test_equals_numpy(x, layout, bounds):
    out = densify(clip(*bounds)(freeze(lay_out(x, layout))), x.shape[1])
    assert out.dtype == x.dtype
    low, high = bounds
    wide = x.astype(np.float64)
    np.testing.assert_array_equal(out, np.clip(wide, low, high))


def test_bounds_that_change_zeros_need_dense_rows():
    x = np.array([[0.0, 5.0]])
    np.testing.assert_array_equal(clip(1, 3)(x), [[1, 3]])
    with pytest.raises(ValueError, match="clip: the bounds 1 and 3 would change zeros"):
        clip(1, 3)(lay_out(x, "csr"))


def test_bools_and_other_byte_orders():
    x = np.array([[True, False]])
    assert clip(0, 5)(x).tolist() == [[True, False]]
    assert clip(0, 5)(x).dtype == bool
    assert clip(max=0)(x).tolist() == [[False, False]]
    swapped = np.array([[1.0, 9.0]], ">f4")
    assert clip(0, 5)(swapped).tolist() == [[1, 5]]


def test_a_fraction_is_no_bound_of_integers():
    with pytest.raises(ValueError, match=r"clip: the bound 1\.5 is not one that"):
        clip(max=1.5)(np.array([[1, 2]]))


@pytest.mark.parametrize(
    ("bounds", "error", "match"),
    [
        ((None, None), TypeError, "clip needs min, max or both"),
        ((2, 1), ValueError, "min must be at most max, got 2 and 1"),
        (("a", 1), TypeError, "min must be a number, got 'a'"),
        ((None, np.nan), ValueError, "max must be a finite number, got nan"),
    ],
)
def test_wrong_bounds(bounds, error, match):
    with pytest.raises(error, match=match):
        clip(*bounds)


@pytest.mark.parametrize(
    ("bounds", "x"),
    [
        ((None, -1), np.array([[1, 2]], np.uint8)),
        ((300, None), np.array([[1, 2]], np.uint8)),
        ((-np.inf, -np.inf), np.array([[1, 2]], np.int32)),
        ((2, None), np.array([[True, False]])),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bound_that_no_value_of_the_type_reaches_is_refused(bounds, x, layout):
    with pytest.raises(
        ValueError, match=r"clip: no value of type \w+ is as (high|low)"
    ):
        clip(*bounds)(lay_out(x, layout))
