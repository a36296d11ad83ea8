"""Strategies: which rows an epoch has, computed at any position."""

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core import (
    BlockShuffling,
    BlockWeightedSampling,
    ClassBalancedSampling,
    Streaming,
)
from scdataset_core.orders import storage_bounds


def rows_of(strategy, n, *, seed=0, epoch=0):
    order = strategy.order(range(n), seed=seed, epoch=epoch)
    return order.rows(0, len(order))


class Stored:
    """A source that knows where its storage chunks start."""

    def __init__(self, n, starts, file_starts=None):
        self.n = n
        self.block_starts = np.array(starts, np.int64)
        self.file_starts = np.array(file_starts or [0, n], np.int64)

    def __len__(self):
        return self.n


@given(
    n=st.integers(1, 400),
    block_size=st.integers(1, 50),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 3),
    drop_last=st.booleans(),
    fixed_grid=st.booleans(),
    subset=st.booleans(),
    data=st.data(),
)
def test_block_shuffling_gives_every_row_once_in_whole_blocks(
    n, block_size, seed, epoch, drop_last, fixed_grid, subset, data
):
    indices = np.flatnonzero(np.arange(n) % 3 != 1) if subset else None
    strategy = BlockShuffling(block_size, indices, drop_last, fixed_grid=fixed_grid)
    listed = np.arange(n) if indices is None else indices
    order = strategy.order(range(n), seed=seed, epoch=epoch)
    rows = order.rows(0, len(order))
    left_out = len(listed) % block_size if drop_last else 0
    assert len(rows) == len(order) == len(listed) - left_out
    assert len(set(rows.tolist())) == len(rows)
    assert set(rows.tolist()) <= set(listed.tolist())
    at = np.searchsorted(listed, rows)
    for start in range(0, len(at), block_size):
        block = at[start : start + block_size]
        assert np.all(np.diff(block) % len(listed) == 1)
        if fixed_grid:
            assert block[0] % block_size == 0
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    assert np.array_equal(order.rows(start, stop), rows[start:stop])


def test_the_grid_turns_with_the_epoch():
    first_of_blocks = [
        {int(row) % 8 for row in rows_of(BlockShuffling(8), 800, epoch=epoch)[::8]}
        for epoch in range(12)
    ]
    assert all(len(offsets) == 1 for offsets in first_of_blocks)
    assert len(set.union(*first_of_blocks)) > 3


def test_drop_last_leaves_out_other_cells_each_epoch():
    left_out = [
        frozenset(range(103))
        - set(rows_of(BlockShuffling(8, None, True), 103, epoch=e))
        for e in range(6)
    ]
    assert all(len(rows) == 103 % 8 for rows in left_out)
    assert len(set(left_out)) > 3


def test_order_depends_on_seed_and_epoch_only():
    strategy = BlockShuffling(4)
    assert np.array_equal(rows_of(strategy, 100), rows_of(strategy, 100))
    assert not np.array_equal(rows_of(strategy, 100), rows_of(strategy, 100, seed=1))
    assert not np.array_equal(rows_of(strategy, 100), rows_of(strategy, 100, epoch=1))


def test_a_billion_rows_are_not_listed():
    order = BlockShuffling(16).order(range(10**9), seed=0, epoch=0)
    assert len(order) == 10**9
    assert len(order.rows(999_999_000, 10**9)) == 1000


@pytest.mark.parametrize("shuffle", [False, True])
def test_streaming_keeps_the_order_of_the_file(shuffle):
    order = Streaming(indices=[2, 5, 7], shuffle=shuffle).order(
        range(9), seed=0, epoch=4
    )
    assert order.rows(0, 3).tolist() == [2, 5, 7]
    assert order.shuffle is shuffle


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    chunks=st.integers(1, 4),
    split=st.integers(0, 39),
    keep_one_in=st.integers(1, 3),
    data=st.data(),
)
def test_storage_blocks_are_whole_chunks_and_never_cross_files(
    sizes, chunks, split, keep_one_in, data
):
    starts = np.concatenate([[0], np.cumsum(sizes)])
    n = int(starts[-1])
    cut = int(starts[min(split, len(starts) - 1)])
    source = Stored(n, starts[:-1], sorted({0, cut, n}))
    listed = np.arange(n)[::keep_one_in]
    indices = None if keep_one_in == 1 else listed
    strategy = BlockShuffling("storage", indices, chunks=chunks)
    order = strategy.order(source, seed=1, epoch=0)
    rows = order.rows(0, len(order))
    assert sorted(rows.tolist()) == listed.tolist()
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    assert np.array_equal(order.rows(start, stop), rows[start:stop])
    file_of = np.searchsorted(source.file_starts, rows, side="right")
    chunk_of = np.searchsorted(source.block_starts, rows, side="right") - 1
    first_chunk = np.searchsorted(source.block_starts, source.file_starts[file_of - 1])
    block_of = file_of * 1000 + (chunk_of - first_chunk) // chunks
    changes = np.flatnonzero(np.diff(block_of)) + 1
    runs = np.split(block_of, changes)
    assert len({int(run[0]) for run in runs}) == len(runs)


