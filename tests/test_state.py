"""States: exact resume anywhere, on other ranks and workers, again and again."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdataset_core import BlockShuffling, Loader, merge_states
from tests.state_loaders import make


def stored(state):
    return json.loads(json.dumps(state))


def lists(iterator):
    return [tuple(batch.tolist()) for batch in iterator]


@given(
    n=st.integers(1, 90),
    batch_size=st.integers(1, 9),
    fetch_factor=st.integers(1, 5),
    seed=st.integers(0, 3),
)
@settings(max_examples=settings().max_examples // 2)
def test_resumes_at_every_possible_point(n, batch_size, fetch_factor, seed):
    def make():
        return Loader(
            np.arange(n),
            BlockShuffling(3),
            batch_size=batch_size,
            fetch_factor=fetch_factor,
            seed=seed,
            read_ahead=0,
        )

    whole = make()
    first, second = lists(whole), lists(whole)
    running = make()
    iterator = iter(running)
    for done in range(len(first) + 1):
        resumed = make()
        resumed.load_state_dict(stored(running.state_dict()))
        if done < len(first):
            assert resumed.epoch == 0
            assert lists(resumed) == first[done:]
        assert lists(resumed) == second
        if done < len(first):
            next(iterator)


def test_states_of_numpy_numbers_are_json():
    loader = Loader(
        np.arange(50),
        BlockShuffling(np.int64(4), drop_last=np.True_),
        batch_size=np.int32(5),
        fetch_factor=np.int16(3),
        seed=np.uint64(7),
        rank=np.int64(1),
        world_size=np.int64(2),
        num_workers=np.int8(1),
    )
    assert stored(loader.state_dict()) == loader.state_dict()
    assert json.dumps(loader.shard(np.int64(0), 2).state_dict())


TOPOLOGY = st.tuples(st.integers(1, 4), st.integers(1, 3))


@pytest.mark.filterwarnings("ignore:epoch 0 of this Loader has no minibatch")
@given(
    n=st.integers(1, 160),
    batch_size=st.integers(1, 8),
    fetch_factor=st.integers(1, 5),
    uneven=st.sampled_from(["trim", "pad"]),
    drop_last=st.booleans(),
    topologies=st.lists(TOPOLOGY, min_size=1, max_size=4),
    data=st.data(),
)
@settings(max_examples=2 * settings().max_examples)
def test_merged_states_resume_on_any_number_of_ranks_and_workers(
    n, batch_size, fetch_factor, uneven, drop_last, topologies, data
):
    def make():
        return Loader(
            np.arange(n),
            BlockShuffling(4),
            batch_size=batch_size,
            fetch_factor=fetch_factor,
            uneven=uneven,
            drop_last=drop_last,
            read_ahead=0,
        )

    whole = lists(make())
    yielded = []
    merged = None
    for turn, (world_size, num_workers) in enumerate(topologies):
        states, counts = [], []
        for rank in range(world_size):
            counts.append(0)
            for worker in range(num_workers):
                loader = make()
                if merged is not None:
                    loader.load_state_dict(merged)
                loader = loader.shard(rank, world_size, worker, num_workers)
                loader.set_epoch(0)
                iterator = iter(loader)
                counts[-1] += len(iterator)
                last = turn == len(topologies) - 1
                n_now = (
                    len(iterator) if last else data.draw(st.integers(0, len(iterator)))
                )
                yielded += [tuple(next(iterator).tolist()) for _ in range(n_now)]
                states.append(stored(loader.state_dict()))
                iterator.close()
        assert len(set(counts)) == 1
        merged = stored(merge_states(states))
    if uneven == "pad":
        assert set(yielded) == set(whole)
    else:
        assert len(set(yielded)) == len(yielded)
        assert set(yielded) <= set(whole)
        most = max(world_size for world_size, _ in topologies)
        assert len(whole) - len(yielded) < most


def test_one_rank_merged_goes_on_in_the_same_order():
    loader = make()
    first, second = lists(loader), lists(loader)
    loader.set_epoch(0)
    iterator = iter(loader)
    for _ in range(5):
        next(iterator)
    resumed = make()
    resumed.load_state_dict(merge_states([loader.state_dict()]))
    assert lists(resumed) == first[5:]
    assert lists(resumed) == second


def test_a_finished_state_goes_on_with_the_next_epoch():
    loader = make()
    lists(loader)
    second = lists(make().shard()) and lists(loader)
    resumed = make()
    loader.set_epoch(0)
    lists(loader)
    resumed.load_state_dict(stored(loader.state_dict()))
    assert resumed.epoch == 0
    assert lists(resumed) == second
    assert resumed.epoch == 1


def test_set_epoch_keeps_the_position_of_a_loaded_state_only():
    loader = make()
    first = lists(loader)
    loader.set_epoch(0)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    resumed.set_epoch(0)
    assert lists(resumed) == first[1:]
    resumed.set_epoch(0)
    assert lists(resumed) == first
    resumed.load_state_dict(state)
    resumed.set_epoch(5)
    assert resumed.epoch == 5
    assert len(lists(resumed)) == len(first)


def test_a_finished_state_held_by_set_epoch_yields_nothing_once():
    loader = make()
    lists(loader)
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    resumed.set_epoch(0)
    assert lists(resumed) == []
    assert resumed.epoch == 0
    assert len(lists(resumed)) == 13
    assert resumed.epoch == 1


def test_the_state_is_of_the_latest_iterator_and_of_nothing_read_ahead():
    loader = make()
    old = iter(loader)
    next(old)
    new = iter(loader)
    next(new)
    next(new)
    with pytest.warns(UserWarning, match="two iterators of one Loader"):
        next(old)
    assert (loader.state_dict()["epoch"], loader.state_dict()["yielded"]) == (1, 2)


def test_finished_ranks_make_a_finished_state():
    shards = [make(world_size=2, rank=rank) for rank in range(2)]
    for shard in shards:
        lists(shard)
    merged = merge_states([shard.state_dict() for shard in shards])
    resumed = make()
    resumed.load_state_dict(merged)
    assert len(lists(resumed)) == 13
    assert resumed.epoch == 1


def test_merging_a_merged_state_alone_changes_nothing():
    merged = merge_states([make().state_dict()])
    assert merge_states([merged]) == merged


def test_an_unstarted_shard_carries_a_merged_state_on():
    loader = make()
    iterator = iter(loader)
    for _ in range(4):
        next(iterator)
    rest = lists(iterator)
    loader.set_epoch(0)
    iterator = iter(loader)
    for _ in range(4):
        next(iterator)
    target = make()
    target.load_state_dict(merge_states([loader.state_dict()]))
    halves = [lists(target.shard(rank, 2)) for rank in range(2)]
    assert len(halves[0]) == len(halves[1]) == len(rest) // 2
    assert set(halves[0] + halves[1]) <= set(rest)


def test_states_are_small_for_a_billion_rows():
    class Huge:
        def __len__(self):
            return 10**9

        def __getitem__(self, rows):
            return rows

    loader = Loader(Huge(), BlockShuffling(16), fetch_factor=64, rank=3, world_size=8)
    iterator = iter(loader)
    next(iterator)
    iterator.close()
    assert len(json.dumps(loader.state_dict())) < 1000


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("n_yielded", [3, 13])
def test_fresh_begins_at_the_first_batch_whatever_state_is_loaded(epoch, n_yielded):
    whole, loader = make(), make()
    loader.load_state_dict({**loader.state_dict(), "yielded": n_yielded})
    fresh = loader.fresh(epoch)
    assert fresh.epoch == epoch
    whole.set_epoch(epoch)
    assert lists(fresh) == lists(whole)
    assert len(lists(loader)) == (10 if n_yielded == 3 else 13)  # stands where it stood


def test_fresh_keeps_the_shard_and_is_at_the_same_epoch_by_default():
    loader = make().shard(1, 2, 1, 2)
    loader.set_epoch(4)
    first = lists(loader)
    fresh = loader.fresh()
    assert (fresh.rank, fresh.world_size, fresh.worker, fresh.num_workers) == (
        1,
        2,
        1,
        2,
    )
    assert lists(fresh) == first
    with pytest.raises(ValueError, match="epoch must be at least 0, got -1"):
        loader.fresh(-1)
