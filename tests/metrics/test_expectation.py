"""Predictions: by hand, against plans, and as the paper measured it."""

from itertools import islice

import numpy as np
import pytest

from scdataset_core.metrics import (
    LabelRuns,
    batch_entropies,
    chi_squares,
    distinct_blocks,
    expect_independent,
    expected_entropy,
    label_shares,
    plan_blocks,
    plan_labels,
    predict_entropy,
    predict_sampling,
    successive_correlation,
    total_variations,
)
from scdataset_core.metrics import expectation as module
from scdataset_core.metrics.fetch_sums import FetchSizes, sum_labels
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


# The default run has the corners of the table; 20,000 minibatches each take a while.
CORNERS = {(4, 4), (4, 32), (32, 4), (32, 32)}


@pytest.mark.parametrize(
    ("block_size", "fetch_factor"),
    [
        pytest.param(*setting, marks=() if setting in CORNERS else pytest.mark.slow)
        for setting in PAPER
    ],
)
def test_plan_has_the_entropy_of_table_2(block_size, fetch_factor):
    entropies = entropies_of_plan(block_size, fetch_factor, 4_000)
    assert len(entropies) == 4_000
    assert abs(entropies.mean() - PAPER[block_size, fetch_factor]) < 0.05


@pytest.mark.parametrize(("block_size", "fetch_factor"), [(1, 1), (8, 4), (24, 3)])
def test_plan_has_the_entropy_of_theory(block_size, fetch_factor):
    entropies = entropies_of_plan(block_size, fetch_factor, 5_000)
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


def test_file_order_has_no_entropy_inside_a_plate():
    order = Streaming().order(range(PLATES * PLATE_ROWS), seed=0, epoch=0)
    plan = Plan(order, batch_size=64, fetch_factor=16)
    assert not batch_entropies(islice(plan_labels(plan, plate_of), 100)).any()


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


@pytest.mark.parametrize(("block_size", "fetch_factor"), PAPER)
def test_runs_of_plates_predict_table_2(block_size, fetch_factor):
    plates = LabelRuns(range(PLATES), [PLATE_ROWS] * PLATES)
    predicted = predict_entropy(plates, block_size, fetch_factor, 64)
    assert abs(predicted - PAPER[block_size, fetch_factor]) < 0.05
    # Runs as long as these are those of the simpler formula.
    sizes = {"block_size": block_size, "fetch_factor": fetch_factor}
    theory = expected_entropy(np.ones(PLATES), batch_size=64, **sizes)
    assert predicted == pytest.approx(theory, abs=1e-4)


def labels_of(kind, n):
    rng = np.random.default_rng(5)
    if kind == "plates":
        return np.repeat(np.arange(10), -(-n // 10))[:n]
    if kind == "wells":  # of uneven sizes, of labels that are unevenly common
        lengths = rng.geometric(1 / 30, size=n)
        shares = [0.5, 0.2, 0.2, 0.05, 0.05]
        return np.repeat(rng.choice(5, size=n, p=shares), lengths)[:n]
    if kind == "pairs":
        return np.repeat(rng.integers(20, size=n), 2)[:n]
    return rng.choice(["a", "b", "c", ""], size=n, p=[0.6, 0.2, 0.1, 0.1])


def simulate(labels, block_size, fetch_factor, batch_size, *, n_epochs):
    """Return the mean of each measure, and its standard error, over epochs."""
    shares = label_shares(labels)
    found = []
    for epoch in range(n_epochs):
        order = BlockShuffling(block_size).order(labels, seed=3, epoch=epoch)
        sizes = {"batch_size": batch_size, "fetch_factor": fetch_factor}
        plan = Plan(order, **sizes, drop_last=True)
        batches = list(plan_labels(plan, labels))
        found.append(
            [
                batch_entropies(batches).mean(),
                distinct_blocks(plan_blocks(plan)).mean(),
                total_variations(batches, shares).mean(),
                chi_squares(batches, shares).mean(),
                successive_correlation(batches, shares),
            ]
        )
    return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / n_epochs**0.5


def predict(labels, *sizes):
    predicted = predict_sampling(labels, *sizes)
    assert np.isnan(predicted.variance)
    return np.array(
        [
            predicted.entropy,
            predicted.blocks,
            predicted.total_variation,
            predicted.chi_square,
            predicted.correlation,
        ]
    )


@pytest.mark.parametrize("kind", ["plates", "wells", "pairs", "random"])
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((1, 4, 64), id="cells_at_random"),
        pytest.param((16, 1, 64), id="one_minibatch_a_fetch"),
        pytest.param((16, 4, 64), id="several"),
        pytest.param((24, 3, 50), id="blocks_cut_by_fetches"),
        pytest.param((100, 2, 32), id="blocks_larger_than_fetches"),
    ],
)
def test_prediction_is_what_plans_of_many_fetches_give(kind, sizes):
    labels = labels_of(kind, 12_000)
    mean, error = simulate(labels, *sizes, n_epochs=5)
    # The scale of each measure, to which 1 % is added to 6 standard errors.
    scale = np.array([mean[0], mean[1], mean[2], mean[3], 1])
    assert np.all(np.abs(predict(labels, *sizes) - mean) < 6 * error + 0.01 * scale)


