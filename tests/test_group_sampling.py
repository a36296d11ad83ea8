"""Sets of cells of one group, with controls beside them, as a Loader gives them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scdataset_core as scd
from scdataset_core.adapters import loaders_of_split
from tests.group_sets import CONTROLLED, as_text, sets_of


@pytest.fixture(scope="module")
def source(plates: Path) -> scd.Source:
    return scd.open(plates / "*.h5ad", obs=["cell_line", "drug", "plate"])


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


@pytest.mark.parametrize("more", [{}, CONTROLLED], ids=["groups", "controls"])
def test_a_strategy_that_was_used_draws_from_a_part_of_a_split_alone(
    source, more
) -> None:
    strategy = scd.GroupSampling(["cell_line", "drug"], 8, **more)
    labels = strategy.groups(source)  # makes the groups of all cells
    whole = scd.Loader(source, strategy, batch_size=32, fetch_factor=4)
    parts = scd.split(source, {"train": 0.8, "test": 0.2})
    options = {"batch_size": 32, "fetch_factor": 4}
    train = loaders_of_split(parts, strategy, options)["train"]
    seen: set[int] = set()
    for batch in train:
        seen.update(batch["index"].tolist())
        if more:
            seen.update(batch["control"]["index"].tolist())
    assert seen <= set(parts["train"])
    assert strategy.groups(source) == labels
    assert len(whole) > len(train)
