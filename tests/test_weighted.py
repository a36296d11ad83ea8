"""Weighted draws: exact expectations, bounded copies, contiguous blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core import BlockWeightedSampling
from scdataset_core.weighted import find_inclusion


def drawn(strategy, n, *, seed=0, epoch=0):
    order = strategy.order(range(n), seed=seed, epoch=epoch)
    return order.rows(0, len(order))


@given(
    weights=st.lists(
        st.sampled_from([0.0, 0.1, 1.0, 7.5]), min_size=1, max_size=120
    ).filter(any),
    block_size=st.integers(1, 20),
    total_size=st.integers(1, 300),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_draws_are_the_same_at_any_position_and_never_of_weight_zero(
    weights, block_size, total_size, seed, data
):
    n = len(weights)
    strategy = BlockWeightedSampling(block_size, weights=weights, total_size=total_size)
    order = strategy.order(range(n), seed=seed, epoch=1)
    rows = order.rows(0, len(order))
    assert len(rows) == total_size
    assert np.all(np.array(weights)[rows] > 0)
    start = data.draw(st.integers(0, total_size))
    stop = data.draw(st.integers(start, total_size))
    assert np.array_equal(order.rows(start, stop), rows[start:stop])


def test_expected_counts_are_in_proportion_to_the_weights():
    n, n_epochs, total = 300, 600, 997
    rng = np.random.default_rng(0)
    weights = rng.random(n) ** 3
    weights[::7] = 0
    strategy = BlockWeightedSampling(8, weights=weights, total_size=total)
    counts = np.sum(
        [
            np.bincount(drawn(strategy, n, epoch=epoch), minlength=n)
            for epoch in range(n_epochs)
        ],
        axis=0,
    )
    expected = n_epochs * total * weights / weights.sum()
    assert counts[::7].sum() == 0
    some = weights > 0
    # Systematic draws vary less than independent ones, whose deviation this would be.
    z = (counts - expected)[some] / np.sqrt(expected[some])
    assert np.abs(z).max() < 4.5
    assert z.std() < 1.3


def test_equal_weights_draw_every_cell_once():
    assert np.array_equal(
        np.sort(drawn(BlockWeightedSampling(8), 1000)), np.arange(1000)
    )


@given(
    n_blocks=st.integers(1, 30),
    block_size=st.integers(1, 12),
    factor=st.integers(1, 5),
    seed=st.integers(0, 20),
)
def test_copies_of_a_cell_are_bounded(n_blocks, block_size, factor, seed):
    n = n_blocks * block_size
    weights = np.random.default_rng(seed).random(n) + 0.01
    total = factor * n
    rows = drawn(
        BlockWeightedSampling(block_size, weights=weights, total_size=total),
        n,
        seed=seed,
    )
    draws = rows.reshape(-1, block_size)
    per_draw = max(np.bincount(draw).max() for draw in draws)
    # The ceiling of a cell's share of a draw, were it the heaviest of the lightest.
    assert per_draw <= np.ceil(weights.max() / weights.min())


def test_reads_stay_contiguous():
    rng = np.random.default_rng(1)
    labels = rng.choice(3, 20_000, p=[0.9, 0.09, 0.01])
    weights = (1 / np.bincount(labels))[labels]
    rows = drawn(BlockWeightedSampling(16, weights=weights), 20_000)
    blocks = rows.reshape(-1, 16)
    assert np.median(blocks.max(axis=1) - blocks.min(axis=1)) < 16


@given(
    weights=st.lists(
        st.sampled_from([0.0, 0.5, 1.0, 20.0]), min_size=2, max_size=80
    ).filter(any),
    block_size=st.integers(1, 9),
    total_size=st.integers(1, 200),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_rounds_without_replacement_hold_no_cell_twice(
    weights, block_size, total_size, seed, data
):
    possible = sum(weight > 0 for weight in weights)
    size = data.draw(st.integers(1, possible))
    strategy = BlockWeightedSampling(
        block_size,
        weights=weights,
        total_size=total_size,
        replace=False,
        sampling_size=size,
    )
    order = strategy.order(range(len(weights)), seed=seed, epoch=0)
    rows = order.rows(0, len(order))
    assert len(rows) == total_size
    assert np.all(np.array(weights)[rows] > 0)
    for start in range(0, total_size, size):
        part = rows[start : start + size]
        assert len(set(part.tolist())) == len(part)
    start = data.draw(st.integers(0, total_size))
    assert np.array_equal(order.rows(start, total_size), rows[start:])


def test_chances_without_replacement_are_near_their_weights():
    n, size = 1000, 200
    weights = np.random.default_rng(0).random(n) ** 4
    strategy = BlockWeightedSampling(
        8, weights=weights, total_size=size, replace=False, sampling_size=size
    )
    counts = sum(
        np.bincount(drawn(strategy, n, epoch=epoch), minlength=n)
        for epoch in range(300)
    )
    assert np.corrcoef(counts / 300, find_inclusion(weights, size))[0, 1] > 0.99


def test_uniform_rounds_read_whole_blocks():
    strategy = BlockWeightedSampling(
        10, total_size=100, replace=False, sampling_size=100
    )
    rows = drawn(strategy, 1000)
    assert np.all(np.diff(rows.reshape(-1, 10)) % 1000 == 1)


@given(
    weights=st.lists(
        st.one_of(st.just(0.0), st.floats(1e-6, 100)), min_size=1, max_size=50
    ).filter(any),
    data=st.data(),
)
def test_inclusion_adds_up(weights, data):
    array = np.array(weights)
    size = data.draw(st.integers(1, int(np.count_nonzero(array))))
    chances = np.asarray(find_inclusion(array, size))
    assert chances.sum() == pytest.approx(size)
    assert np.all((chances >= 0) & (chances <= 1 + 1e-12))


def counts_over_seeds(make, n, n_seeds):
    """Return the mean count of each cell and its standard error."""
    counts = np.array(
        [np.bincount(drawn(make, n, seed=seed), minlength=n) for seed in range(n_seeds)]
    )
    return counts.mean(axis=0), counts.std(axis=0) / np.sqrt(n_seeds)


SKEWED = np.r_[np.ones(30), np.full(2, 100.0)]


@pytest.mark.parametrize(
    "n_seeds", [2000, pytest.param(6000, marks=pytest.mark.slow, id="many")]
)
@pytest.mark.parametrize(
    ("total_size", "block_size", "weights"),
    [
        (9, 8, SKEWED),
        (17, 8, SKEWED),
        (12, 8, np.ones(32)),
        *(
            pytest.param(total, block, SKEWED, marks=pytest.mark.slow)
            for total, block in [(7, 8), (12, 8), (16, 8), (1, 8), (33, 5), (25, 40)]
        ),
    ],
)
def test_expected_counts_are_exact_for_few_draws(
    total_size, block_size, weights, n_seeds
):
    strategy = BlockWeightedSampling(block_size, weights=weights, total_size=total_size)
    mean, error = counts_over_seeds(strategy, 32, n_seeds)
    expected = total_size * weights / weights.sum()
    assert np.abs((mean - expected) / error).max() < 4.5


@pytest.mark.parametrize("size", [3, 11])
def test_without_replacement_equal_weights_are_drawn_equally_often(size):
    strategy = BlockWeightedSampling(
        4, total_size=size, replace=False, sampling_size=size
    )
    mean, error = counts_over_seeds(strategy, 32, 3000)
    assert np.abs((mean - size / 32) / error).max() < 4.5


def test_a_round_without_replacement_can_take_every_cell_there_is():
    weights = np.r_[np.zeros(5), 10.0 ** -np.arange(40)]
    for size in (38, 39, 40):
        strategy = BlockWeightedSampling(
            4, weights=weights, total_size=2 * size, replace=False, sampling_size=size
        )
        first, second = drawn(strategy, 45).reshape(2, size)
        for part in (first, second):
            assert len(np.unique(part)) == size
            assert part.min() >= 5


def test_a_round_looks_at_no_more_cells_than_it_draws(monkeypatch):
    strategy = BlockWeightedSampling(
        16, weights=np.arange(1, 200_001), replace=False, sampling_size=500
    )
    order = strategy.order(range(200_000), seed=0, epoch=0)
    order.rows(0, 500)  # with the one look at all of them
    searched = []
    real = np.searchsorted

    def counting(a, v, **kwargs):
        searched.append(np.size(v))
        return real(a, v, **kwargs)

    monkeypatch.setattr(np, "searchsorted", counting)
    order.rows(500, 1000)
    assert 0 < max(searched) < 2000


def test_a_block_far_larger_than_the_cells_takes_no_memory() -> None:
    strategy = BlockWeightedSampling(
        block_size=2**40, weights=np.ones(90), total_size=90
    )
    order = strategy.order(range(90), seed=0, epoch=0)
    rows = order.rows(0, 90)
    assert len(rows) == 90
    assert np.array_equal(order.rows(30, 60), rows[30:60])
