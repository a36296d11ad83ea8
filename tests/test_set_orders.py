"""Orders of sets: computed at any position, even over cells, groups and controls."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scdataset_core as scd

CODES = np.random.default_rng(0).choice(5, 300, p=[0.5, 0.25, 0.15, 0.07, 0.03])
IS_CONTROL = np.arange(300) % 7 == 0
STRATEGIES: dict[str, dict[str, Any]] = {
    "covering": {},
    "dropping": {"short": "drop"},
    "window": {"total_sets": 50},
    "weighted": {"weights": np.arange(300) % 11, "total_sets": 40},
    "controlled": {"control": IS_CONTROL, "control_size": 5},
    "blocks": {"block_size": 6, "control": IS_CONTROL},
    "weighted_blocks": {"block_size": 5, "weights": np.arange(300) % 11},
}


def make(name: str, seed: int = 1, epoch: int = 2):
    strategy = scd.GroupSampling(CODES, 8, **STRATEGIES[name])
    return strategy.order(CODES, seed=seed, epoch=epoch)


@pytest.mark.parametrize("name", STRATEGIES)
@given(start=st.integers(0, 399), length=st.integers(0, 90))
def test_rows_and_sets_are_the_same_whatever_is_asked_for(name, start, length) -> None:
    order = make(name)
    whole = order.rows(0, len(order))
    start = min(start, len(order))
    stop = min(start + length, len(order))
    assert order.rows(start, stop).tolist() == whole[start:stop].tolist()
    assert make(name).rows(start, stop).dtype == np.int64
    n_sets = len(order) // 8
    first, last = start // 8, stop // 8
    all_sets, some = order.sets(0, n_sets), order.sets(first, last)
    for ours, expected in zip(some, all_sets.part(first, last), strict=True):
        assert ours.tolist() == expected.tolist()
        assert ours.dtype == expected.dtype


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_place_of_a_set_holds_any_cell(name) -> None:
    """Of many seeds, the first cell of sets has the same mean row as the last."""
    firsts, lasts = [], []
    for seed in range(60):
        order = make(name, seed)
        rows = order.rows(0, len(order)).reshape(-1, 8)
        firsts.append(rows[:, 0].mean())
        lasts.append(rows[:, -1].mean())
    difference = np.subtract(firsts, lasts)
    z = difference.mean() / (difference.std() / np.sqrt(60))
    assert abs(z) < 4


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_each_cell_comes_as_often_as_is_expected(name) -> None:
    """A z-test over seeds for each cell and each control."""
    n_seeds = 800
    counts = np.zeros((2, n_seeds, 300))
    expected = np.zeros((2, 300))
    for seed in range(n_seeds):
        order = make(name, seed, epoch=0)
        counts[0, seed] = np.bincount(order.rows(0, len(order)), minlength=300)
        sets = order.sets(0, len(order) // 8)
        counts[1, seed] = np.bincount(sets.control.reshape(-1), minlength=300)
    options = STRATEGIES[name]
    is_control = options.get("control", np.zeros(300, bool))
    weights = options.get("weights", np.ones(300)) * ~is_control
    n_sets = len(order) // 8
    if "weights" in options:
        expected[0] = n_sets * 8 * weights / weights.sum()
    else:
        for code in range(5):
            mine = (code == CODES) & ~is_control
            size = mine.sum()
            n = size // 8 if options.get("short") == "drop" else -(-size // 8)
            expected[0, mine] = n * 8 / size
        if "total_sets" in options:
            line = sum(-(-np.bincount(CODES) // 8))
            expected[0] *= n_sets / line
    expected[1, is_control] = sets.control.size / max(is_control.sum(), 1)
    # A count varies at least as much as the rounding of its expectation does.
    rounding = expected % 1 * (1 - expected % 1)
    error = np.sqrt(np.maximum(counts.var(axis=1), rounding) / n_seeds)
    difference = counts.mean(axis=1) - expected
    exact = error < 1e-9
    assert np.abs(difference[exact]).max() < 1e-9
    z = difference[~exact] / error[~exact]
    # Of 600 normal values the largest is beyond 4.6 once in 400 runs.
    assert z.size == 0 or np.abs(z).max() < 4.6
    assert z.size < 100 or 0.8 < z.std() < 1.2


@pytest.mark.slow
def test_any_two_cells_of_a_group_come_into_a_set_as_often_as_others() -> None:
    codes = np.repeat([0, 1], [12, 5])
    strategy = scd.GroupSampling(codes, 4, short="drop")
    together = np.zeros((17, 17))
    n_seeds = 4000
    for seed in range(n_seeds):
        order = strategy.order(codes, seed=seed, epoch=0)
        for rows in order.rows(0, len(order)).reshape(-1, 4):
            together[np.ix_(rows, rows)] += 1
    for size, n_sets, cells in ((12, 3, range(12)), (5, 1, range(12, 17))):
        pairs = together[np.ix_(cells, cells)][np.triu_indices(size, 1)]
        share = n_sets * 6 / (size * (size - 1) / 2)
        z = (pairs - n_seeds * share) / np.sqrt(n_seeds * share * (1 - share))
        assert np.abs(z).max() < 4.5


def test_copies_in_a_set_are_bounded() -> None:
    codes = np.repeat([0, 1, 2], [3, 10, 100])
    control = np.zeros(113, bool)
    control[[3, 4, 5, 50]] = True
    weights = np.ones(113)
    weights[60] = 30
    plain = scd.GroupSampling(codes, 8, control=control, control_size=10)
    weighted = scd.GroupSampling(codes, 8, weights=weights, total_sets=300)
    order = plain.order(codes, seed=0, epoch=0)
    sets = order.sets(0, len(order) // 8)
    sizes = np.bincount(codes[~control])
    for rows, group, its_controls in zip(
        order.rows(0, len(order)).reshape(-1, 8), sets.groups, sets.control, strict=True
    ):
        assert np.bincount(rows).max() <= -(-8 // sizes[group])
        assert np.bincount(its_controls).max() <= 3
        assert np.bincount(its_controls)[control.nonzero()].min() >= 2
    order = weighted.order(codes, seed=0, epoch=0)
    total = np.bincount(codes, weights)
    for rows in order.rows(0, len(order)).reshape(-1, 8):
        share = 8 * weights[rows] / total[codes[rows]]
        copies = np.bincount(rows)[rows]
        assert (copies <= np.ceil(share) + 1).all()


def test_weighted_sets_of_a_group_come_by_its_weight() -> None:
    weights = scd.class_weights(CODES)
    strategy = scd.GroupSampling(CODES, 8, weights=weights, total_sets=50)
    for epoch in range(5):
        order = strategy.order(CODES, seed=3, epoch=epoch)
        counts = np.bincount(order.sets(0, 50).groups, minlength=5)
        assert counts.tolist() == [10] * 5


def test_cells_of_weight_0_are_in_no_group() -> None:
    weights = (CODES != 1) * np.random.default_rng(0).integers(0, 2, 300)
    for options in ({}, {"total_sets": 500}):
        strategy = scd.GroupSampling(CODES, 8, weights=weights, **options)
        order = strategy.order(CODES, seed=0, epoch=0)
        assert weights[order.rows(0, len(order))].all()
