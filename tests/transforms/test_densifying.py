"""to_dense gives a column for every gene."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from scdataset_core.transforms import to_dense
from tests.transforms.matrices import LAYOUTS, counts, freeze, lay_out


@given(counts((*("float32", "uint8"), "float16")), st.sampled_from(LAYOUTS))
def test_any_layout_becomes_the_same_array(x, layout):
    if x.dtype == np.float16 and layout.startswith("csr"):
        return  # SciPy has no float16
    out = to_dense(n_vars=x.shape[1])(freeze(lay_out(x, layout)))
    assert out.dtype == x.dtype
    np.testing.assert_array_equal(out, x)


def test_dense_rows_are_returned_as_they_are():
    x = np.ones((2, 3))
    assert to_dense()(x) is x


def test_values_of_one_column_add_up():
    padded = {
        "indices": np.array([[1, 1, 0]], np.int32),
        "values": np.array([[2.0, 3.0, 4.0]]),
        "length": np.array([3], np.int32),
    }
    np.testing.assert_array_equal(to_dense(n_vars=3)(padded), [[4, 5, 0]])


def test_padded_rows_need_the_number_of_genes():
    padded = lay_out(np.ones((1, 2)), "padded")
    with pytest.raises(ValueError, match=r"to_dense: .*give n_vars=source\.shape"):
        to_dense()(padded)
    with pytest.raises(ValueError, match="X has column 1, and there are 1 genes"):
        to_dense(n_vars=1)(padded)


def test_another_number_of_genes():
    with pytest.raises(ValueError, match="n_vars is 5, and X has 3 genes"):
        to_dense(n_vars=5)(csr_array((2, 3)))


def test_n_vars_must_be_a_count():
    with pytest.raises(ValueError, match="n_vars must be at least 1, got 0"):
        to_dense(n_vars=0)
