"""States of another loader or of missing ranks: refused, with what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core import BlockShuffling, Loader, StateError, Streaming, merge_states
from tests.state_loaders import make


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.arange(104)}, "another data set"),
        ({"strategy": BlockShuffling(5)}, "another strategy"),
        ({"strategy": Streaming()}, "another strategy"),
        ({"seed": 1}, "another seed"),
        ({"batch_size": 9}, "another batch_size"),
        ({"fetch_factor": 4}, "another fetch_factor"),
        ({"drop_last": True}, "another drop_last"),
        ({"uneven": "pad"}, "another uneven"),
        ({"rank": 1, "world_size": 2}, "merge_states"),
        ({"num_workers": 2}, "merge the states"),
    ],
)
def test_a_state_of_something_else_is_refused(changes, message):
    with pytest.raises(StateError, match=message):
        make(**changes).load_state_dict(make().state_dict())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: {}, "no version"),
        (lambda state: None, "no state"),
        (lambda state: {**state, "version": 99}, "version 99"),
        (lambda state: {**state, "yielded": -1}, "damaged"),
        (lambda state: {**state, "yielded": 1.5}, "yielded must be an integer"),
        (lambda state: {**state, "yielded": 10**6}, "yielded is 1000000 of"),
        (lambda state: json.dumps(state), r"is a dict.*json\.loads"),
        (lambda state: Path("state.json"), r"state\.json.*read the file"),
        (lambda state: {**state, "epoch": "3"}, "epoch must be an integer"),
        (lambda state: {**state, "done": [[0, 10**6]]}, "minibatches 0 to 1000000"),
        (lambda state: {**state, "done": [[-5, 2]]}, "minibatches -5 to 2"),
        (lambda state: {**state, "batch_size": 0}, "damaged"),
        (lambda state: {**state, "extra": 1}, "damaged"),
        (lambda state: {**state, "shard": {"rank": 5}}, "damaged"),
    ],
)
def test_a_damaged_state_is_refused(damage, message):
    loader = make()
    with pytest.raises(StateError, match=message):
        loader.load_state_dict(damage(loader.state_dict()))


def test_missing_ranks_are_named():
    states = [make(rank=r, world_size=3).state_dict() for r in (0, 2)]
    with pytest.raises(StateError, match="missing: rank 1 worker 0"):
        merge_states(states)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (lambda: [], "got none"),
        (
            lambda: [make(rank=r, world_size=2).state_dict() for r in (0, 1, 1)],
            "more than once",
        ),
        (
            lambda: [
                make(world_size=2).state_dict(),
                make(num_workers=2).state_dict(),
            ],
            "different",
        ),
        (
            lambda: [
                make(world_size=2).state_dict(),
                make(world_size=2, rank=1, seed=3).state_dict(),
            ],
            "another seed",
        ),
        (
            lambda: [
                make(world_size=2).state_dict(),
                {**make(world_size=2, rank=1).state_dict(), "epoch": 1},
            ],
            "state 1 is of epoch 1",
        ),
        (
            lambda: [
                merge_states([make().state_dict()]),
                make().state_dict(),
            ],
            "a merged state stands among",
        ),
    ],
)
def test_states_that_do_not_belong_together_are_refused(states, message):
    with pytest.raises(StateError, match=message):
        merge_states(states())


def test_a_loaded_state_of_one_rank_is_not_divided():
    loader = make()
    next(iter(loader))
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    with pytest.raises(StateError, match="before dividing"):
        resumed.shard(0, 2)


def test_a_state_of_other_data_says_which_data_it_is_of(plates):
    one, three = scd.open(plates / "plate1.h5ad"), scd.open(str(plates / "*.h5ad"))
    state = Loader(one).state_dict()
    with pytest.raises(
        StateError,
        match=r"400 cells x 300 genes in 1 file \(.*, not 1,200 cells x 300 genes in 3",
    ):
        Loader(three).load_state_dict(state)
    with pytest.raises(StateError, match=r"ndarray of shape \(7,\)"):
        Loader(three).load_state_dict(Loader(np.arange(7)).state_dict())
    del state["about"]  # of a release that did not say
    Loader(one).load_state_dict(state)


def test_states_that_are_missing_are_counted_and_some_are_named():
    loader = Loader(np.arange(2000), batch_size=1, world_size=100, num_workers=10)
    state = loader.state_dict()
    with pytest.raises(StateError, match="rank 1 worker 6, and 983 others"):
        merge_states([state])
    state["shard"]["world_size"] = 10**12  # as quick
    with pytest.raises(StateError, match="and 9,999,999,999,983 others"):
        merge_states([state])


def test_one_state_is_merged_in_a_list():
    with pytest.raises(TypeError, match=r"takes a list of states.*\[state\]"):
        merge_states(Loader(np.arange(7)).state_dict())