@pytest.mark.parametrize("kind", ["plates", "wells", "pairs", "random"])
@pytest.mark.parametrize("sizes", [(8, 4, 32), (16, 8, 32), (300, 2, 32)])
def test_prediction_is_near_what_plans_of_few_fetches_give(kind, sizes):
    labels = labels_of(kind, 1500)
    mean, error = simulate(labels, *sizes, n_epochs=15)
    scale = np.array([mean[0], mean[1], mean[2], mean[3], 1])
    assert np.all(np.abs(predict(labels, *sizes) - mean) < 6 * error + 0.05 * scale)


def test_prediction_of_a_fetch_that_holds_the_whole_epoch():
    labels = np.repeat([0, 1], [30, 10])
    predicted = predict_sampling(labels, 8, 99, 10)
    # A minibatch is then 10 of the 40 cells without replacement.
    from scipy.stats import hypergeom

    ones = np.arange(11)
    chance = hypergeom.pmf(ones, 40, 10, 10)
    shares = np.stack([ones, 10 - ones]) / 10
    terms = np.where(shares > 0, -shares * np.log2(np.where(shares, shares, 1)), 0)
    assert predicted.entropy == pytest.approx(chance @ terms.sum(axis=0))
    distances = np.abs(ones / 10 - 0.25)
    assert predicted.total_variation == pytest.approx(chance @ distances)
    assert predicted.correlation == pytest.approx(-1 / 3)  # of 4 that make the whole


def test_prediction_of_labels_in_parts_is_that_of_all_at_once(monkeypatch):
    labels = labels_of("pairs", 3000)
    whole = predict_sampling(labels, 16, 4, 32)
    monkeypatch.setattr(module, "_TABLE_CELLS", 1 << 10)
    monkeypatch.setattr(module, "_PHASES_LEAST", 64)
    parts = predict_sampling(labels, 16, 4, 32)
    assert parts.entropy == pytest.approx(whole.entropy)
    assert parts.chi_square == pytest.approx(whole.chi_square)


def test_prediction_of_one_label():
    predicted = predict_sampling(np.zeros(100), 8, 4, 10)
    assert predicted.entropy == pytest.approx(0, abs=1e-9)
    assert predicted.total_variation == pytest.approx(0, abs=1e-9)
    assert predicted.chi_square == pytest.approx(0, abs=1e-9)
    assert np.isnan(predicted.correlation)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 5, 5), (7, 1, 1), (1, 9, 3)])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_prediction_of_fewer_rows_than_sizes(sizes, n):
    predicted = predict_sampling(np.arange(n), *sizes)
    assert 0 <= predicted.entropy <= np.log2(n) + 1e-9
    assert predicted.blocks >= 1


def test_independent_cells_are_those_of_binomials():
    rng = np.random.default_rng(0)
    shares = np.array([6, 2, 1, 1])
    batches = rng.choice(4, size=(20_000, 30), p=shares / 10)
    expected = expect_independent(shares, batch_size=30)
    assert batch_entropies(batches).mean() == pytest.approx(expected.entropy, abs=0.01)
    distances = total_variations(batches, dict(enumerate(shares)))
    assert distances.mean() == pytest.approx(expected.total_variation, abs=0.001)
    assert expected.chi_square == pytest.approx(3)
    assert (expected.blocks, expected.variance) == (30, 1)
    assert expected.correlation == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        pytest.param((0, 1, 1), ValueError, "block_size must be at least 1", id="b"),
        pytest.param((1, 0, 1), ValueError, "fetch_factor must be at least", id="f"),
        pytest.param((1, 1, -2), ValueError, "batch_size must be at least 1", id="m"),
        pytest.param((1.5, 1, 1), TypeError, "must be an integer", id="real"),
        pytest.param(("storage", 1, 1), TypeError, "must be an integer", id="text"),
    ],
)
def test_prediction_refuses(sizes, error, message):
    for predict_something in (predict_sampling, predict_entropy):
        with pytest.raises(error, match=message):
            predict_something([0, 1, 1], *sizes)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((600, 5, 7), id="the_epoch_is_one_block"),
        pytest.param((50, 20, 33), id="a_fetch_holds_all_blocks"),
        pytest.param((80, 4, 20), id="fetches_are_blocks"),
    ],
)
def test_prediction_knows_where_few_fetches_begin(sizes):
    labels = labels_of("wells", 402)
    mean, error = simulate(labels, *sizes, n_epochs=40)
    off = np.abs(predict(labels, *sizes) - mean)
    assert np.all(off[:2] < 6 * error[:2] + 0.01 * mean[:2])


def test_one_label_of_a_single_cell_stands_for_all_such():
    drawn = np.random.default_rng(0).integers(0, 150, 200)
    _, labels, n_cells = np.unique(drawn, return_inverse=True, return_counts=True)
    assert np.count_nonzero(n_cells == 1) > 20
    runs, n_labels = LabelRuns.of(labels), len(n_cells)
    sizes = FetchSizes(8, 16, 64, n_rows=200)
    each = sum_labels(
        sizes, runs.shares, lambda size: runs.window_counts(size, 0, n_labels)
    )
    found = module._sum_range(sizes, runs, 0, n_labels)
    for part, expected in zip(found, each, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-12)
