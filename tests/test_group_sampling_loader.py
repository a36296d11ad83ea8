"""Sets of cells of one group: how a Loader reads, shares, saves and hands them out."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd
from tests.group_sets import CONTROLLED, as_text


@pytest.fixture(scope="module")
def source(plates: Path) -> scd.Source:
    return scd.open(plates / "*.h5ad", obs=["cell_line", "drug", "plate"])


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
