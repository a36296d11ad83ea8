"""Variance of the mean of X between minibatches."""

import numpy as np
import pytest
from scipy import sparse

from scdataset_core.metrics import mean_variance_ratio


def cells(seed=0, shape=(6000, 7)):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 5 * np.arange(shape[1])


def test_independent_cells_have_a_ratio_of_one():
    batches = cells().reshape(300, 20, 7)
    assert mean_variance_ratio(batches) == pytest.approx(1, abs=0.1)


def test_cells_that_are_alike_have_a_ratio_of_their_number():
    batches = np.repeat(cells().reshape(-1, 1, 7), 20, axis=1)
    assert mean_variance_ratio(batches) == pytest.approx(20, rel=0.01)


def test_ratio_is_the_design_effect_of_the_correlation_of_cells():
    # Kish: 1 + (m - 1) * correlation of two cells of a minibatch.
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(4000, 1, 3)), rng.normal(size=(4000, 16, 3))
    batches = np.sqrt(0.2) * common + np.sqrt(0.8) * own
    assert mean_variance_ratio(batches) == pytest.approx(1 + 15 * 0.2, rel=0.05)


def test_ratio_is_that_of_plain_analysis_of_variance_for_minibatches_of_any_size():
    x = cells(1, (90, 4))
    batches = [x[:40], x[40:60], x[60:61], x[61:]]
    mean = x.mean(axis=0)
    between = sum(len(b) * ((b.mean(axis=0) - mean) ** 2).sum() for b in batches) / 3
    expected = between / x.var(axis=0, ddof=1).sum()
    assert mean_variance_ratio(batches) == pytest.approx(expected)


@pytest.mark.parametrize(
    "form", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array]
)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_sparse_rows_give_the_ratio_of_dense_ones(form, dtype):
    counts = np.random.default_rng(0).poisson(0.4, size=(30, 10, 5)).astype(dtype)
    dense = mean_variance_ratio(counts)
    assert mean_variance_ratio(map(form, counts)) == pytest.approx(dense)


def test_entries_stored_twice_are_one_value():
    twice = sparse.csr_array(([1.0, 2.0, 5.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    parts = ([1.0, 2.0, 5.0], [1, 1, 0], [0, 2, 3])
    stored = sparse.csr_array(parts, shape=(2, 2))
    batches = [stored, sparse.csr_array(np.ones((2, 2)))]
    dense = [batch.toarray() for batch in batches]
    assert twice.shape == stored.shape
    assert mean_variance_ratio(batches) == pytest.approx(mean_variance_ratio(dense))


def test_cells_far_from_zero_are_not_taken_for_equal():
    batches = np.random.default_rng(0).normal(size=(300, 20, 2))
    expected = mean_variance_ratio(batches)
    assert mean_variance_ratio(batches + 1e8) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("first", [0, 1])
def test_sparse_and_dense_minibatches_mix(first):
    batches = list(np.random.default_rng(0).poisson(0.4, size=(30, 10, 5)))
    mixed = [
        sparse.csr_array(batch) if number % 2 == first else batch
        for number, batch in enumerate(batches)
    ]
    assert mean_variance_ratio(mixed) == pytest.approx(mean_variance_ratio(batches))


@pytest.mark.parametrize(
    "batches",
    [[], [np.ones((4, 2))], [np.ones((4, 2))] * 3, [np.zeros((0, 2)), np.eye(2)]],
)
def test_what_does_not_vary_has_no_ratio(batches):
    assert np.isnan(mean_variance_ratio(batches))


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([[1.0]], TypeError, "must be a NumPy array or a sparse one"),
        (np.ones(3), ValueError, r"must be of shape \(m, n_genes\)"),
        (np.ones((3, 4)), ValueError, "minibatch 1 has 4 genes, and those before it 2"),
    ],
)
def test_x_that_is_no_matrix_is_an_error(batch, error, message):
    with pytest.raises(error, match=message):
        mean_variance_ratio([np.ones((3, 2)), batch])
