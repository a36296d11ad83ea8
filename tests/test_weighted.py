"""Weighted draws: exact expectations, bounded copies, contiguous blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core import BlockWeightedSampling
from scdataset_core.weighted import inclusion


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
    assert np.corrcoef(counts / 300, inclusion(weights, size))[0, 1] > 0.99


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
    chances = inclusion(array, size)
    assert chances.sum() == pytest.approx(size)
    assert np.all((chances >= 0) & (chances <= 1 + 1e-12))
