"""Scale is scanpy's, given the means and standard deviations that it finds."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix

from scdataset_core.transforms import scale
from tests.transforms.matrices import LAYOUTS, counts, densify, freeze, lay_out


def by_scanpy(x, zero_center, max_value):
    sc = pytest.importorskip("scanpy")
    from anndata import AnnData

    adata = AnnData(csr_matrix(x) if not zero_center else x.copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.scale(adata, zero_center=zero_center, max_value=max_value)
    out = adata.X.toarray() if not zero_center else adata.X
    return out, adata.var["mean"].to_numpy(), adata.var["std"].to_numpy()


@given(counts(), st.sampled_from(LAYOUTS), st.sampled_from([None, 0.5]))
def test_equals_the_formula(x, layout, max_value):
    mean, std = np.arange(x.shape[1]) / 3, np.arange(x.shape[1]) / 2
    hook = scale(mean, std, max_value)
    out = densify(hook(freeze(lay_out(x, layout))), x.shape[1])
    expected = (x - mean) / np.where(std == 0, 1, std)
    if max_value is not None:
        expected = np.clip(expected, -max_value, max_value)
    np.testing.assert_allclose(out, expected, rtol=3e-7, atol=1e-6)


@pytest.mark.slow  # scanpy compiles for seconds
@given(
    counts(("float32", "uint8")).filter(lambda x: len(x) > 1),
    st.sampled_from(LAYOUTS),
    st.sampled_from([None, 1.0, 0.3]),
    st.booleans(),
)
def test_equals_scanpy(x, layout, max_value, zero_center):
    expected, mean, std = by_scanpy(x, zero_center, max_value)
    hook = scale(mean if zero_center else None, std, max_value)
    out = densify(hook(freeze(lay_out(x, layout))), x.shape[1])
    if x.dtype.kind == "f":
        assert out.dtype == expected.dtype
        np.testing.assert_array_equal(out, expected)
    else:  # scanpy makes float64 of integers
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, expected, rtol=3e-7)


def test_without_a_mean_rows_stay_sparse():
    x = csr_array(np.array([[0.0, 4.0]]))
    out = scale(None, [1, 2])(x)
    assert out.format == "csr"
    assert out.nnz == 1


@pytest.mark.parametrize(
    ("mean", "std", "max_value", "match"),
    [
        ([0, 1], [1], None, "mean and std must be of one length, got 2 and 1"),
        ([0], [-1], None, "std must be 0 or more, got -1.0 at 0"),
        ([np.nan], [1], None, "mean must be finite, got nan at 0"),
        ([0], [np.inf], None, "std must be finite, got inf at 0"),
        (0, 1, None, r"std must be a number for each gene, .* got shape \(\)"),
        ([0], [1], 0, "max_value must be above 0, got 0"),
    ],
)
def test_wrong_arguments(mean, std, max_value, match):
    with pytest.raises(ValueError, match=match):
        scale(mean, std, max_value)


def test_x_of_other_genes():
    hook = scale([0, 0], [1, 1])
    with pytest.raises(ValueError, match="scale: std has 2 genes, and X has 3"):
        hook(np.ones((1, 3)))
    with pytest.raises(ValueError, match="scale: X has column 2, and there are 2"):
        hook(lay_out(np.ones((1, 3)), "padded"))


def test_the_arrays_given_may_change_later():
    mean, std = np.zeros(2), np.ones(2)
    hook = scale(mean, std)
    mean[:], std[:] = 5, 7
    np.testing.assert_array_equal(hook(np.ones((1, 2))), [[1, 1]])


def test_repr_and_pickle():
    hook = scale([0.0, 0.0], [1.0, 1.0], 10)
    expected = "scale(mean=<2 values>, std=<2 values>, max_value=10.0)"
    assert repr(pickle.loads(pickle.dumps(hook))) == expected
