"""All measures of a Loader at once, against measuring its minibatches by hand."""

import json

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.metrics import (
    batch_entropies,
    chi_squares,
    distinct_blocks,
    label_shares,
    mean_variance_ratio,
    measure_sampling,
    predict_sampling,
    successive_correlation,
    total_variations,
)


@pytest.fixture(scope="module")
def source(plates):
    return scd.open(plates / "*.h5ad", obs=["plate", "cell_line", "drug"])


def make_loader(source, strategy=None, **options):
    strategy = scd.BlockShuffling(8, fixed_grid=True) if strategy is None else strategy
    return scd.Loader(source, strategy, batch_size=32, fetch_factor=4, **options)


def test_measures_are_those_of_the_minibatches_by_hand(source):
    loader = make_loader(source)
    batches = list(loader.fresh())
    labels = [batch["obs"]["plate"] for batch in batches]
    shares = label_shares(source.obs["plate"])
    found = measure_sampling(loader, "plate", n_batches=None).measured
    assert found.entropy == pytest.approx(batch_entropies(labels).mean())
    blocks = distinct_blocks(batch["index"] // 8 for batch in batches)
    assert found.blocks == pytest.approx(blocks.mean())
    distances = total_variations(labels, shares)
    assert found.total_variation == pytest.approx(distances.mean())
    assert found.chi_square == pytest.approx(chi_squares(labels, shares).mean())
    correlation = successive_correlation(labels, shares)
    assert found.correlation == pytest.approx(correlation)
    variance = mean_variance_ratio(batch["X"] for batch in batches)
    assert found.variance == pytest.approx(variance)


def test_first_minibatches_of_the_present_epoch_are_measured(source):
    loader = make_loader(source)
    loader.set_epoch(3)
    labels = [batch["obs"]["plate"] for batch in loader.fresh(3)][:5]
    quality = measure_sampling(loader, "plate", n_batches=5, x=False)
    assert quality.n_batches == 5
    assert quality.measured.entropy == pytest.approx(batch_entropies(labels).mean())


def test_the_loader_stays_where_it_is(source):
    loader = make_loader(source)
    batches = iter(loader)
    next(batches)
    before = loader.state_dict()
    expected = [batch["index"].tolist() for batch in make_loader(source)][1:]
    measure_sampling(loader, "plate", n_batches=3)
    assert loader.state_dict() == before
    assert [batch["index"].tolist() for batch in batches] == expected


def test_a_rank_is_measured_on_its_own_minibatches(source):
    loader = make_loader(source).shard(rank=1, world_size=2)
    labels = [batch["obs"]["plate"] for batch in loader.fresh()]
    quality = measure_sampling(loader, "plate", n_batches=None, x=False)
    assert quality.n_batches == len(labels)
    assert quality.measured.entropy == pytest.approx(batch_entropies(labels).mean())


@pytest.mark.parametrize("output", ["csr", "dense", "padded", "anndata"])
def test_outputs_have_one_variance(source, output):
    rows = np.arange(1, 1000, 3)  # the last minibatch is short, so padded
    strategy = scd.BlockShuffling(4, indices=rows)
    expected = measure_sampling(make_loader(source, strategy), "drug", n_batches=None)
    loader = make_loader(source, strategy, output=output)
    found = measure_sampling(loader, "drug", n_batches=None)
    assert found.measured.variance == pytest.approx(
        expected.measured.variance, rel=1e-5
    )


def test_one_of_several_arrays_is_named(plates):
    source = scd.open(plates / "*.h5ad", obs=["plate"], x=["X", "obsm/X_pca"])
    for output in (None, "padded"):
        loader = make_loader(source, output=output)
        alone = scd.open(plates / "*.h5ad", obs=["plate"])
        expected = measure_sampling(make_loader(alone), "plate").measured.variance
        found = measure_sampling(loader, "plate", x="X").measured.variance
        assert found == pytest.approx(expected, rel=1e-5)
        with pytest.raises(
            TypeError, match=r"give the name of one, x='X', 'obsm/X_pca'"
        ):
            measure_sampling(loader, "plate")


def test_hooks_are_applied(source):
    def double_some(batch):
        scale = 1 + (batch["index"] % 2)
        return {**batch, "X": batch["X"].toarray() * scale[:, None]}

    plain = measure_sampling(make_loader(source), "plate")
    changed = measure_sampling(
        make_loader(source, batch_transform=double_some), "plate"
    )
    assert changed.measured.entropy == plain.measured.entropy
    assert changed.measured.variance != plain.measured.variance


def test_prediction_is_that_of_the_labels_and_sizes(source):
    rows = np.arange(200, 1100)
    loader = make_loader(source, scd.BlockShuffling(16, rows))
    expected = predict_sampling(source.obs["plate"][rows], 16, 4, 32)
    # As text, since NaN is not equal to itself.
    predicted = measure_sampling(loader, "plate", x=False).predicted
    assert repr(predicted) == repr(expected)


def test_rows_of_a_set_are_measured(source):
    rows = scd.RowSet.of(1200, np.arange(200, 1100))
    listed = make_loader(source, scd.BlockShuffling(16, rows.to_numpy()))
    expected = measure_sampling(listed, "plate")
    found = measure_sampling(make_loader(source, scd.BlockShuffling(16, rows)), "plate")
    assert found.to_dict() == expected.to_dict()


def test_strata_bring_the_shares_nearer_than_independent_cells(source):
    strategy = scd.BlockShuffling(4, stratify="plate")
    loader = scd.Loader(source, strategy, batch_size=32, fetch_factor=16)
    quality = measure_sampling(loader, "plate", n_batches=None, x=False)
    assert quality.predicted is None
    assert quality.measured.total_variation < quality.independent.total_variation
    assert 1 < quality.measured.blocks <= 32


def test_storage_blocks_are_predicted_by_their_mean_size(source):
    loader = make_loader(source, scd.BlockShuffling("storage"))
    quality = measure_sampling(loader, "plate", n_batches=None, x=False)
    assert quality.predicted is not None
    measured = quality.measured.blocks
    assert quality.predicted.blocks == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize(
    "strategy",
    [
        scd.Streaming(),
        scd.BlockWeightedSampling(8, weights=np.arange(1200.0), total_size=640),
        scd.BlockWeightedSampling(
            8, weights=np.ones(1200), total_size=640, replace=False, sampling_size=320
        ),
    ],
)
def test_other_strategies_are_measured_without_a_prediction(source, strategy):
    loader = make_loader(source, strategy)
    drawn = np.concatenate([batch["obs"]["plate"] for batch in loader.fresh()])
    quality = measure_sampling(loader, "plate", x=False)
    assert quality.predicted is None
    assert quality.n_labels == len(np.unique(drawn))
    assert quality.independent.entropy < np.log2(3)


def test_mixture_is_measured(source):
    both, strategy = scd.mix([source, source], [0.5, 0.5])
    quality = measure_sampling(make_loader(both, strategy), "plate", n_batches=4)
    assert 0 < quality.measured.entropy < np.log2(3)


def test_file_order_is_far_from_independent(source):
    found = measure_sampling(make_loader(source, scd.Streaming()), "plate", x=False)
    assert found.measured.blocks == 1
    assert found.measured.entropy < 0.1
    assert found.measured.correlation > 0.9
    assert found.independent.correlation == pytest.approx(0, abs=1e-9)


def test_arrays_are_measured_by_labels_of_their_rows():
    x = np.random.default_rng(0).normal(size=(600, 5))
    labels = np.repeat(["a", "b", "c"], 200)
    quality = measure_sampling(make_loader(x), labels)
    assert quality.label == "labels"
    assert quality.measured.variance == pytest.approx(1, abs=0.5)
    with pytest.raises(TypeError, match=r"ndarray has no obs columns.*shape \(600,\)"):
        measure_sampling(make_loader(x), "plate")


def test_plain_values_are_json(source):
    quality = measure_sampling(make_loader(source), "plate", n_batches=4, x=False)
    plain = json.loads(json.dumps(quality.to_dict(), allow_nan=False))
    assert plain["measured"]["variance"] is None
    assert plain["independent"]["variance"] == 1
    assert plain["n_batches"] == 4


def test_repr_shows_every_measure_in_80_columns(source):
    lines = repr(measure_sampling(make_loader(source), "plate", n_batches=9)).split(
        "\n"
    )
    assert lines[0] == "SamplingQuality(9 minibatches of 32, plate: 3 values)"
    assert len(lines) == 8
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("label", "options", "error", "message"),
    [
        ("plat", {}, scd.MissingNameError, "plate"),
        (np.zeros(3), {}, ValueError, "one value for each of the 1200 rows"),
        ("plate", {"n_batches": 0}, ValueError, "n_batches must be at least 1"),
        ("plate", {"n_batches": 2.5}, TypeError, "n_batches must be an integer"),
    ],
)
def test_measuring_refuses(source, label, options, error, message):
    with pytest.raises(error, match=message):
        measure_sampling(make_loader(source), label, **options)


