"""The strategies of `scdataset` 0.3 list their rows as 0.3 does."""

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
pytest.importorskip("scdataset")

import scdataset as old
from scdataset_torch import compat as new

from tests.integrations.compat_data import (
    DATA,
    every_strategy,
)


@every_strategy
def test_get_indices_and_get_len(make):
    theirs, ours = make(old), make(new)
    assert ours.get_len(DATA) == theirs.get_len(DATA)
    a, b = theirs.get_indices(DATA, seed=5), ours.get_indices(DATA, seed=5)
    assert len(a) == len(b) == ours.get_len(DATA)
    assert (a.dtype, a.ndim) == (b.dtype, b.ndim)
    assert np.array_equal(b, ours.get_indices(DATA, seed=5))
    rng = np.random.default_rng(1)
    assert len(ours.get_indices(DATA, rng=rng)) == len(a)
    assert bool(ours._shuffle_before_yield) == bool(theirs._shuffle_before_yield)


def test_get_indices_are_the_rows_of_an_epoch_on_the_fixed_grid():
    strategy = new.BlockShuffling(block_size=5)
    blocks = strategy.get_indices(DATA, seed=7).reshape(-1, 5)
    assert np.array_equal(blocks, blocks[:, :1] + np.arange(5))
    assert set(blocks[:, 0]) == set(range(0, 105, 5))
    dataset = new.scDataset(np.arange(105), strategy, 5, 1, seed=7)
    for epoch in range(2):
        expected = strategy.get_indices(DATA, seed=7 + 1000 * epoch).reshape(-1, 5)
        assert [sorted(batch) for batch in dataset] == expected.tolist()


def test_dropping_leaves_out_other_rows_each_epoch():
    dataset = new.scDataset(np.arange(10), new.BlockShuffling(4, drop_last=True), 2)
    left_out = {
        tuple(set(range(10)) - set(np.concatenate(list(dataset)).tolist()))
        for _ in range(20)
    }
    assert len(left_out) > 3


def test_weights_decide_what_is_drawn():
    weights = np.zeros(105)
    weights[[3, 50]] = [1, 3]
    strategy = new.BlockWeightedSampling(weights=weights, total_size=400)
    drawn, counts = np.unique(strategy.get_indices(DATA, seed=0), return_counts=True)
    assert drawn.tolist() == [3, 50]
    assert abs(counts[0] - 100) <= 8  # a block more or less
    subset = new.BlockWeightedSampling(
        indices=[3, 4, 50], weights=weights, total_size=40
    )
    assert set(subset.get_indices(DATA, seed=0)) == {3, 50}
