"""mask_values hides a share of each cell's values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from scdataset_core.transforms import mask_values
from tests.transforms.matrices import (
    LAYOUTS,
    counts,
    densify,
    freeze,
    lay_out,
    make_batch,
)


@given(
    counts(),
    st.sampled_from(LAYOUTS),
    st.sampled_from([0.0, 0.15, 0.4, 0.5, 1.0]),
    st.integers(0, 2),
)
def test_the_share_of_each_cell_is_exact(x, layout, ratio, epoch):
    batch = make_batch(freeze(lay_out(x, layout)), first=50)
    out = mask_values(ratio, seed=1)(batch, epoch=epoch)
    assert out["target"] is batch["X"]
    found = densify(out["X"], x.shape[1])
    hidden = found == -1
    expected = [int(np.count_nonzero(row) * ratio) for row in x]
    assert hidden.sum(axis=1).tolist() == expected
    assert (x[hidden] != 0).all()
    np.testing.assert_array_equal(found[~hidden], x[~hidden])
    alike = mask_values(ratio, seed=1)(make_batch(x, first=50), epoch=epoch)
    np.testing.assert_array_equal(found, alike["X"])


def test_zeros_that_were_chosen_can_be_hidden():
    x = {
        "indices": np.array([[0, 1, 2, 0]], np.int32),
        "values": np.array([[5.0, 0.0, 0.0, 0.0]], np.float32),
        "length": np.array([3], np.int32),
    }
    out = mask_values(1)(make_batch(x))["X"]
    assert out["values"].tolist() == [[-1, -1, -1, 0]]


def test_every_gene_is_as_likely_as_another():
    batch = make_batch(np.ones((4000, 20), np.float32))
    hidden = mask_values(0.25)(batch)["X"] == -1
    # 1,000 of 4,000 rows hide each gene; its spread is 27.
    assert (abs(hidden.sum(axis=0) - 1000) < 5 * np.sqrt(750)).all()


@pytest.mark.parametrize(
    ("dtype", "mask_value", "expected"),
    [
        ("uint8", -1, "int16"),
        ("uint8", 255, "uint8"),
        ("int32", -1, "int32"),
        ("int16", 0.5, "float32"),
        ("int32", 0.5, "float64"),
        ("float16", -1, "float16"),
    ],
)
def test_the_type_holds_the_mask(dtype, mask_value, expected):
    out = mask_values(1, mask_value=mask_value)(make_batch(np.ones((1, 2), dtype)))
    assert out["X"].dtype == expected
    np.testing.assert_array_equal(out["X"], np.full((1, 2), mask_value))


def test_several_stored_values_of_one_gene_are_one_value():
    x = csr_array(([2.0, 1.0, 3.0], [0, 1, 0], [0, 3]), shape=(1, 2))
    out = mask_values(0.5)(make_batch(x))
    assert sorted(out["X"].toarray().ravel().tolist()) in ([-1, 1], [-1, 5])


def test_no_entries_and_no_rows():
    assert mask_values(0.5)(make_batch(csr_array((3, 4))))["X"].nnz == 0
    assert mask_values(0.5)(make_batch(np.zeros((0, 4))))["X"].shape == (0, 4)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, np.nan])
def test_ratio_must_be_a_share(ratio):
    with pytest.raises(ValueError, match="ratio must be"):
        mask_values(ratio)
