"""Runs of a label, and what windows hold, against counting every window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.metrics import LabelRuns
from scdataset_core.metrics import label_runs as module


def count_every_window(labels, size):
    values = np.unique(labels)
    chances = np.zeros((len(values), size + 1))
    for start in range(len(labels)):
        window = labels[(start + np.arange(size)) % len(labels)]
        for label, value in enumerate(values):
            chances[label, np.sum(window == value)] += 1 / len(labels)
    return chances


@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(1, 7)), min_size=1, max_size=9),
    st.floats(0, 1),
)
def test_windows_are_counted_exactly(runs, part):
    values, lengths = map(np.array, zip(*runs, strict=True))
    labels = np.repeat(values, lengths)
    size = 1 + int(part * (len(labels) - 1))
    present = LabelRuns.of(labels)
    found = present.window_counts(size, 0, len(present.shares))
    expected = count_every_window(labels, size)
    np.testing.assert_allclose(found[present.shares > 0], expected, atol=1e-12)
    given_as_runs = LabelRuns(values, lengths)
    assert given_as_runs.n_rows == len(labels)
    again = given_as_runs.window_counts(size, 0, len(present.shares))
    np.testing.assert_allclose(again, found, atol=1e-12)


def test_some_labels_are_counted_alone():
    labels = np.array(list("aabbbcabcc"))
    expected = count_every_window(labels, 4)[1:]
    found = LabelRuns.of(labels).window_counts(4, 1, 3)
    np.testing.assert_allclose(found, expected)


def test_many_runs_are_sampled(monkeypatch):
    labels = np.random.default_rng(0).integers(3, size=5000)
    exact = LabelRuns.of(labels).window_counts(6, 0, 3)
    monkeypatch.setattr(module, "_RUNS_MOST", 100)
    sampled = LabelRuns.of(labels).window_counts(6, 0, 3)
    np.testing.assert_allclose(sampled.sum(axis=1), 1)
    np.testing.assert_allclose(sampled, exact, atol=0.01)
    assert np.abs(sampled - exact).max() > 0


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.array([True, False, False]), id="bool"),
        pytest.param(np.array([0.5, 2.5, 2.5]), id="float"),
        pytest.param(np.array(["x", "y", "y"], object), id="object"),
        pytest.param(np.array(["x", None, None], object), id="missing"),
        pytest.param(np.array(["2020-01-01", "NaT", "NaT"], "M8[D]"), id="dates"),
        pytest.param(np.array([250, 3, 3], np.uint8), id="uint8"),
        pytest.param(np.array([-128, 127, 127], np.int8), id="int8"),
        pytest.param(np.array([0, 2**62, 2**62]), id="far_apart"),
        pytest.param([1, 2, 2], id="list"),
    ],
)
def test_labels_of_any_type(labels):
    runs = LabelRuns.of(labels)
    assert runs.n_rows == 3
    assert runs.n_runs >= 2  # a missing date differs from itself
    assert sorted(runs.shares[runs.shares > 0].tolist()) == [1 / 3, 2 / 3]


def test_runs_are_given_back_as_they_are():
    runs = LabelRuns([1, 2], [3, 4])
    assert LabelRuns.of(runs) is runs


@pytest.mark.parametrize(
    ("labels", "lengths", "message"),
    [
        ([], [], "must be 1-D, of the same length and not empty"),
        ([1, 2], [1], "must be 1-D, of the same length"),
        ([1, 2], [1, 0], "integers of at least 1, got int64 from 0"),
        ([1, 2], [1.0, 2.0], "integers of at least 1, got float64"),
    ],
)
def test_runs_that_are_none_are_an_error(labels, lengths, message):
    with pytest.raises(ValueError, match=message):
        LabelRuns(labels, lengths)


@pytest.mark.parametrize("labels", [[], np.zeros((2, 2)), 3])
def test_labels_that_are_none_are_an_error(labels):
    with pytest.raises(ValueError, match="labels must be a non-empty 1-D array"):
        LabelRuns.of(labels)