def test_storage_bounds_skip_chunks_in_which_no_row_starts():
    from scdataset_core.orders import Subset

    bounds = storage_bounds(
        np.array([0, 3, 3, 6]), np.array([0, 8]), chunks=1, subset=Subset(8, None)
    )
    assert bounds.tolist() == [0, 3, 6, 8]


def test_unsorted_indices_are_sorted_with_a_warning():
    with pytest.warns(UserWarning, match="indices were not sorted"):
        strategy = Streaming(indices=[5, 1, 3])
    assert rows_of(strategy, 9).tolist() == [1, 3, 5]


def test_weights_follow_their_indices_when_those_are_sorted():
    with pytest.warns(UserWarning, match="sorted"):
        strategy = BlockWeightedSampling(2, [5, 1, 3], weights=[1.0, 0.0, 0.0])
    assert set(rows_of(strategy, 9).tolist()) == {5}


def test_class_balance_counts_over_what_the_labels_are_for():
    labels = np.array(["a"] * 90 + ["b"] * 10)
    everywhere = ClassBalancedSampling(labels, indices=np.arange(85, 95))
    within = ClassBalancedSampling(labels[85:95], indices=np.arange(85, 95))
    assert everywhere.weights is not None
    assert within.weights is not None
    assert everywhere.weights[95] == pytest.approx(9 * everywhere.weights[0])
    assert within.weights[9] == within.weights[0]
    drawn = rows_of(ClassBalancedSampling(labels, total_size=10_000), 100)
    assert abs(np.mean(drawn >= 90) - 0.5) < 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BlockShuffling(0), "block_size must be at least 1, got 0"),
        (lambda: BlockShuffling(-3), "got -3"),
        (lambda: BlockShuffling(4, [1, 1]), "must not repeat a row, got 1"),
        (lambda: Streaming([-2, 1]), "must not be negative, got -2"),
        (
            lambda: Streaming(np.ma.array([0, 1, 2], mask=[0, 1, 0])),
            "must not be masked",
        ),
        (lambda: Streaming(np.array([True, False])), "np.flatnonzero"),
        (lambda: Streaming({"train": [0], "test": [1]}), "of the parts: train, test"),
        (lambda: Streaming([[1, 2]]), "1-D array of integers"),
        (lambda: Streaming([0.5]), "1-D array of integers"),
        (lambda: Streaming(np.array([], np.int64)), "must be a non-empty"),
        (lambda: BlockShuffling(4, chunks=2), 'goes with block_size="storage"'),
        (lambda: BlockShuffling("storage", None, True), "drop_last does not go"),
        (lambda: BlockShuffling("storage", chunks=0), "chunks must be at least 1"),
        (lambda: BlockWeightedSampling(weights=[1, -1]), "got -1.0 at position 1"),
        (lambda: BlockWeightedSampling(weights=[1, np.nan]), "got nan at position 1"),
        (lambda: BlockWeightedSampling(weights=[1, np.inf]), "finite"),
        (
            lambda: BlockWeightedSampling(weights=np.ma.array([1, 2], mask=[0, 1])),
            "weights must not be masked",
        ),
        (lambda: BlockWeightedSampling(weights=[0, 0]), "must not all be zero"),
        (lambda: BlockWeightedSampling(weights=[[1]]), "must be 1-D"),
        (lambda: BlockWeightedSampling(weights="line"), "must be numbers.*'line'; scd"),
        (lambda: BlockWeightedSampling(8, [0, 1, 2], [1, 1]), "each of the 3 indices"),
        (lambda: BlockWeightedSampling(total_size=0), "total_size must be at least 1"),
        (lambda: BlockWeightedSampling(replace=False), "sampling_size must be given"),
        (lambda: ClassBalancedSampling([]), "not empty"),
        (lambda: ClassBalancedSampling(["a", None]), "labels must not be missing"),
        (lambda: ClassBalancedSampling([1.0, np.nan]), "got nan for 1 cells"),
        (lambda: ClassBalancedSampling(np.array([0, -1])), "the first at 1"),
    ],
)
def test_refuses_bad_arguments_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (Streaming([3, 9]), "below the number of rows, 9, got 9"),
        (BlockWeightedSampling(weights=[1, 1]), "each of the 9 rows, got 2"),
        (ClassBalancedSampling([0, 1]), "^labels must be given for each of the 9 rows"),
        (
            BlockWeightedSampling(8, [0, 1], weights=[0, 0, 1, 1, 1, 1, 1, 1, 1]),
            "all be zero for the rows in indices",
        ),
        (
            BlockWeightedSampling(replace=False, sampling_size=10),
            "only 9 cells have a positive weight",
        ),
        (BlockShuffling("storage"), "block_starts is None"),
    ],
)
def test_refuses_what_does_not_fit_the_source(strategy, message):
    with pytest.raises(ValueError, match=message):
        strategy.order(range(9), seed=0, epoch=0)


