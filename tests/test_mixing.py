"""Several sources in given proportions."""

import itertools
import json
import math
import pickle

import numpy as np
import pytest

import scdataset_core as scd


def array_source(n, first):
    return scd.open(np.arange(first, first + n, dtype=np.float32)[:, None])


@pytest.fixture
def sources():
    return [array_source(50, 0), array_source(400, 50), array_source(131, 450)]


BOUNDS = [0, 50, 450, 581]


def origin(rows):
    return np.searchsorted(BOUNDS, rows, side="right") - 1


def run(order, size=37):
    pieces = [
        order.rows(start, min(start + size, len(order)))
        for start in range(0, len(order), size)
    ]
    return np.concatenate(pieces)


@pytest.mark.parametrize(
    "proportions",
    [[7, 2, 1], [0.7, 0.2, 0.1], [1, 1, 1], [0.001, 0.5, 3], [math.pi, math.e, 1.1]],
    ids=str,
)
def test_shares_are_exact_at_every_position_of_a_run(sources, proportions):
    source, mixture = scd.mix(sources, proportions, total_size=997)
    rows = np.concatenate(
        [run(mixture.order(source, seed=3, epoch=e)) for e in range(4)]
    )
    share = np.array(proportions) / np.sum(proportions)
    counts = (origin(rows)[:, None] == np.arange(3)).cumsum(axis=0)
    wanted = share * np.arange(1, len(rows) + 1)[:, None]
    assert np.abs(counts - wanted).max() < 1.5


def test_cells_of_a_source_come_equally_often(sources):
    source, mixture = scd.mix(sources, [3, 1, 1])
    rows = np.concatenate(
        [run(mixture.order(source, seed=0, epoch=e)) for e in range(7)]
    )
    assert len(rows) == 7 * 581
    times = np.bincount(rows, minlength=581)
    for a, b in itertools.pairwise(BOUNDS):
        assert np.ptp(times[a:b]) <= 1
    first = rows[origin(rows) == 0]
    for start in range(0, len(first) - 50, 50):  # each of its epochs holds each cell
        assert sorted(first[start : start + 50]) == list(range(50))
    assert not np.array_equal(first[:50], first[50:100])


def test_any_stretch_of_an_order_can_be_asked_for(sources):
    source, mixture = scd.mix(sources, [3, 1, 1])
    order = mixture.order(source, seed=0, epoch=2)
    whole = order.rows(0, len(order))
    np.testing.assert_array_equal(run(order, 1), whole)
    np.testing.assert_array_equal(run(order, 100), whole)
    assert order.rows(5, 5).tolist() == []
    again = mixture.order(source, seed=0, epoch=2)
    np.testing.assert_array_equal(again.rows(300, 400), whole[300:400])
    other = mixture.order(source, seed=1, epoch=2)
    assert not np.array_equal(other.rows(0, 581), whole)


def test_sources_of_one_size_are_not_shuffled_alike():
    source, mixture = scd.mix([array_source(64, 0), array_source(64, 64)], [1, 1])
    rows = run(mixture.order(source, seed=0, epoch=0))
    assert not np.array_equal(rows[rows < 64], rows[rows >= 64] - 64)


def test_each_source_keeps_its_strategy(sources):
    weights = np.zeros(131)
    weights[[3, 5]] = 1
    strategies = [
        scd.Streaming(),
        scd.BlockShuffling(block_size=16, fixed_grid=True),
        scd.BlockWeightedSampling(weights=weights, block_size=1),
    ]
    source, mixture = scd.mix(sources, [1, 2, 1], strategies=strategies)
    rows = run(mixture.order(source, seed=0, epoch=0))
    np.testing.assert_array_equal(rows[origin(rows) == 0], np.arange(145) % 50)
    blocks = rows[origin(rows) == 1] - 50
    assert np.all(np.diff(blocks[: 16 * 17].reshape(-1, 16), axis=1) == 1)
    assert set(rows[origin(rows) == 2]) == {453, 455}


def test_streams_alone_are_not_shuffled(sources):
    source, mixture = scd.mix(sources[:2], [1, 1], strategies=scd.Streaming())
    loader = scd.Loader(source, mixture, batch_size=8)
    assert next(iter(loader))["index"].tolist() == [0, 50, 1, 51, 2, 52, 3, 53]


