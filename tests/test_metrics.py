"""Entropy of minibatches: by hand, in theory, and as the paper measured it."""

from itertools import islice

import numpy as np
import pytest

from scdataset_core.metrics import batch_entropies, expected_entropy, plan_labels
from scdataset_core.plan import Plan
from scdataset_core.strategies import BlockShuffling, Streaming

PLATES, PLATE_ROWS = 14, 7_000_000

# Table 2 of the paper: mean entropy of the plate in a minibatch of 64, for block size,
# then fetch factor, the average over its three numbers of workers.
PAPER = {
    (4, 4): 3.500,
    (4, 8): 3.563,
    (4, 16): 3.590,
    (4, 32): 3.607,
    (8, 4): 3.337,
    (8, 8): 3.483,
    (8, 16): 3.553,
    (8, 32): 3.590,
    (16, 4): 3.003,
    (16, 8): 3.323,
    (16, 16): 3.477,
    (16, 32): 3.543,
    (32, 4): 2.470,
    (32, 8): 3.000,
    (32, 16): 3.317,
    (32, 32): 3.467,
}


def plate_of(rows):
    return rows // PLATE_ROWS


def entropies_of_plan(block_size, fetch_factor, n_batches):
    strategy = BlockShuffling(block_size)
    order = strategy.order(range(PLATES * PLATE_ROWS), seed=0, epoch=0)
    plan = Plan(order, batch_size=64, fetch_factor=fetch_factor)
    return batch_entropies(islice(plan_labels(plan, plate_of), n_batches))


@pytest.mark.parametrize(("block_size", "fetch_factor"), PAPER)
def test_plan_has_the_entropy_of_table_2(block_size, fetch_factor):
    entropies = entropies_of_plan(block_size, fetch_factor, 20_000)
    assert len(entropies) == 20_000
    assert abs(entropies.mean() - PAPER[block_size, fetch_factor]) < 0.05


@pytest.mark.parametrize(("block_size", "fetch_factor"), [(1, 1), (8, 4), (24, 3)])
def test_plan_has_the_entropy_of_theory(block_size, fetch_factor):
    entropies = entropies_of_plan(block_size, fetch_factor, 9_000)
    expected = expected_entropy(
        np.ones(PLATES),
        batch_size=64,
        block_size=block_size,
        fetch_factor=fetch_factor,
    )
    assert entropies.mean() == pytest.approx(expected, abs=0.01)


def test_theory_agrees_with_draws_from_uneven_shares():
    rng = np.random.default_rng(0)
    shares = np.array([0.6, 0.25, 0.1, 0.05, 0])
    fetches = np.repeat(rng.choice(5, size=(4000, 20), p=shares), 8, axis=1)
    batches = rng.permuted(fetches, axis=1)[:, :40]
    expected = expected_entropy(shares, batch_size=40, block_size=8, fetch_factor=4)
    assert batch_entropies(batches).mean() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("shares", "sizes", "expected"),
    [
        pytest.param([1], {}, 0, id="one_label"),
        pytest.param([3, 0, 0], {}, 0, id="labels_that_are_absent"),
        pytest.param([1, 1], {"batch_size": 2}, 0.5, id="two_draws_of_two"),
        pytest.param([1, 1], {"block_size": 8}, 0, id="block_as_large_as_a_batch"),
        pytest.param([1, 1], {"block_size": 99}, 0, id="block_larger_than_a_fetch"),
    ],
)
def test_expected_entropy_of_cases_known_by_hand(shares, sizes, expected):
    assert expected_entropy(shares, **{"batch_size": 8, **sizes}) == pytest.approx(
        expected, abs=1e-12
    )


def test_expected_entropy_of_a_block_cut_by_the_fetch():
    # A fetch of 3 cells is a block of 2 and one cell of another: half the time both
    # have the same label.
    by_hand = 0.5 * -(1 / 3 * np.log2(1 / 3) + 2 / 3 * np.log2(2 / 3))
    assert expected_entropy([1, 1], batch_size=3, block_size=2) == pytest.approx(
        by_hand
    )


def test_batch_entropies_of_minibatches_of_several_lengths_and_kinds():
    batches = [np.array(["a", "b", "c", "d"]), np.array(["b"]), np.array(["c", "a"])]
    assert batch_entropies(batches).tolist() == [2, 0, 1]


def test_missing_label_is_a_label():
    assert batch_entropies([np.array([-1, -1, 0, 0])]).tolist() == [1]


def test_batch_entropies_of_more_minibatches_than_are_counted_at_once():
    rng = np.random.default_rng(1)
    batches = rng.integers(3, size=(5000, 6))
    shares = [np.unique(batch, return_counts=True)[1] / 6 for batch in batches]
    by_hand = [-(share * np.log2(share)).sum() for share in shares]
    np.testing.assert_allclose(batch_entropies(batches), by_hand, atol=1e-12)


def test_no_minibatches_have_no_entropies():
    assert batch_entropies([]).shape == (0,)


def test_plan_labels_come_in_the_order_of_the_minibatches():
    labels = np.arange(100) * 10
    order = BlockShuffling(4).order(range(100), seed=3, epoch=1)
    plan = Plan(order, batch_size=8, fetch_factor=3)
    batches = list(plan_labels(plan, labels))
    assert [len(batch) for batch in batches] == [8] * 12 + [4]
    fetch = next(plan.fetches())
    arranged = np.empty_like(fetch.rows)
    arranged[fetch.places] = fetch.rows
    assert np.concatenate(batches[:3]).tolist() == (arranged * 10).tolist()
    assert np.sort(np.concatenate(batches)).tolist() == labels.tolist()


def test_file_order_has_no_entropy_inside_a_plate():
    order = Streaming().order(range(PLATES * PLATE_ROWS), seed=0, epoch=0)
    plan = Plan(order, batch_size=64, fetch_factor=16)
    assert not batch_entropies(islice(plan_labels(plan, plate_of), 100)).any()


def test_empty_minibatch_is_an_error():
    with pytest.raises(ValueError, match="minibatch 1 is empty"):
        batch_entropies([np.array([1]), np.array([], int)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"batch_size": 0}, "batch_size must be at least 1, got 0", id="m"),
        pytest.param({"block_size": 0}, "block_size must be at least 1, got 0", id="b"),
        pytest.param({"fetch_factor": -1}, "fetch_factor must be at least 1", id="f"),
        pytest.param({"shares": [0, 0]}, "shares must be", id="no_share"),
        pytest.param({"shares": [2, -1]}, "shares must be", id="negative_share"),
        pytest.param({"shares": [np.nan]}, "shares must be", id="nan_share"),
    ],
)
def test_expected_entropy_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        expected_entropy(**{"shares": [1, 1], "batch_size": 4, **arguments})
