"""Sets of cells of one group, with controls beside them, as a Loader gives them."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scdataset_core as scd

OBS = ["cell_line", "drug", "plate"]
CONTROLLED: dict[str, Any] = {
    "control": {"drug": "DMSO"},
    "match": ["cell_line", "plate"],
}


@pytest.fixture(scope="module")
def source(plates: Path) -> scd.Source:
    return scd.open(plates / "*.h5ad", obs=OBS)


def sets_of(batch: dict[str, Any], column: str, set_size: int) -> np.ndarray:
    """Return the codes of a column, a row for each set."""
    return batch["obs"][column].reshape(-1, set_size)


def rows_of(loader: scd.Loader) -> np.ndarray:
    return np.concatenate([batch["index"] for batch in loader])


def as_text(batch: dict[str, Any]) -> str:
    """Return all that a minibatch holds but X."""
    control = batch.get("control", {"index": np.empty(0)})
    parts = [batch["index"], batch["group"], control["index"]]
    return json.dumps([part.tolist() for part in parts])


def test_a_set_is_of_one_group_and_its_code_says_which(source) -> None:
    strategy = scd.GroupSampling(["cell_line", "drug"], 16, block_size=4)
    labels = strategy.groups(source)
    assert list(labels) == ["cell_line", "drug"]
    pairs = list(zip(labels["cell_line"], labels["drug"], strict=True))
    assert pairs == sorted(set(pairs))
    assert len(pairs) == 12
    for batch in scd.Loader(source, strategy, batch_size=64, fetch_factor=4):
        assert list(batch) == ["X", "obs", "index", "group"]
        assert batch["group"].dtype == np.int32
        assert len(batch["group"]) * 16 == len(batch["index"]) == batch["X"].shape[0]
        for column in labels:
            codes = sets_of(batch, column, 16)
            assert (codes == codes[:, :1]).all()
            names = source.decode(column, codes[:, 0]).tolist()
            assert names == [labels[column][group] for group in batch["group"]]
        cells = source.read(np.sort(batch["index"]))
        order = np.argsort(np.argsort(batch["index"], kind="stable"))
        assert (cells["X"][order] != batch["X"]).nnz == 0


@given(
    codes=st.lists(st.integers(-1, 4), min_size=1, max_size=80).filter(
        lambda codes: max(codes) >= 0
    ),
    set_size=st.integers(1, 12),
    block_size=st.integers(1, 9),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 3),
)
def test_an_epoch_takes_every_cell_of_every_group_once(
    codes, set_size, block_size, seed, epoch
) -> None:
    codes = np.array(codes)
    n_sets, counts = {}, {}
    sizes = {code: int((codes == code).sum()) for code in np.unique(codes[codes >= 0])}
    for short in ("resample", "drop", "keep"):
        strategy = scd.GroupSampling(
            codes, set_size, block_size=block_size, short=short
        )
        if short == "drop" and max(sizes.values()) < set_size:
            with pytest.raises(ValueError, match="every group is smaller"):
                strategy.order(codes, seed=seed, epoch=epoch)
            continue
        order = strategy.order(codes, seed=seed, epoch=epoch)
        rows = order.rows(0, len(order)).reshape(-1, set_size)
        sets = order.sets(0, len(rows))
        labels = np.array(strategy.groups(codes)["groups"])
        assert (codes[rows] == labels[sets.groups][:, None]).all()
        is_cell = np.arange(set_size) < sets.n_cells[:, None]
        drawn = rows[is_cell] if short == "keep" else rows.reshape(-1)
        counts[short] = np.bincount(drawn, minlength=len(codes))
        n_sets[short] = len(rows)
    for code, size in sizes.items():
        whole = size // set_size
        for short, counted in counts.items():
            of_group = counted[codes == code]
            if short == "keep":
                assert (of_group == 1).all()
            elif short == "drop":
                assert of_group.max() <= 1
                assert of_group.sum() == whole * set_size
            else:
                n_drawn = -(-size // set_size) * set_size
                assert of_group.sum() == n_drawn
                assert of_group.min() >= n_drawn // size
                assert of_group.max() <= -(-n_drawn // size)
    assert n_sets["keep"] == n_sets["resample"]
    for counted in counts.values():
        assert not counted[codes < 0].any()


def test_controls_agree_with_their_set_and_come_equally_often(source) -> None:
    strategy = scd.GroupSampling(
        ["cell_line", "drug"], 16, control_size=12, block_size=4, **CONTROLLED
    )
    dmso = source.categories["drug"].index("DMSO")
    assert "DMSO" not in strategy.groups(source)["drug"]
    counts = np.zeros(len(source), int)
    pools: dict[Any, list[int]] = {}
    for batch in scd.Loader(source, strategy, batch_size=64, fetch_factor=4):
        control = batch["control"]
        assert list(control) == ["X", "obs", "index"]
        assert len(control["index"]) == len(batch["group"]) * 12
        assert (control["obs"]["drug"] == dmso).all()
        assert (batch["obs"]["drug"] != dmso).all()
        for column in CONTROLLED["match"]:
            codes = sets_of(batch, column, 16)
            assert (codes == codes[:, :1]).all()
            assert (sets_of(control, column, 12) == codes[:, :1]).all()
        for rows in control["index"].reshape(-1, 12):
            assert len(set(rows.tolist())) == 12
        counts += np.bincount(control["index"], minlength=len(source))
        index = control["index"]
        cells = source.read(np.sort(index))["X"][np.argsort(np.argsort(index))]
        assert (cells != control["X"]).nnz == 0
    obs = source.obs
    for row in np.flatnonzero(obs["drug"] == dmso):
        pools.setdefault((obs["cell_line"][row], obs["plate"][row]), []).append(row)
    for rows in pools.values():
        assert np.ptp(counts[rows]) <= 1
        assert counts[rows].sum() > 0


@pytest.fixture(scope="module")
def scattered() -> scd.Source:
    """Return cells of two lines on three plates, whose controls lie elsewhere.

    Line a has DMSO on plate 0 only, line b on plate 2 only; plate 1 has none.
    """
    ad = pytest.importorskip("anndata")
    import pandas as pd

    parts = []
    for plate in range(3):
        drugs = ["x", "y"] * 20
        lines = ["a"] * 20 + ["b"] * 20
        drugs[:20] = ["DMSO"] * 10 + drugs[10:20] if plate == 0 else drugs[:20]
        drugs[20:] = ["DMSO"] * 10 + drugs[30:] if plate == 2 else drugs[20:]
        obs = {"line": lines, "drug": drugs, "plate": [f"p{plate}"] * 40}
        frame = pd.DataFrame(obs, index=[f"{plate}-{i}" for i in range(40)])
        X = np.full((40, 3), plate, np.float32)
        parts.append(scd.open(ad.AnnData(X, frame), obs=["line", "drug", "plate"]))
    return scd.concat(parts)


def test_the_last_columns_are_given_up_where_no_control_agrees(scattered) -> None:
    strategy = scd.GroupSampling(
        ["line", "drug"], 4, control={"drug": "DMSO"}, match=["line", "plate"]
    )
    from_other_plates = 0
    for batch in scd.Loader(scattered, strategy, batch_size=8):
        control = batch["control"]["obs"]
        lines, plates = (
            source_.reshape(-1, 4) for source_ in (control["line"], control["plate"])
        )
        assert (lines == sets_of(batch, "line", 4)).all()
        home = np.where(lines[:, 0] == 0, 0, 2)  # the plate with the line's controls
        assert (plates == home[:, None]).all()
        from_other_plates += int((sets_of(batch, "plate", 4)[:, 0] != home).sum())
    assert from_other_plates > 0


def test_a_first_column_that_makes_groups_is_not_given_up(scattered) -> None:
    rows = scattered.obs
    indices = np.flatnonzero((rows["drug"] != 0) | (rows["line"] == 0))
    strategy = scd.GroupSampling(
        ["line", "drug"],
        4,
        control={"drug": "DMSO"},
        match=["line", "plate"],
        indices=indices,
    )
    words = "no control goes with 2 of the groups: line='b', drug='x'; line='b'"
    with pytest.raises(ValueError, match=words):
        scd.Loader(scattered, strategy, batch_size=8)
    renamed = {"strain": "line", "drug": "drug"}
    strategy = scd.GroupSampling(
        renamed, 4, control={"drug": "DMSO"}, match="line", indices=indices
    )
    with pytest.raises(ValueError, match="of the groups: strain='b'"):
        scd.Loader(scattered, strategy, batch_size=8)
    by_plate = scd.GroupSampling(
        ["line", "drug"], 4, control={"drug": "DMSO"}, match="plate", indices=indices
    )
    seen = set()
    for batch in scd.Loader(scattered, by_plate, batch_size=8):
        assert (batch["control"]["obs"]["line"] == 0).all()
        seen |= set(batch["obs"]["plate"].tolist())
    assert seen == {0, 1, 2}


def test_groups_and_controls_keep_to_indices(source) -> None:
    rows = np.random.default_rng(1).permutation(1200)[:700]
    for indices in (np.sort(rows), scd.RowSet.of(1200, rows)):
        strategy = scd.GroupSampling(
            ["cell_line", "drug"], 8, indices=indices, **CONTROLLED
        )
        everything = scd.GroupSampling(["cell_line", "drug"], 8, **CONTROLLED)
        assert strategy.groups(source) == everything.groups(source)
        loader = scd.Loader(source, strategy, batch_size=64)
        seen = [[b["index"], b["control"]["index"]] for b in loader]
        drawn, controls = (np.concatenate(part) for part in zip(*seen, strict=True))
        is_control = source.obs["drug"] == source.categories["drug"].index("DMSO")
        assert set(drawn) == set(rows[~is_control[rows]])
        assert set(controls) <= set(rows[is_control[rows]])


def test_labels_of_indices_and_of_rows_are_the_same_groups(source) -> None:
    codes = source.obs["drug"]
    indices = np.flatnonzero(source.obs["plate"] != 1)
    of_rows, of_indices = (
        scd.GroupSampling(labels, 8, indices=indices)
        for labels in (codes, codes[indices])
    )
    loaders = (scd.Loader(source, s, batch_size=16) for s in (of_rows, of_indices))
    for one, other in zip(*loaders, strict=True):
        assert as_text(one) == as_text(other)


def test_short_sets_are_kept_in_padded_rows(source) -> None:
    strategy = scd.GroupSampling(
        ["cell_line", "drug"], 24, short="keep", control_size=8, **CONTROLLED
    )
    loader = scd.Loader(source, strategy, batch_size=96, output="padded")
    rows = []
    shapes = set()
    for batch in loader:
        shapes.add(str({k: np.shape(v) for k, v in batch.items() if k != "X"}))
        is_cell = (batch["index"] >= 0).reshape(-1, 24)
        # Cells stand first in their set, and a set that is there has some.
        assert (np.diff(is_cell.astype(int), axis=1) <= 0).all()
        assert (is_cell.any(axis=1) == (batch["group"] >= 0)).all()
        empty = ~is_cell.reshape(-1)
        assert not batch["X"]["length"][empty].any()
        assert not batch["X"]["values"][empty].any()
        assert (batch["obs"]["drug"][empty] == -1).all()
        control = batch["control"]["index"].reshape(-1, 8)
        assert ((control >= 0).all(axis=1) == (batch["group"] >= 0)).all()
        kept = batch["index"][~empty]
        rows.append(kept)
        order = np.argsort(kept)
        cells = source.read(kept[order])["X"]
        lengths = batch["X"]["length"][~empty][order]
        assert lengths.tolist() == np.diff(cells.indptr).tolist()
    assert len(shapes) == 1
    dmso = source.categories["drug"].index("DMSO")
    expected = np.flatnonzero(source.obs["drug"] != dmso)
    assert sorted(np.concatenate(rows)) == expected.tolist()


def test_ranks_workers_and_fetches_only_decide_who_yields_a_minibatch(source) -> None:
    strategy = scd.GroupSampling(["cell_line", "drug"], 8, block_size=4, **CONTROLLED)
    loader = scd.Loader(source, strategy, batch_size=32, fetch_factor=3, uneven="pad")
    whole = [as_text(batch) for batch in loader]
    assert [as_text(loader.batch(k)) for k in range(len(whole))] == whole
    spawned = pickle.loads(pickle.dumps(loader))
    shards = [
        as_text(batch)
        for rank in range(2)
        for worker in range(3)
        for batch in spawned.fresh(0).shard(rank, 2, worker, 3)
    ]
    assert set(shards) == set(whole)
    hooked = scd.Loader(
        source,
        strategy,
        batch_size=32,
        fetch_factor=3,
        fetch_transform=lambda cells: cells.replace(X=cells["X"] * 2),
    )
    for batch, plain in zip(hooked, loader.fresh(0), strict=True):
        assert as_text(batch) == as_text(plain)
        assert (batch["X"] != plain["X"] * 2).nnz == 0
        assert (batch["control"]["X"] != plain["control"]["X"] * 2).nnz == 0


def test_resuming_is_exact_and_elastic(source) -> None:
    def make() -> scd.Loader:
        strategy = scd.GroupSampling(["cell_line", "drug"], 8, **CONTROLLED)
        return scd.Loader(source, strategy, batch_size=16, fetch_factor=4, seed=5)

    loader = make()
    whole = [as_text(batch) for batch in make()]
    batches = iter(loader)
    seen = [as_text(next(batches)) for _ in range(9)]
    state = json.loads(json.dumps(loader.state_dict()))
    resumed = make()
    resumed.load_state_dict(state)
    assert seen + [as_text(batch) for batch in resumed] == whole
    merged = scd.merge_states([state])
    rest = []
    for rank in range(3):
        part = make()
        part.load_state_dict(merged)
        rest += [as_text(batch) for batch in part.shard(rank, 3)]
    assert set(rest) <= set(whole) - set(seen)
    assert len(rest) == (len(whole) - 9) // 3 * 3
    other = scd.GroupSampling(["cell_line", "drug"], 8, control={"drug": "DMSO"})
    with pytest.raises(scd.StateError, match="another strategy"):
        scd.Loader(
            source, other, batch_size=16, fetch_factor=4, seed=5
        ).load_state_dict(state)


def test_hooks_see_the_whole_minibatch_and_each_part_of_it(source) -> None:
    strategy = scd.GroupSampling(["cell_line", "drug"], 8, **CONTROLLED)
    taken = []

    def read(collection, rows):
        assert (np.diff(rows) >= 0).all()
        return collection.read(rows)

    def take(cells, positions):
        taken.append(len(positions))
        return cells.take(positions)

    def name_group(batch):
        return {**batch, "name": batch["group"] + 100}

    loader = scd.Loader(
        source,
        strategy,
        batch_size=16,
        fetch_callback=read,
        batch_callback=take,
        batch_transform=name_group,
    )
    plain = scd.Loader(source, strategy, batch_size=16)
    for batch, expected in zip(loader, plain, strict=True):
        assert as_text(batch) == as_text(expected)
        assert (batch["name"] == batch["group"] + 100).all()
        assert (batch["control"]["X"] != expected["control"]["X"]).nnz == 0
    assert set(taken) >= {16}
    assert len(taken) == 2 * len(loader)


def test_total_sets_go_on_where_the_epoch_before_stopped(source) -> None:
    codes = source.obs["cell_line"]
    whole = scd.GroupSampling(codes, 20, short="drop")
    part = scd.GroupSampling(codes, 20, short="drop", total_sets=7)
    n = len(whole.order(source, seed=0, epoch=0))
    passes = [whole.order(source, seed=0, epoch=e).rows(0, n) for e in range(3)]
    epochs = [part.order(source, seed=0, epoch=e).rows(0, 140) for e in range(12)]
    joined = np.concatenate(passes)[: 12 * 140]
    assert np.concatenate(epochs).tolist() == joined.tolist()


def test_blocks_of_a_group_are_read_together() -> None:
    codes = np.repeat(np.arange(6), 400)
    strategy = scd.GroupSampling(codes, 64, block_size=16)
    order = strategy.order(codes, seed=0, epoch=0)
    rows = np.sort(order.rows(0, len(order)).reshape(-1, 64), axis=1)
    runs = 1 + (np.diff(rows, axis=1) > 1).sum(axis=1)
    assert np.median(runs) <= 5


@pytest.mark.parametrize("obs", [None, ["drug"]])
def test_columns_that_the_source_does_not_carry_are_read(plates, source, obs) -> None:
    bare = scd.open(plates / "*.h5ad", obs=obs)
    strategy = scd.GroupSampling(["cell_line", "drug"], 8, **CONTROLLED)
    loaders = [scd.Loader(s, strategy, batch_size=32) for s in (source, bare)]
    for one, other in zip(*loaders, strict=True):
        assert as_text(one) == as_text(other)
        assert list(other["obs"]) == (obs or [])
    assert strategy.groups(bare) == strategy.groups(source)


def test_workers_get_columns_that_an_object_in_memory_has(plates: Path) -> None:
    ad = pytest.importorskip("anndata")
    source = scd.open(ad.read_h5ad(plates / "plate1.h5ad"))
    for strategy in (
        scd.GroupSampling(["cell_line", "drug"], 8, **CONTROLLED),
        scd.BlockShuffling(8, stratify="drug"),
    ):
        loader = scd.Loader(source, strategy, batch_size=32)
        copied = pickle.loads(pickle.dumps(loader))
        for one, other in zip(loader, copied, strict=True):
            assert one["index"].tolist() == other["index"].tolist()
        copied.load_state_dict(loader.state_dict())


def test_a_saved_vocabulary_says_the_codes_of_groups(plates: Path) -> None:
    saved = {"drug": ["Bortezomib", "Afatinib"]}
    with pytest.warns(UserWarning, match="DMSO"):
        own = scd.open(plates / "plate1.h5ad", obs=["drug"], categories=saved)
    strategy = scd.GroupSampling(["drug", "cell_line"], 8)
    labels = strategy.groups(own)
    assert labels["drug"] == ["Bortezomib"] * 4 + ["Afatinib"] * 4
    for batch in scd.Loader(own, strategy, batch_size=32):
        names = own.decode("drug", sets_of(batch, "drug", 8)[:, 0])
        assert names.tolist() == [labels["drug"][group] for group in batch["group"]]


def test_epochs_and_seeds_give_other_sets(source) -> None:
    strategy = scd.GroupSampling("drug", 8)
    loader = scd.Loader(source, strategy, batch_size=16, seed=1)
    texts = {as_text(batch) for _ in range(3) for batch in loader}
    other = scd.Loader(source, strategy, batch_size=16, seed=2)
    texts |= {as_text(batch) for batch in other}
    assert len(texts) == 4 * len(loader)


def test_a_memory_budget_counts_controls(source) -> None:
    plain, controlled = (
        scd.Loader(
            source,
            scd.GroupSampling("drug", 8, **options),
            batch_size=32,
            memory="3MB",
        ).fetch_factor
        for options in ({}, {"control": {"drug": "DMSO"}, "control_size": 24})
    )
    assert plain // 4 in (controlled, controlled - 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"match": "drug"}, "match=.* goes with control", id="match"),
        pytest.param({"control_size": 4}, "control_size=4 goes with", id="size"),
        pytest.param({"short": "pad"}, '"resample", "drop" or "keep"', id="short"),
        pytest.param({"set_size": 0}, "set_size must be at least 1", id="set_size"),
        pytest.param({"block_size": 0}, "block_size must be at least", id="block"),
        pytest.param({"total_sets": 0}, "total_sets must be at least", id="total"),
        pytest.param({"weights": [0, 0]}, "must not all be zero", id="weights"),
        pytest.param(
            {"weights": [1, 2], "short": "keep"}, "does not go with weights", id="keep"
        ),
        pytest.param({"control": {}}, "control must name a column", id="control"),
        pytest.param(
            {"control": {"drug": "DMSO"}, "match": ["a", "a"]}, "twice", id="twice"
        ),
        pytest.param({"groups": []}, "must be 1-D and not empty", id="groups"),
        pytest.param({"indices": [0, 0]}, "must not repeat a row", id="indices"),
    ],
)
def test_what_does_not_go_together_is_an_error(options, words: str) -> None:
    given_ = {"groups": "drug", "set_size": 4} | options
    with pytest.raises(ValueError, match=words):
        scd.GroupSampling(**given_)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"groups": None}, "groups must be obs columns", id="groups"),
        pytest.param({"control": "DMSO"}, "labels by obs column", id="control"),
        pytest.param(
            {"control": {"drug": "DMSO"}, "match": [3]}, "names of obs", id="match"
        ),
        pytest.param({"block_size": "storage"}, "block_size must be an", id="storage"),
    ],
)
def test_what_is_of_another_type_is_an_error(options, words: str) -> None:
    given_ = {"groups": "drug", "set_size": 4} | options
    with pytest.raises(TypeError, match=words):
        scd.GroupSampling(**given_)


@pytest.mark.parametrize(
    ("strategy", "loader", "words"),
    [
        pytest.param({}, {"batch_size": 12}, "multiple of set_size=8", id="batch"),
        pytest.param({}, {"output": "anndata"}, "has no place", id="anndata"),
        pytest.param({"short": "keep"}, {}, 'only output="padded"', id="keep"),
        pytest.param(
            {"groups": "drugs"}, {}, 'did you mean "drug"', id="unknown_column"
        ),
        pytest.param(
            {"control": {"drug": "DMS0"}}, {}, 'did you mean "DMSO"', id="no_label"
        ),
        pytest.param(
            {"control": {"drug": "DMSO"}, "match": "plates"},
            {},
            'did you mean "plate"',
            id="unknown_match",
        ),
        pytest.param({"groups": np.zeros(7)}, {}, "each of the 1200", id="length"),
        pytest.param({"weights": np.ones(7)}, {}, "each of the 1200", id="weights"),
        pytest.param(
            {"groups": np.full(1200, -1)}, {}, "no cell is in a group", id="no_labels"
        ),
        pytest.param(
            {"control": {"drug": ["DMSO", "Afatinib", "Bortezomib"]}},
            {},
            "no cell is in a group",
            id="all_controls",
        ),
        pytest.param(
            {"set_size": 4096, "short": "drop"},
            {"batch_size": 4096},
            "every group is smaller than set_size=4096",
            id="all_short",
        ),
        pytest.param(
            {"control": np.zeros(1200, bool)}, {}, "no control goes", id="no_controls"
        ),
    ],
)
def test_what_does_not_fit_the_source_is_an_error_of_the_loader(
    source, strategy, loader, words: str
) -> None:
    made = scd.GroupSampling(**({"groups": "drug", "set_size": 8} | strategy))
    with pytest.raises((ValueError, KeyError), match=words):
        scd.Loader(source, made, **({"batch_size": 16} | loader))


def test_sets_need_dict_batches() -> None:
    strategy = scd.GroupSampling(np.arange(40) % 3, 4)
    with pytest.raises(ValueError, match=r"pass scdataset_core\.open\(obj\)"):
        scd.Loader(np.ones((40, 3)), strategy, batch_size=8)
    batch = next(iter(scd.Loader(scd.open(np.ones((40, 3))), strategy, batch_size=8)))
    assert batch["group"].shape == (2,)
    loader = scd.Loader(
        scd.open(np.ones((40, 3))),
        strategy,
        batch_size=8,
        fetch_transform=lambda cells: cells["X"],
    )
    with pytest.raises(TypeError, match="a hook gave a ndarray"):
        next(iter(loader))


def test_a_mixture_refuses_sets(source) -> None:
    joined, mixture = scd.mix(
        [source, source], [1, 1], strategies=scd.GroupSampling("drug", 8)
    )
    with pytest.raises(ValueError, match="arranges the cells of whole fetches"):
        scd.Loader(joined, mixture, batch_size=16)
