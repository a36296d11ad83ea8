"""log1p is scanpy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from scdataset_core.transforms import log1p
from tests.transforms.matrices import LAYOUTS, counts, densify, freeze, lay_out


@given(counts(), st.sampled_from(LAYOUTS))
def test_equals_numpy(x, layout):
    out = densify(log1p()(freeze(lay_out(x, layout))), x.shape[1])
    assert out.dtype == (x.dtype if x.dtype.kind == "f" else np.float32)
    np.testing.assert_array_equal(out, np.log1p(x, dtype=out.dtype))


def test_other_byte_orders():
    out = log1p()(np.array([[1.0, 0.0]], ">f4"))
    assert out.dtype.isnative
    np.testing.assert_array_equal(out, np.log1p(np.array([[1.0, 0.0]], np.float32)))


@pytest.mark.slow  # scanpy compiles for seconds
@given(counts(("float32", "float64", "uint8")), st.sampled_from(LAYOUTS))
def test_equals_scanpy(x, layout):
    sc = pytest.importorskip("scanpy")
    out = densify(log1p()(freeze(lay_out(x, layout))), x.shape[1])
    expected = sc.pp.log1p(csr_matrix(x), copy=True).toarray()
    if x.dtype.kind == "f":
        np.testing.assert_array_equal(out, expected)
    else:  # scanpy makes float64 of integers
        np.testing.assert_allclose(out, expected, rtol=2e-7)
