"""What `bench` found is arranged into tables."""

import pytest

from scdataset_core.tools.bench_tables import grid_of, short_rate


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        pytest.param(0.4, "0", id="nearly_nothing"),
        pytest.param(999.4, "999", id="below_a_thousand"),
        pytest.param(999.6, "1.0k", id="rounds_to_a_thousand"),
        pytest.param(9_960.0, "10k", id="rounds_to_ten_thousand"),
        pytest.param(999_600.0, "1.0M", id="rounds_to_a_million"),
    ],
)
def test_rates_are_short(rate, text):
    assert short_rate(rate) == text


def test_a_grid_has_holes_where_nothing_was_timed():
    grid = [
        {"block_size": 16, "fetch_factor": 1, "cells_per_s": 5.0},
        {"block_size": 1, "fetch_factor": 4, "cells_per_s": 7.0},
    ]
    assert grid_of(grid, "cells_per_s") == ([1, 16], [1, 4], [[None, 7.0], [5.0, None]])
