"""The linear classifier against the plain formulas."""

import numpy as np
import pytest
from scipy import sparse

from scdataset_core.tools.linear import SoftmaxRegression, normalise


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(0.7, (30, 12)).astype(np.float32)


@pytest.fixture
def values():
    # No gradient of these is near 0, where the first step of Adam would be noise.
    return np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)


def as_stored(X, kind):
    return X if kind == "dense" else getattr(sparse, kind)(X)


def to_dense(X):
    return X.toarray() if sparse.issparse(X) else X


@pytest.mark.parametrize("kind", ["dense", "csr_array", "csr_matrix"])
def test_normalise_scales_logs_and_gives_unit_length(counts, kind):
    counts[4] = 0
    logs = np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    length = np.linalg.norm(logs, axis=1, keepdims=True)
    given = as_stored(counts.copy(), kind)
    found = normalise(given, counts=True)
    assert type(found) is type(given)
    assert found.dtype == np.float32
    np.testing.assert_allclose(to_dense(found), logs / np.maximum(length, 1), atol=1e-6)
    np.testing.assert_array_equal(to_dense(given), counts)


@pytest.mark.parametrize("dtype", [np.int32, np.float64, np.uint16])
def test_normalise_takes_any_numbers(counts, dtype):
    found = normalise(counts.astype(dtype), counts=True)
    np.testing.assert_allclose(found, normalise(counts, counts=True), atol=1e-6)


def test_values_that_are_not_counts_keep_their_sign_and_ratio():
    X = sparse.csr_array(np.array([[-3.0, 0, 4.0]]))
    assert normalise(X, counts=False).toarray() == pytest.approx(
        np.array([[-0.6, 0, 0.8]])
    )


@pytest.mark.parametrize("kind", ["dense", "csr_array"])
def test_step_follows_the_gradient(values, kind):
    labels = np.arange(30) % 3
    model = SoftmaxRegression(12, 3, learning_rate=0.5)
    loss = model.fit_batch(as_stored(values, kind), labels)
    assert loss == pytest.approx(np.log(3))
    gradient = values.T @ (1 / 3 - np.eye(3)[labels]) / 30
    # The first step of Adam is the sign of the gradient, times the rate.
    np.testing.assert_allclose(model.weights, -0.5 * np.sign(gradient), atol=1e-4)


def test_second_step_is_adams(values):
    labels = np.arange(30) % 3
    model = SoftmaxRegression(12, 3, learning_rate=0.1)
    weights = np.zeros((12, 3))
    mean, square = np.zeros((12, 3)), np.zeros((12, 3))
    for step in (1, 2):
        scores = np.exp(values @ weights + model.bias)
        residue = scores / scores.sum(axis=1, keepdims=True) - np.eye(3)[labels]
        gradient = values.T @ residue / 30
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        weights -= (
            0.1
            * (mean / (1 - 0.9**step))
            / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        )
        model.fit_batch(values, labels)
    np.testing.assert_allclose(model.weights, weights, atol=1e-3)


def test_learns_what_can_be_separated(counts):
    labels = counts[:, 3].astype(int) > 0
    model = SoftmaxRegression(12, 2, learning_rate=0.1)
    losses = [model.fit_batch(counts, labels.astype(np.int64)) for _ in range(200)]
    assert losses[-1] < 0.1 < losses[0]
    assert model.predict(counts).tolist() == labels.tolist()
