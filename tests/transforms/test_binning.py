"""bin_values is scGPT's binning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.transforms import bin_values
from tests.transforms.matrices import (
    LAYOUTS,
    counts,
    densify,
    freeze,
    lay_out,
    make_batch,
)


def bins_by_definition(x, n_bins):
    """Return the lowest and the highest bin that scGPT gives each value."""
    low, high = np.zeros(x.shape, int), np.zeros(x.shape, int)
    for row in range(len(x)):
        filled = np.flatnonzero(x[row])
        if len(filled):
            values = x[row, filled]
            edges = np.quantile(values, np.linspace(0, 1, n_bins - 1))
            high[row, filled] = np.digitize(values, edges)
            low[row, filled] = np.digitize(values, edges, right=True)
    return low, high


@given(
    counts(), st.sampled_from(LAYOUTS), st.sampled_from([2, 3, 5, 51]), st.booleans()
)
def test_equals_the_definition(x, layout, n_bins, fractions):
    if fractions:
        x = np.log1p(x.astype(np.float32 if x.dtype != np.float64 else np.float64))
    out = densify(bin_values(n_bins)(freeze(lay_out(x, layout))), x.shape[1])
    assert out.dtype == np.int32
    np.testing.assert_array_equal(out, bins_by_definition(x, n_bins)[1])


@given(counts(("float32", "uint8"), most=4), st.sampled_from(LAYOUTS))
def test_both_sides_lie_between_the_lowest_and_the_highest_bin(x, layout):
    out = bin_values(9, side="both")(make_batch(freeze(lay_out(x, layout))))["X"]
    low, high = bins_by_definition(x, 9)
    found = densify(out, x.shape[1])
    assert (np.minimum(low + 1, high) <= found).all()
    assert (found <= high).all()


def test_both_sides_spread_over_all_bins_of_equal_values():
    x = np.ones((2, 3000), np.float32)
    batch = make_batch(x)
    found = bin_values(6, side="both")(batch)["X"]
    times = np.array([np.bincount(row, minlength=6) for row in found])
    assert (times[:, 0] == 0).all()
    # Of 3,000 draws each of 5 bins gets 600; 5 standard deviations are 110.
    assert (abs(times[:, 1:] - 600) < 110).all()
    assert (found[0] != found[1]).any()
    again = bin_values(6, side="both")(batch)["X"]
    np.testing.assert_array_equal(found, again)
    other = bin_values(6, side="both")(batch, epoch=1)["X"]
    assert (found != other).any()


def test_bools():
    x = np.array([[True, False]])
    np.testing.assert_array_equal(bin_values(4)(x), [[3, 0]])


def test_stored_zeros_stay_zero():
    x = lay_out(np.array([[1.0, 2.0, 3.0]]), "csr")
    x.data[0] = 0
    np.testing.assert_array_equal(bin_values(3)(x).toarray(), [[0, 1, 2]])


def test_several_stored_values_of_one_gene_are_one_value():
    from scipy.sparse import csr_array

    x = csr_array(([2.0, 1.0, 3.0], [0, 1, 0], [0, 3]), shape=(1, 2))
    np.testing.assert_array_equal(bin_values(4)(x).toarray(), [[3, 1]])
    assert x.nnz == 3


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_values_that_are_no_counts(value):
    with pytest.raises(ValueError, match="bin_values: values must be counts"):
        bin_values()(np.array([[1.0, value]]))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="n_bins must be at least 2, got 1"):
        bin_values(1)
    with pytest.raises(TypeError, match="n_bins must be an integer"):
        bin_values(5.5)
    with pytest.raises(ValueError, match="bin_values: side must be"):
        bin_values(side="two")
