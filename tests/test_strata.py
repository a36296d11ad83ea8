"""Strata: minibatches that share the labels of a fetch evenly."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scdataset_core as scd
from scdataset_core.strata import deal_evenly

LABELS = np.random.default_rng(0).choice([-1, 0, 1, 2], 203, p=[0.1, 0.6, 0.2, 0.1])


def loader_of(strategy, **options):
    given_ = {"batch_size": 10, "fetch_factor": 4, "seed": 3} | options
    return scd.Loader(np.arange(203), strategy, **given_)


def assert_even(codes, batch_size):
    """Assert that minibatches, one after the other, have their share of each label."""
    for label in np.unique(codes):
        total = np.count_nonzero(codes == label)
        for start in range(0, len(codes), batch_size):
            batch = codes[start : start + batch_size]
            share = total * len(batch) / len(codes)
            n = np.count_nonzero(batch == label)
            assert np.floor(share) <= n <= np.ceil(share)


@given(
    codes=st.lists(st.integers(-1, 6), min_size=1, max_size=200).map(np.array),
    batch_size=st.integers(1, 50),
    key=st.integers(0, 2**64 - 1),
)
def test_minibatches_share_each_label_evenly(codes, batch_size, key) -> None:
    order = deal_evenly(codes, batch_size=batch_size, key=key)
    assert sorted(order.tolist()) == list(range(len(codes)))
    assert_even(codes[order], batch_size)


def test_each_cell_comes_anywhere_as_often_as_another() -> None:
    """A chi-square test over keys, for each cell, of the minibatch it comes into."""
    codes = np.array([0] * 9 + [1] * 4 + [2])
    counts = np.zeros((14, 14))
    n_keys = 3000
    for key in range(n_keys):
        order = deal_evenly(codes, batch_size=4, key=key)
        counts[order, np.arange(14)] += 1
    expected = n_keys / 14
    # A cell's place has 13 degrees of freedom; 45 is beyond 1 in 10,000.
    assert ((counts - expected) ** 2 / expected).sum(axis=1).max() < 45


@pytest.mark.parametrize("block_size", [1, 8])
def test_the_rows_of_each_fetch_stay_and_each_comes_once(block_size: int) -> None:
    plain = list(loader_of(scd.BlockShuffling(block_size)))
    strata = list(loader_of(scd.BlockShuffling(block_size, stratify=LABELS)))
    for first in range(0, len(plain), 4):
        rows = np.concatenate(strata[first : first + 4])
        assert sorted(rows) == sorted(np.concatenate(plain[first : first + 4]))
        assert_even(LABELS[rows], 10)
    assert sorted(np.concatenate(strata)) == list(range(203))


def test_labels_are_of_every_row_or_of_each_index() -> None:
    indices = np.flatnonzero(LABELS >= 0)
    of_rows = scd.BlockShuffling(4, indices, stratify=LABELS)
    of_indices = scd.BlockShuffling(4, indices, stratify=LABELS[indices])
    mixed = np.random.default_rng(1).permutation(indices)
    with pytest.warns(UserWarning, match="not sorted"):
        unsorted = scd.BlockShuffling(4, mixed, stratify=LABELS[mixed])
    row_set = scd.BlockShuffling(4, scd.RowSet.of(203, indices), stratify=LABELS)
    batches = [
        [batch.tolist() for batch in loader_of(strategy)]
        for strategy in (of_rows, of_indices, unsorted, row_set)
    ]
    assert batches[0] == batches[1] == batches[2] == batches[3]
    assert_even(LABELS[np.concatenate(batches[0][:4])], 10)


@pytest.mark.parametrize("block_size", [16, "storage"])
def test_obs_columns_and_their_combinations_are_strata(
    plates: Path, block_size
) -> None:
    source = scd.open(plates / "*.h5ad", obs=["cell_line", "drug"])
    options = {"batch_size": 50, "fetch_factor": 4}
    named = scd.BlockShuffling(block_size, stratify=["cell_line", "drug"])
    joint = source.obs["cell_line"] * 3 + source.obs["drug"]
    loader = scd.Loader(source, named, **options)
    for batches in zip(*[iter(loader)] * 4, strict=True):
        assert_even(joint[np.concatenate([b["index"] for b in batches])], 50)
    by_codes = scd.Loader(
        source, scd.BlockShuffling(block_size, stratify=joint), **options
    )
    by_list = scd.Loader(
        source, scd.BlockShuffling(block_size, stratify=joint.tolist()), **options
    )
    for one, other, third in zip(loader.fresh(), by_codes, by_list, strict=True):
        assert one["index"].tolist() == other["index"].tolist()
        assert one["index"].tolist() == third["index"].tolist()


def test_a_cell_that_lacks_one_of_two_labels_is_shared_by_the_other() -> None:
    half, others = np.where(np.arange(203) % 2, -1, LABELS), LABELS % 3
    strata = list(loader_of(scd.BlockShuffling(8, stratify=[half, others])))
    for start in range(0, len(strata), 4):
        fetch = np.concatenate(strata[start : start + 4])
        assert_even(half[fetch] * 3 + others[fetch], 10)


def test_ranks_workers_and_resuming_give_the_same_minibatches() -> None:
    strategy = pickle.loads(pickle.dumps(scd.BlockShuffling(4, stratify=LABELS)))
    whole = [batch.tolist() for batch in loader_of(strategy, uneven="pad")]
    shards = [
        loader_of(strategy, uneven="pad").shard(rank, 2, worker, 2)
        for rank in range(2)
        for worker in range(2)
    ]
    seen = [batch.tolist() for shard in shards for batch in shard]
    assert {tuple(batch) for batch in seen} == {tuple(batch) for batch in whole}
    loader = loader_of(strategy)
    batches = iter(loader)
    first = [next(batches).tolist() for _ in range(6)]
    resumed = loader_of(strategy)
    resumed.load_state_dict(loader.state_dict())
    assert first + [batch.tolist() for batch in resumed] == whole


def test_a_state_with_other_labels_is_refused() -> None:
    state = loader_of(scd.BlockShuffling(4, stratify=LABELS)).state_dict()
    other = LABELS.copy()
    other[7] = (other[7] + 1) % 3
    for strategy in (scd.BlockShuffling(4, stratify=other), scd.BlockShuffling(4)):
        with pytest.raises(scd.StateError, match="another strategy"):
            loader_of(strategy).load_state_dict(state)
    assert "stratify" not in loader_of(scd.BlockShuffling(4)).state_dict()["strategy"]


def test_labels_are_kept_as_a_copy() -> None:
    own = LABELS.copy()
    strategy = scd.BlockShuffling(4, stratify=own)
    own[:] = 0
    assert_even(LABELS[np.concatenate(list(loader_of(strategy))[:4])], 10)


@pytest.mark.parametrize(
    ("given_", "error", "words"),
    [
        pytest.param(LABELS[:200], ValueError, "each of the 203 rows, got 200", id="n"),
        pytest.param([], ValueError, "must be 1-D and not empty", id="none"),
        pytest.param("drug", TypeError, '"drug" names an obs column', id="no_obs"),
        pytest.param([LABELS, LABELS[:9]], ValueError, "203 and 9|9 and 203", id="two"),
        pytest.param([LABELS, [LABELS]], ValueError, "must be 1-D", id="deep"),
    ],
)
def test_wrong_labels_are_an_error_at_construction(given_, error, words) -> None:
    with pytest.raises(error, match=words):
        loader_of(scd.BlockShuffling(4, stratify=given_))


def test_an_unknown_column_names_the_nearest(plates: Path) -> None:
    source = scd.open(plates / "plate1.h5ad", obs=["drug"])
    with pytest.raises(scd.MissingNameError, match='did you mean "drug"'):
        scd.Loader(source, scd.BlockShuffling(4, stratify="drugs"))


def test_a_mixture_refuses_strata(plates: Path) -> None:
    sources = [scd.open(plates / f"plate{i}.h5ad", obs=["drug"]) for i in (1, 2)]
    strategy = scd.BlockShuffling(4, stratify="drug")
    source, mixture = scd.mix(sources, [1, 1], strategies=strategy)
    with pytest.raises(ValueError, match="arranges the cells of whole fetches"):
        scd.Loader(source, mixture)
