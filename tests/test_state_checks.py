"""States that somebody edited or cut: refused with a `StateError`, or right."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scdataset_core as scd
from scdataset_core import StateError, merge_states
from tests.state_loaders import make


def nested(depth):
    held: dict[str, object] = {}
    for _ in range(depth):
        held = {"inner": held}
    return held


BAD_PARTS = [
    pytest.param("done", [[0.5, 1]], "done must hold integers, got 0.5", id="fraction"),
    pytest.param("done", [[True, 1]], "done must hold integers, got True", id="bool"),
    pytest.param("done", {"0": 1}, "done must be a list", id="dict"),
    pytest.param("done", [[0, 1, 2]], "damaged", id="three"),
    pytest.param("done", [[2**70, 1]], "damaged", id="huge_range"),
    pytest.param("epoch", 2**70, "epoch must be below", id="huge_epoch"),
    pytest.param("epoch", True, "epoch must be an integer", id="bool_epoch"),
    pytest.param("length", 10**40, "length must be below", id="huge_length"),
    pytest.param("seed", 2**70, "seed must fit into 64 bits", id="huge_seed"),
    pytest.param("seed", None, "seed must be an integer", id="no_seed"),
    pytest.param("strategy", nested(5000), "nested more than", id="deep"),
    pytest.param("strategy", "BlockShuffling", "strategy must be a dict", id="text"),
    pytest.param("data", 5, "data must be text", id="data"),
    pytest.param("about", ["a"], "about must be text", id="about"),
    pytest.param("drop_last", "no", "drop_last must be true or false", id="drop_last"),
    pytest.param("batch_size", 10**30, "batch_size must be below", id="huge_batch"),
    pytest.param("version", [1], "version", id="version"),
    pytest.param("version", np.arange(2), "version", id="versions"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_PARTS)
def test_a_part_of_another_kind_is_refused(name, value, message):
    state = {**make().state_dict(), name: value}
    with pytest.raises(StateError, match=message):
        make().load_state_dict(state)


@pytest.mark.parametrize("name", sorted(set(make().state_dict()) - {"about"}))
def test_a_part_that_is_missing_is_named(name):
    state = make().state_dict()
    del state[name]
    with pytest.raises(StateError, match=name):
        make().load_state_dict(state)
    with pytest.raises(StateError, match=name):
        merge_states([state])


def test_a_state_that_claims_a_billion_ranks_is_refused_at_once():
    state = make().state_dict()
    state["shard"]["world_size"] = 10**9
    with pytest.raises(StateError, match=r"missing: rank 1 worker 0, .* others"):
        merge_states([state])
    state["shard"]["num_workers"] = 10**30
    with pytest.raises(StateError, match=r"damaged|missing"):
        merge_states([state])


def test_sizes_that_no_run_has_are_refused_before_anything_is_listed():
    sizes = {"length": 2 * 10**9, "batch_size": 1, "fetch_factor": 3 * 10**9}
    state = {**make().state_dict(), **sizes}
    for other in (state, {**state, "shard": None}):
        with pytest.raises(StateError, match="another number of rows in an epoch"):
            make().load_state_dict(other)
    with pytest.raises(StateError, match=r"damaged: 2,000,000,000 .* no run has so"):
        merge_states([state])
    apart = [
        {
            **make(rank=rank, world_size=2).state_dict(),
            **{"length": 2**40, "batch_size": 1, "fetch_factor": 1},
            "yielded": rank * 2**38,
        }
        for rank in range(2)
    ]
    with pytest.raises(StateError, match="fetches behind others; save the states"):
        merge_states(apart)


def test_numbers_of_numpy_are_numbers_and_endless_nesting_is_damage():
    state = make().state_dict()
    make().load_state_dict({**state, "epoch": np.int64(3), "seed": np.int64(0)})
    assert merge_states([{**state, "epoch": np.int64(3)}])["epoch"] == 3
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(StateError, match="damaged"):
        merge_states([{**state, "epoch": nested}])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0, 1, 2, 13, 103, 2**31, 2**63 - 1, 2**63])
    | st.floats()
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


def places(state):
    """Return the keys of a state, and of its shard and strategy, as paths."""
    inner = [(part, key) for part in ("shard", "strategy") for key in state[part]]
    return [*((key,) for key in state), *inner]


@given(data=st.data())
@settings(max_examples=settings().max_examples)
def test_a_state_with_any_part_replaced_is_refused_or_goes_on(data):
    state = json.loads(json.dumps(make().state_dict()))
    *outer, key = data.draw(st.sampled_from(places(state)))
    held = state[outer[0]] if outer else state
    held[key] = data.draw(VALUES)
    given = copy.deepcopy(state)
    loader = make()
    try:
        loader.load_state_dict(state)
    except StateError:
        pass
    else:
        for _ in zip(loader, range(3), strict=False):
            pass
    try:
        merged = merge_states([state])
    except StateError:
        pass
    else:
        assert scd.merge_states([merged]) == merged
    assert repr(state) == repr(given)
