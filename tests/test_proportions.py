"""Proportions become small integers."""

import pytest

from scdataset_core.proportions import find_integers


@pytest.mark.parametrize(
    ("proportions", "weights"),
    [
        ([0.7, 0.3], [7, 3]),
        ([50, 100], [1, 2]),
        ([1 / 3, 2 / 3], [1, 2]),
        ([0.15, 0.25, 0.6], [3, 5, 12]),
    ],
)
def test_proportions_become_small_integers(proportions, weights):
    assert find_integers(proportions) == weights