def test_what_is_no_loader_is_an_error(source):
    with pytest.raises(TypeError, match=r"must be a scdataset_core\.Loader, got list"):
        measure_sampling([], "plate")


def test_minibatches_without_x_are_an_error(source):
    loader = make_loader(source, batch_transform=lambda batch: {"y": batch["index"]})
    with pytest.raises(TypeError, match="minibatches hold no X, but y; give x=False"):
        measure_sampling(loader, "plate")
    assert np.isnan(measure_sampling(loader, "plate", x=False).measured.variance)


def test_epoch_without_minibatches_is_an_error():
    with pytest.warns(UserWarning, match="has no minibatch"):
        loader = scd.Loader(np.zeros(3), batch_size=8, drop_last=True)
    with pytest.raises(ValueError, match="epoch 0 of the loader has no minibatch"):
        measure_sampling(loader, np.zeros(3))


@pytest.mark.parametrize("short", ["resample", "drop", "keep"])
def test_sets_are_measured_without_their_controls(source, short):
    strategy = scd.GroupSampling(
        "cell_line", 8, control={"drug": "DMSO"}, match="plate", short=short
    )
    loader = make_loader(source, strategy, output="padded")
    batches = list(loader.fresh())
    kept = [batch["obs"]["plate"][batch["index"] >= 0] for batch in batches]
    quality = measure_sampling(loader, "plate", n_batches=None)
    assert quality.n_batches == len(batches)
    assert quality.measured.entropy == pytest.approx(batch_entropies(kept).mean())
    rows = [np.sort(batch["index"][batch["index"] >= 0]) for batch in batches]
    expected = mean_variance_ratio(source.read(part)["X"] for part in rows)
    assert quality.measured.variance == pytest.approx(expected, rel=1e-5)
