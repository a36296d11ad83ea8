"""scDataset divides its work among ranks and workers, and resumes."""

import json
import pickle
import sys

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
pytest.importorskip("scdataset")

import torch
from scdataset_torch import compat as new
from torch.utils.data import DataLoader

import scdataset_core as scd
from scdataset_core import StateError
from tests.integrations.compat_data import (
    DATA,
    every_strategy,
)


def test_seeds_repeat_and_epochs_differ():
    first, again, other = (
        new.scDataset(np.arange(105), new.BlockShuffling(4), 8, seed=seed)
        for seed in (1, 1, 2)
    )
    epochs = [np.concatenate(list(first)).tolist() for _ in range(2)]
    assert [np.concatenate(list(again)).tolist() for _ in range(2)] == epochs
    assert epochs[0] != epochs[1]
    assert np.concatenate(list(other)).tolist() != epochs[0]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_have_as_many_batches_and_leave_out_none(world_size):
    ranks = [
        new.scDataset(
            np.arange(105),
            new.BlockShuffling(4),
            8,
            fetch_factor=2,
            rank=rank,
            world_size=world_size,
            seed=1,
        )
        for rank in range(world_size)
    ]
    batches = [list(rank) for rank in ranks]
    assert {len(rank) for rank in batches} == {len(rank) for rank in ranks}
    assert len({len(rank) for rank in batches}) == 1
    rows = np.concatenate([np.concatenate(rank) for rank in batches])
    assert set(rows.tolist()) == set(range(105))


def test_it_takes_a_source_and_a_strategy_of_the_core(plates):
    source = scd.open(plates / "*.h5ad", obs=["drug"])
    dataset = new.scDataset(source, scd.BlockShuffling(8), 64)
    batch = next(iter(dataset))
    assert set(batch) == {"X", "obs", "index"}
    assert len(dataset) == len(list(dataset))


@every_strategy
def test_it_resumes_from_its_state(make):
    dataset = new.scDataset(DATA, make(new), 2, 3, seed=3)
    batches = iter(dataset)
    head = [next(batches).tolist()]
    state = json.loads(json.dumps(dataset.state_dict()))
    tail = [batch.tolist() for batch in batches]
    resumed = new.scDataset(DATA, make(new), 2, 3, seed=3)
    resumed.load_state_dict(state)
    assert [batch.tolist() for batch in resumed] == tail
    whole = [x.tolist() for x in new.scDataset(DATA, make(new), 2, 3, seed=3)]
    assert head + tail == whole


def test_a_state_of_another_strategy_is_refused():
    state = new.scDataset(DATA, new.Streaming([1, 2, 3]), 8, seed=3).state_dict()
    for other in (new.Streaming([1, 2, 4]), new.BlockShuffling(indices=[1, 2, 3])):
        with pytest.raises(StateError, match="another strategy"):
            new.scDataset(DATA, other, 8, seed=3).load_state_dict(state)


def test_it_pickles():
    dataset = pickle.loads(
        pickle.dumps(new.scDataset(DATA, new.BlockShuffling(4), 8, seed=2))
    )
    assert len(list(dataset)) == 14


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_workers_divide_the_work_and_every_epoch_is_new():
    dataset = new.scDataset(np.arange(105), new.BlockShuffling(4), 8, 2, seed=2)
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    epochs = [torch.cat(list(loader)).tolist() for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(105))] * 2
    assert epochs[0] != epochs[1]
