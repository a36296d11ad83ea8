"""Labels and blocks of the minibatches of a plan."""

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.metrics import distinct_blocks, plan_blocks, plan_labels
from scdataset_core.plan import Plan
from scdataset_core.strategies import BlockShuffling


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


def test_blocks_of_a_plan_are_those_of_its_order():
    source = np.zeros(103)
    order = BlockShuffling(5, fixed_grid=True).order(source, seed=2, epoch=0)
    plan = Plan(order, batch_size=8, fetch_factor=3)
    rows = list(plan_labels(plan, np.arange(103)))
    blocks = list(plan_blocks(plan))
    assert [len(batch) for batch in blocks] == [len(batch) for batch in rows]
    of_grid = distinct_blocks(batch // 5 for batch in rows)
    assert distinct_blocks(blocks).tolist() == of_grid.tolist()


def test_blocks_of_listed_rows_are_of_neighbours_in_the_list():
    listed = np.arange(0, 400, 4)
    order = BlockShuffling(10, listed, fixed_grid=True).order(
        range(400), seed=0, epoch=0
    )
    plan = Plan(order, batch_size=20, fetch_factor=2)
    rows = plan_labels(plan, np.arange(400))
    expected = distinct_blocks(batch // 40 for batch in rows)
    assert distinct_blocks(plan_blocks(plan)).tolist() == expected.tolist()


def test_blocks_of_storage_chunks(plates):
    source = scd.open(plates / "plate1.h5ad")
    order = BlockShuffling("storage").order(source, seed=0, epoch=0)
    plan = Plan(order, batch_size=16, fetch_factor=4)
    rows = np.concatenate(list(plan_labels(plan, np.arange(len(source)))))
    blocks = np.concatenate(list(plan_blocks(plan)))
    starts = np.union1d(source.block_starts, [0])
    by_hand = np.searchsorted(starts, rows, side="right")
    pairs = np.unique(np.stack([blocks, by_hand]), axis=1)
    assert pairs.shape[1] == len(np.unique(blocks)) == len(np.unique(by_hand))


def test_blocks_that_an_order_does_not_know_are_runs_in_the_fetch():
    order = scd.Streaming(np.array([0, 1, 2, 7, 8, 20])).order(
        range(30), seed=0, epoch=0
    )
    plan = Plan(order, batch_size=3, fetch_factor=2)
    assert [batch.tolist() for batch in plan_blocks(plan)] == [[0, 0, 0], [1, 1, 2]]


def test_rows_drawn_twice_have_one_block():
    strategy = scd.BlockWeightedSampling(4, weights=[1, 1, 5, 1], total_size=32)
    plan = Plan(strategy.order(range(4), seed=0, epoch=0), batch_size=8, fetch_factor=4)
    blocks = np.concatenate(list(plan_blocks(plan)))
    rows = np.concatenate(list(plan_labels(plan, np.arange(4))))
    assert len(np.unique(np.stack([rows, blocks]), axis=1).T) == len(np.unique(rows))


@pytest.mark.parametrize("rank", [0, 1])
def test_blocks_on_a_rank_are_those_of_the_whole_epoch(rank):
    order = BlockShuffling(4).order(range(200), seed=0, epoch=0)
    sizes = {"batch_size": 16, "fetch_factor": 3}
    whole = {tuple(b) for b in plan_blocks(Plan(order, **sizes))}
    mine = [
        tuple(b) for b in plan_blocks(Plan(order, **sizes, rank=rank, world_size=2))
    ]
    assert mine
    assert set(mine) <= whole


def test_distinct_blocks_of_minibatches_of_any_length():
    batches = [np.array([3, 1, 3]), np.array([], int), np.array([3]), np.arange(9)]
    assert distinct_blocks(batches).tolist() == [2, 0, 1, 9]
    assert distinct_blocks([np.array([], int)]).tolist() == [0]


def test_no_minibatches_have_no_blocks():
    assert distinct_blocks([]).shape == (0,)
