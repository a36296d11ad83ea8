"""normalize_total is scanpy's."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix

from scdataset_core.transforms import normalize_total
from tests.transforms.matrices import LAYOUTS, counts, densify, freeze, lay_out


def by_scanpy(x, target_sum):
    sc = pytest.importorskip("scanpy")
    from anndata import AnnData

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cells have zero counts
        adata = AnnData(csr_matrix(x))
        sc.pp.normalize_total(adata, target_sum=target_sum)
    return adata.X.toarray()


@given(counts(), st.sampled_from(LAYOUTS))
def test_each_cell_has_the_target_sum(x, layout):
    out = densify(normalize_total(50)(freeze(lay_out(x, layout))), x.shape[1])
    totals = x.sum(axis=1, dtype=np.float64, keepdims=True)
    expected = 50.0 * x / np.where(totals == 0, 1, totals)
    np.testing.assert_allclose(out, expected, rtol=3e-7)


@pytest.mark.slow  # scanpy compiles for seconds
@given(
    counts(("float32", "float64", "uint8")),
    st.sampled_from(LAYOUTS),
    st.sampled_from([1e4, 1, 7.5]),
)
def test_equals_scanpy_bit_for_bit(x, layout, target_sum):
    given_x = freeze(lay_out(x, layout))
    out = normalize_total(target_sum)(given_x)
    assert type(out) is type(given_x)
    expected = by_scanpy(x, target_sum)
    found = densify(out, x.shape[1])
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@given(counts(("float32",)), st.sampled_from(LAYOUTS))
def test_fractions_equal_scanpy_to_the_last_bits(x, layout):
    x = x / np.float32(3)
    out = densify(normalize_total()(lay_out(x, layout)), x.shape[1])
    np.testing.assert_allclose(out, by_scanpy(x, 1e4), rtol=3e-7)


def test_cells_without_counts_stay_zero():
    x = csr_array((3, 4), dtype=np.float32)
    assert normalize_total()(x).nnz == 0
    assert (normalize_total()(np.zeros((2, 3), int)) == 0).all()


def test_no_rows():
    assert normalize_total()(np.zeros((0, 3))).shape == (0, 3)
    assert normalize_total()(csr_array((0, 3))).shape == (0, 3)


def test_float16_totals_beyond_its_range():
    x = np.full((1, 5), 60_000, np.float16)
    out = normalize_total(10)(x)
    assert out.dtype == np.float16
    np.testing.assert_array_equal(out, [[2] * 5])


def test_columns_are_shared_and_values_are_not():
    x = csr_array(np.array([[1.0, 0, 3]]))
    out = normalize_total()(x)
    assert np.shares_memory(out.indices, x.indices)
    assert not np.shares_memory(out.data, x.data)


@pytest.mark.parametrize("target_sum", [0, -1, np.nan, np.inf])
def test_target_sum_must_be_positive(target_sum):
    with pytest.raises(ValueError, match="target_sum must be"):
        normalize_total(target_sum)


def test_target_sum_must_be_a_number():
    with pytest.raises(TypeError, match="target_sum must be a number, got None"):
        normalize_total(None)


def test_repr_and_pickle():
    hook = normalize_total(100)
    assert repr(hook) == "normalize_total(target_sum=100.0)"
    assert pickle.loads(pickle.dumps(hook)) == hook
