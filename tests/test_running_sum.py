"""Running sums: those of NumPy over all weights, bit for bit."""

import numpy as np
import pytest

from scdataset_core import running_sum
from scdataset_core.running_sum import RunningSum
from scdataset_core.weights_by_class import WeightsByClass


@pytest.fixture(autouse=True, params=[32, 4], ids=["groups_of_32", "groups_of_4"])
def _small_pieces(request, monkeypatch):
    monkeypatch.setattr(running_sum, "_GROUP", request.param)
    monkeypatch.setattr(running_sum, "_WINDOW", 64)
    monkeypatch.setattr(running_sum, "_POINTS", 10)


@pytest.mark.parametrize("n", [0, 1, 4, 31, 32, 33, 64, 65, 200])
def test_sums_and_positions_are_those_of_all_sums(n):
    rng = np.random.default_rng(n)
    weights = rng.choice([0.0, 0.1, 1.0, 7.3, 1e-9], n)
    reached = np.concatenate([[0.0], np.cumsum(weights)])
    sums = RunningSum(weights)
    assert len(sums) == n
    assert sums.total == reached[-1]
    assert np.array_equal(sums.at(np.arange(n + 1)), reached)
    assert np.array_equal(
        sums.at(np.arange(n + 1)[::-1].reshape(1, -1)), [reached[::-1]]
    )
    for start in (0, n // 3, n):
        for stop in (start, n):
            between = sums.between(start, stop)
            assert np.array_equal(between, reached[start : stop + 1])
    points = np.r_[rng.random(50) * reached[-1], reached, np.nextafter(reached, 0)]
    expected = np.searchsorted(reached[1:], points, side="right")
    assert np.array_equal(sums.find(points), expected)
    if weights.any():
        assert sums.last == np.flatnonzero(weights + reached[:-1] == reached[-1])[0]


def test_weights_by_class_give_the_same_sums():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, 300).astype(np.uint8)
    weights = WeightsByClass(codes, rng.random(5))
    places = np.arange(301)
    by_class, plain = RunningSum(weights), RunningSum(np.asarray(weights))
    assert np.array_equal(by_class.at(places), plain.at(places))
