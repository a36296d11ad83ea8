"""Shares of labels in minibatches, against SciPy and NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.metrics import (
    chi_squares,
    label_shares,
    successive_correlation,
    total_variations,
)

LABELS = st.lists(
    st.lists(st.integers(-1, 4), min_size=1, max_size=12), min_size=1, max_size=8
)


def counts_of(batches, values):
    return np.array([[np.sum(batch == v) for v in values] for batch in batches])


@given(LABELS)
def test_measures_are_those_of_plain_counts(lists):
    batches = [np.array(labels) for labels in lists]
    shares = label_shares(np.concatenate([*batches, np.arange(-1, 6)]))
    values = np.array(list(shares))
    of_values = np.array(list(shares.values()))
    counts = counts_of(batches, values)
    sizes = counts.sum(axis=1, keepdims=True)
    expected = sizes * of_values
    np.testing.assert_allclose(
        total_variations(batches, shares),
        np.abs(counts / sizes - of_values).sum(axis=1) / 2,
    )
    deviations = (counts - expected) / np.sqrt(expected)
    squares = (deviations**2).sum(axis=1)
    np.testing.assert_allclose(chi_squares(batches, shares), squares)
    found = successive_correlation(batches, shares)
    if len(batches) < 2:
        assert np.isnan(found)
    else:
        products = (deviations[1:] * deviations[:-1]).sum(axis=1)
        assert found == pytest.approx(products.mean() / squares.mean())


def test_chi_square_is_that_of_scipy():
    from scipy.stats import chisquare

    batch = np.array(["a"] * 5 + ["b"] * 2 + ["c"])
    expected = chisquare([5, 2, 1], [4, 2, 2]).statistic
    shares = {"a": 2, "b": 1, "c": 1}
    assert chi_squares([batch], shares).tolist() == pytest.approx([expected])


def test_chi_square_of_independent_cells_has_the_mean_of_its_distribution():
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    batches = rng.choice(4, size=(20_000, 64), p=shares)
    found = chi_squares(batches, dict(enumerate(shares)))
    assert found.mean() == pytest.approx(3, abs=0.1)  # 6 standard errors


def test_correlation_over_more_minibatches_than_are_counted_at_once():
    labels = np.arange(10_000) // 2500
    batches = [np.full(3, label) for label in labels]
    shares = label_shares(labels)
    assert successive_correlation(batches, shares) == pytest.approx(1, abs=1e-3)
    mixed = np.random.default_rng(0).permutation(labels)
    found = successive_correlation([np.full(3, label) for label in mixed], shares)
    assert abs(found) < 0.05


def test_minibatches_of_exactly_the_shares_have_no_correlation():
    batches = [np.array([0, 1])] * 5
    assert np.isnan(successive_correlation(batches, {0: 1, 1: 1}))


def test_shares_count_missing_labels_as_a_label():
    assert label_shares(np.array([-1, 0, 0, 0], np.int32)) == {-1: 0.25, 0: 0.75}


@pytest.mark.parametrize(
    "missing", [pytest.param(None, id="None"), pytest.param(np.nan, id="NaN")]
)
def test_missing_labels_are_one_label(missing):
    labels = np.array(["a", missing, "b", missing], object)
    shares = label_shares(labels)
    assert shares == {"a": 0.25, "b": 0.25, None: 0.5}
    assert total_variations([labels, labels[:1]], shares).tolist() == [0, 0.75]
    assert label_shares([1.5, np.nan, np.nan, 1.5]) == {1.5: 0.5, None: 0.5}


def test_no_minibatches_have_no_distances():
    assert total_variations([], {0: 1}).shape == (0,)
    assert chi_squares([], {0: 1}).shape == (0,)


@pytest.mark.parametrize(
    ("batches", "shares", "message"),
    [
        pytest.param([[2]], {0: 1, 1: 1}, "label 2, which has no share", id="unknown"),
        pytest.param([["b"]], {"a": 1, "b": 0}, "label 'b', which has", id="zero"),
        pytest.param([[0]], {}, "shares must not be negative", id="empty"),
        pytest.param([[0]], {0: -1, 1: 2}, "shares must not be negative", id="minus"),
        pytest.param([[0]], {0: np.nan}, "shares must not be negative", id="nan"),
        pytest.param([[0], []], {0: 1}, "minibatch 1 is empty", id="no_cells"),
        pytest.param([[[0]]], {0: 1}, "minibatch 0 must be a 1-D", id="two_axes"),
    ],
)
def test_measures_refuse(batches, shares, message):
    for measure in (total_variations, chi_squares, successive_correlation):
        with pytest.raises(ValueError, match=message):
            measure(map(np.array, batches), shares)


def test_shares_that_are_no_dict_are_an_error():
    with pytest.raises(TypeError, match="shares must be a dict"):
        chi_squares([np.array([0])], [0.5, 0.5])


@pytest.mark.parametrize("labels", [[], [[1, 2]]])
def test_shares_of_no_labels_are_an_error(labels):
    with pytest.raises(ValueError, match="labels must be a non-empty 1-D array"):
        label_shares(labels)
