"""Strategies take a RowSet as `indices`, and do as with the array of its rows."""

import json
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdataset_core import (
    BlockShuffling,
    BlockWeightedSampling,
    ClassBalancedSampling,
    Loader,
    RowSet,
    Streaming,
    listed_rows,
    merge_states,
)


class Stored:
    """A source of rows that knows where its storage chunks start."""

    def __init__(self, n):
        self.n = n
        self.block_starts = np.arange(0, n, 7)
        self.file_starts = np.array([0, n // 3, n])

    def __len__(self):
        return self.n


def weights_of(n):
    return (np.arange(n) % 5 + 1).astype(float)


def labels_of(n):
    return np.arange(n) % 3


STRATEGIES: dict[str, Any] = {
    "streaming": lambda rows, n: Streaming(rows),
    "streaming_shuffled": lambda rows, n: Streaming(rows, shuffle=True),
    "blocks": lambda rows, n: BlockShuffling(4, rows),
    "blocks_drop_last": lambda rows, n: BlockShuffling(4, rows, True),
    "storage": lambda rows, n: BlockShuffling("storage", rows, chunks=2),
    "weighted": lambda rows, n: BlockWeightedSampling(4, rows),
    "weights_of_all": lambda rows, n: BlockWeightedSampling(4, rows, weights_of(n)),
    "weights_of_listed": lambda rows, n: BlockWeightedSampling(
        4, rows, weights_of(len(rows)), total_size=300
    ),
    "without_replacement": lambda rows, n: BlockWeightedSampling(
        4, rows, weights_of(n), replace=False, sampling_size=-(-len(rows) // 2)
    ),
    "classes_of_all": lambda rows, n: ClassBalancedSampling(labels_of(n), 4, rows),
    "classes_of_listed": lambda rows, n: ClassBalancedSampling(
        labels_of(len(rows)), 4, rows
    ),
}


@pytest.mark.parametrize("name", STRATEGIES)
@settings(max_examples=25)
@given(
    n=st.integers(1, 700),
    share=st.sampled_from([0.02, 0.4, 1.0]),
    seed=st.integers(0, 99),
)
def test_a_row_set_gives_the_order_and_the_state_of_its_array(name, n, share, seed):
    mask = np.random.default_rng(seed).random(n) < share
    mask[seed % n] = True
    make, source = STRATEGIES[name], Stored(n)
    by_set = make(RowSet.of(n, mask), n)
    by_array = make(np.flatnonzero(mask), n)
    for epoch in range(2):
        orders = [s.order(source, seed=seed, epoch=epoch) for s in (by_set, by_array)]
        assert len(orders[0]) == len(orders[1])
        np.testing.assert_array_equal(
            *(order.rows(0, len(order)) for order in orders), strict=True
        )
    assert by_set.describe(source) == by_array.describe(source)
    json.dumps(by_set.describe(source))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_with_an_array_goes_on_with_the_set(name):
    n = 200
    mask = np.arange(n) % 3 > 0
    x = np.arange(n)
    make = {k: v for k, v in STRATEGIES.items() if k != "storage"}.get(
        name, STRATEGIES["blocks"]
    )
    first = Loader(x, make(np.flatnonzero(mask), n), batch_size=8, fetch_factor=3)
    batches = iter(first)
    for _ in range(5):
        next(batches)
    second = Loader(x, make(RowSet.of(n, mask), n), batch_size=8, fetch_factor=3)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = list(batches)
    for expected, found in zip(rest, second, strict=True):
        np.testing.assert_array_equal(expected, found)
    merged = merge_states([first.state_dict()])
    again = Loader(x, make(RowSet.of(n, ~mask), n), batch_size=8, fetch_factor=3)
    with pytest.raises(ValueError, match="another strategy"):
        again.load_state_dict(merged)


def test_ranks_workers_and_pickles_share_the_rows_of_a_set():
    rows = RowSet.of(1000, np.arange(1000) % 4 == 1)
    loader = Loader(np.arange(1000), BlockShuffling(4, rows), batch_size=5)
    parts = [
        pickle.loads(pickle.dumps(loader.shard(rank, 2, worker, 3)))
        for rank in range(2)
        for worker in range(3)
    ]
    found = np.concatenate([batch for part in parts for batch in part])
    assert sorted(found.tolist()) == rows.to_numpy().tolist()


def test_the_set_itself_is_kept_and_no_array_of_its_rows():
    rows = RowSet.of(10**7, np.arange(10**7) % 3 == 0)
    strategy = BlockShuffling(16, indices=rows)
    assert strategy.indices is rows
    assert len(pickle.dumps(strategy)) < 10**7 / 8 + 1000
    assert repr(strategy).startswith(
        "BlockShuffling(indices=<3,333,334 of 10,000,000 rows>, block_size=16"
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_sets_that_do_not_fit_are_refused(name):
    with pytest.raises(ValueError, match="must not be empty"):
        STRATEGIES[name](RowSet.of(10, []), 10)
    strategy = STRATEGIES[name](RowSet.of(10, range(10)), 10)
    with pytest.raises(ValueError, match="over 10 rows, and there are 12"):
        strategy.order(Stored(12), seed=0, epoch=0)


def test_no_warning_says_that_a_set_was_not_sorted():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Streaming(RowSet.of(10, [7, 3]))


def test_a_strategy_is_restricted_to_rows():
    n = 100
    source, rows = range(n), RowSet.of(n, np.arange(n) % 3 == 0)
    for name, make in STRATEGIES.items():
        if name.endswith("listed") or name == "storage":
            continue
        strategy = make(None, n) if name != "without_replacement" else None
        if strategy is None:
            strategy = BlockWeightedSampling(4, replace=False, sampling_size=9)
        strategy.order(source, seed=1, epoch=0)  # what it keeps is of all rows
        restricted = strategy.restrict(rows)
        assert strategy.indices is None
        order = restricted.order(source, seed=1, epoch=0)
        assert set(order.rows(0, len(order)).tolist()) <= set(rows)
        with pytest.raises(ValueError, match="has indices already"):
            restricted.restrict(rows)
    with pytest.raises(ValueError, match="must not be empty"):
        Streaming().restrict(RowSet.of(n, []))


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("shuffled", [False, True], ids=["sorted", "unsorted"])
def test_many_rows_are_packed_and_do_as_the_array(name, shuffled, monkeypatch):
    n = 300
    make, source = STRATEGIES[name], Stored(n)
    rows = np.flatnonzero(np.random.default_rng(0).random(n - 20) < 0.5)
    with warnings.catch_warnings():
        if shuffled:
            rows = np.random.default_rng(1).permutation(rows)
            warnings.filterwarnings("ignore", "indices were not sorted")
        array = make(rows, n)
        monkeypatch.setattr(listed_rows, "_MANY_ROWS", 100)
        packed = make(rows, n)
    assert isinstance(packed.indices, RowSet)
    assert np.array_equal(packed.indices, array.indices)
    sent = pickle.loads(pickle.dumps(packed))
    for strategy in (packed, sent):
        assert strategy.describe(source) == array.describe(source)
        assert repr(strategy) == repr(array)
        orders = [s.order(source, seed=5, epoch=1) for s in (strategy, array)]
        assert np.array_equal(*(order.rows(0, len(order)) for order in orders))
        with pytest.raises(ValueError, match=r"must be below the number of rows, 100"):
            strategy.order(Stored(100), seed=0, epoch=0)


def test_few_of_very_many_rows_stay_an_array(monkeypatch):
    monkeypatch.setattr(listed_rows, "_MANY_ROWS", 2)
    assert isinstance(Streaming([1, 10**12]).indices, np.ndarray)