def test_block_size_must_be_an_integer():
    with pytest.raises(TypeError, match="block_size must be an integer"):
        BlockShuffling(2.5)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Streaming(shuffle="False"), "shuffle"),
        (lambda: BlockShuffling(drop_last="no"), "drop_last"),
        (lambda: BlockShuffling(fixed_grid=2), "fixed_grid"),
        (lambda: BlockWeightedSampling(replace="false", sampling_size=4), "replace"),
    ],
)
def test_a_flag_of_text_is_not_taken_for_true(make, name):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got"):
        make()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i8", "u8"])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: BlockShuffling(n),
        lambda n: BlockShuffling(n, stratify=np.arange(300) % 3),
        lambda n: BlockWeightedSampling(n, total_size=n),
        lambda n: BlockWeightedSampling(n, replace=False, sampling_size=n),
        lambda n: ClassBalancedSampling(np.arange(300) % 3, n, total_size=n),
    ],
)
def test_integers_of_numpy_are_taken_for_what_they_are(make, dtype):
    given, plain = make(np.dtype(dtype).type(100)), make(100)
    data = np.arange(300)
    orders = [one.order(data, seed=1, epoch=2) for one in (given, plain)]
    rows, expected = (order.rows(0, len(order)) for order in orders)
    np.testing.assert_array_equal(rows, expected)
    assert repr(given) == repr(plain)
    assert json.dumps(given.describe(data)) == json.dumps(plain.describe(data))


def test_sampling_size_with_replacement_is_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="sampling_size is ignored"):
        BlockWeightedSampling(sampling_size=4)


def test_repr_and_description_name_the_parameters():
    strategy = BlockShuffling(4, indices=np.arange(50))
    assert repr(strategy) == (
        "BlockShuffling(indices=<50 values>, block_size=4, drop_last=False,"
        " fixed_grid=False, chunks=1)"
    )
    assert strategy.describe(range(50))["name"] == "BlockShuffling"
    other = BlockShuffling(4, indices=np.arange(1, 51))
    assert strategy.describe(range(51)) != other.describe(range(51))


def test_description_of_storage_blocks_covers_the_layout():
    strategy = BlockShuffling("storage")
    one, other = Stored(9, [0, 3, 6]), Stored(9, [0, 4, 6])
    assert strategy.describe(one) == strategy.describe(one)
    assert strategy.describe(one) != strategy.describe(other)


def test_arrays_are_kept_as_copies_that_cannot_be_written_to():
    indices, weights = np.arange(10), np.ones(10)
    weighted = BlockWeightedSampling(2, indices=indices, weights=weights)
    strategies = [Streaming(indices), BlockShuffling(2, indices=indices), weighted]
    before = [repr(strategy.describe(range(99))) for strategy in strategies]
    indices[:], weights[:] = 90, 5
    weights[0] = 0
    assert [repr(s.describe(range(99))) for s in strategies] == before
    again = [pickle.loads(pickle.dumps(strategy)) for strategy in strategies]
    for strategy in [*strategies, *again, *map(copy.deepcopy, strategies)]:
        assert drawn_rows(strategy) <= set(range(10))
        with pytest.raises(ValueError, match="read-only"):
            strategy.indices[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(weighted.weights)[0] = 5


def drawn_rows(strategy):
    order = strategy.order(range(99), seed=0, epoch=0)
    return set(order.rows(0, len(order)).tolist())


def test_weights_that_are_replaced_count_from_the_next_order_on():
    strategy = BlockWeightedSampling(1, weights=np.ones(99), total_size=500)
    assert len(drawn_rows(strategy)) == 99
    strategy.weights = np.r_[1.0, np.zeros(98)]
    assert drawn_rows(strategy) == {0}


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 0, 1, -1, 1, 1, 0, -1], np.int32),
        np.array([0, 0, 1, np.nan, 1, 1, 0, np.nan]),
        np.array(["a", "a", "b", None, "b", "b", "a", None], object),
    ],
)
def test_labels_may_be_missing_outside_indices(labels):
    listed = np.array([0, 1, 2, 4, 5, 6])
    with pytest.raises(ValueError, match="for 2 cells, the first at 3"):
        ClassBalancedSampling(labels)
    with pytest.raises(ValueError, match="for 1 cells, the first at 7"):
        ClassBalancedSampling(labels, indices=[0, 7])
    whole = ClassBalancedSampling(labels, indices=listed, block_size=1)
    part = ClassBalancedSampling(labels[listed], indices=listed, block_size=1)
    rows = [s.order(range(8), seed=0, epoch=0).rows(0, 6) for s in (whole, part)]
    assert np.array_equal(*rows)
    assert set(rows[0].tolist()) == set(listed.tolist())


def test_an_index_beyond_the_labels_is_refused():
    with pytest.raises(ValueError, match="got 8 with an index 12"):
        ClassBalancedSampling(np.zeros(8, int), indices=[0, 12])