def test_batches_and_fetches_hold_their_share(sources):
    source, mixture = scd.mix(sources, [1, 2, 1], total_size=1280)
    for factor in (1, 4):
        loader = scd.Loader(source, mixture, batch_size=32, fetch_factor=factor)
        batches = list(loader)
        assert len(batches) == 40
        for batch in batches:
            np.testing.assert_array_equal(batch["X"][:, 0], batch["index"])
        for start in range(0, 40, factor):
            held = np.concatenate(
                [batch["index"] for batch in batches[start : start + factor]]
            )
            counts = np.bincount(origin(held), minlength=3)
            assert np.abs(counts - 32 * factor * np.array([1, 2, 1]) / 4).max() < 3


def test_ranks_divide_a_mixture_and_states_resume_it(sources):
    source, mixture = scd.mix(sources, [3, 1, 1])
    options = {"batch_size": 16, "fetch_factor": 2, "seed": 5}
    whole = scd.Loader(source, mixture, **options)
    whole.set_epoch(1)
    want = [batch["index"].tolist() for batch in whole]
    loaders = [whole.shard(rank, 2) for rank in range(2)]
    got, states = [], []
    for loader in loaders:
        loader.set_epoch(1)
        iterator = iter(loader)
        got += [next(iterator)["index"].tolist() for _ in range(5)]
        states.append(json.loads(json.dumps(loader.state_dict())))
    merged = scd.merge_states(states)
    fresh = pickle.loads(pickle.dumps(scd.Loader(source, mixture, **options)))
    fresh.load_state_dict(merged)
    got += [batch["index"].tolist() for batch in fresh]
    assert sorted(got) == sorted(want)


def test_a_state_of_other_proportions_is_refused(sources):
    source, mixture = scd.mix(sources, [3, 1, 1])
    state = scd.Loader(source, mixture).state_dict()
    source, other = scd.mix(sources, [2, 1, 1])
    with pytest.raises(scd.StateError, match="another strategy"):
        scd.Loader(source, other).load_state_dict(state)


def test_a_state_of_other_rows_of_a_strategy_of_0_3_is_refused(sources):
    class Listed:
        def __init__(self, rows):
            self._indices = rows

        def get_indices(self, data_collection, seed=None, rng=None):
            return self._indices

    def loader(rows):
        strategies = [Listed(rows), scd.Streaming(), scd.Streaming()]
        return scd.Loader(*scd.mix(sources, [1, 1, 1], strategies=strategies))

    state = loader(np.arange(8)).state_dict()
    loader(np.arange(8)).load_state_dict(state)
    with pytest.raises(scd.StateError, match="another strategy"):
        loader(np.arange(8) + 1).load_state_dict(state)


def test_a_source_without_end_needs_no_memory():
    class Huge:
        def order(self, source, *, seed, epoch):
            return self

        shuffle = False

        def __len__(self):
            return 10**12

        def rows(self, start, stop):
            return np.arange(start, stop) % 7

    parts = [array_source(7, 0), array_source(7, 7)]
    source, mixture = scd.mix(parts, [9, 1], strategies=Huge())
    order = mixture.order(source, seed=0, epoch=10**5)
    rows = order.rows(10**12, 10**12 + 1000)
    assert int((rows < 7).sum()) == 900


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"proportions": [1, 1]}, ValueError, "proportions must be one for each of"),
        ({"proportions": [1, 0, 1]}, ValueError, "must be positive numbers, got 0.0"),
        ({"proportions": [1, 1, np.nan]}, ValueError, "positive numbers, got nan"),
        (
            {"proportions": [1, 1, 1], "strategies": [scd.Streaming()]},
            ValueError,
            "strategies must be one for each of the 3 sources, got 1",
        ),
        (
            {"proportions": [1, 1, 1], "total_size": 0},
            ValueError,
            "total_size must be at least 1",
        ),
    ],
    ids=["too_few", "zero", "nan", "strategies", "no_cells"],
)
def test_wrong_arguments_are_refused(sources, options, error, match):
    with pytest.raises(error, match=match):
        scd.mix(sources, **options)


def test_one_source_is_no_mixture(sources):
    with pytest.raises(ValueError, match="at least two sources, got 1"):
        scd.mix(sources[:1], [1])


def test_another_source_is_refused(sources):
    _, mixture = scd.mix(sources, [1, 1, 1])
    with pytest.raises(ValueError, match="the mixture is of 581 cells"):
        scd.Loader(sources[0], mixture)


def test_a_strategy_that_draws_nothing_is_refused(sources):
    class NoOrder:
        shuffle = False

        def __len__(self):
            return 0

        def rows(self, start, stop):
            return np.empty(0, np.int64)

    class Nothing:
        def order(self, source, *, seed, epoch):
            return NoOrder()

    source, mixture = scd.mix(sources, [1, 1, 1], strategies=Nothing())
    with pytest.raises(ValueError, match="draws no cells"):
        scd.Loader(source, mixture)
