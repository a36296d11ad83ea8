"""Plans: minibatches as a pure function, dealt to ranks and workers."""

import itertools
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core import BlockShuffling, Plan, Streaming

SIZES = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 12),
        "fetch_factor": st.integers(1, 6),
        "drop_last": st.booleans(),
    }
)


def minibatches(order, **sizes):
    """Return number and rows of each minibatch, in the order they are yielded."""
    found = []
    for fetch in Plan(order, **sizes).fetches():
        assert np.all(np.diff(fetch.rows) >= 0)
        arranged = np.empty_like(fetch.rows)
        arranged[fetch.places] = fetch.rows
        found += [
            (b.number, arranged[b.start : b.stop].tolist()) for b in fetch.batches
        ]
        assert sum(b.stop - b.start for b in fetch.batches) == len(fetch.rows)
    return found


@given(
    n=st.integers(1, 250),
    block_size=st.integers(1, 20),
    sizes=SIZES,
    world_size=st.integers(1, 5),
    num_workers=st.integers(1, 4),
    uneven=st.sampled_from(["trim", "pad"]),
    seed=st.integers(0, 3),
)
def test_ranks_and_workers_only_decide_who_yields_a_minibatch(
    n, block_size, sizes, world_size, num_workers, uneven, seed
):
    order = BlockShuffling(block_size).order(range(n), seed=seed, epoch=1)
    alone = dict(minibatches(order, **sizes))
    assert list(alone) == list(range(len(alone)))
    sizes = {**sizes, "uneven": uneven, "world_size": world_size}
    counts, numbers = [], []
    for rank in range(world_size):
        of_rank = []
        for worker in range(num_workers):
            shard = {"rank": rank, "worker": worker, "num_workers": num_workers}
            mine = minibatches(order, **sizes, **shard)
            assert len(mine) == len(Plan(order, **sizes, **shard))
            assert all(alone[number] == rows for number, rows in mine)
            of_rank += [number for number, _ in mine]
        in_order = minibatches(order, **sizes, rank=rank)
        assert sorted(of_rank) == sorted(number for number, _ in in_order)
        counts.append(len(of_rank))
        numbers += of_rank
    assert len(set(counts)) == 1
    plan = Plan(order, **sizes)
    n_yielded = sum(len(alone[number]) for number in numbers)
    assert n_yielded == n - plan.dropped + plan.repeated
    if uneven == "trim":
        assert len(set(numbers)) == len(numbers)
        assert plan.repeated == 0
        assert plan.dropped < world_size * sizes["batch_size"]
    else:
        assert set(numbers) == set(alone)
        assert plan.repeated < world_size * sizes["batch_size"]


@pytest.mark.parametrize("world_size", [2, 3])
def test_dealing_follows_the_rule(world_size):
    # 10 full fetches of 2 minibatches and a short one: see the module's description.
    order = Streaming().order(range(10 * 8 + 5), seed=0, epoch=0)
    n_full, factor = 10, 2
    rounds = n_full // world_size
    loose = list(range(rounds * world_size * factor, 22))
    loose = loose[: len(loose) // world_size * world_size]
    for rank in range(world_size):
        mine = minibatches(
            order, batch_size=4, fetch_factor=2, rank=rank, world_size=world_size
        )
        expected = list(
            itertools.chain.from_iterable(
                range(k * factor, (k + 1) * factor)
                for k in range(rank, rounds * world_size, world_size)
            )
        )
        expected += loose[rank::world_size]
        assert [number for number, _ in mine] == expected


def test_worker_takes_every_nth_fetch_of_its_rank():
    order = Streaming().order(range(42), seed=0, epoch=0)
    fetches = [
        [
            fetch.number
            for fetch in Plan(
                order, batch_size=2, fetch_factor=3, worker=w, num_workers=3
            ).fetches()
        ]
        for w in range(3)
    ]
    assert fetches == [[0, 3, 6], [1, 4], [2, 5]]


def test_pad_repeats_the_first_minibatches_of_the_epoch():
    order = BlockShuffling(2).order(range(20), seed=0, epoch=0)
    alone = dict(minibatches(order, batch_size=4, fetch_factor=1))
    sizes = {"batch_size": 4, "fetch_factor": 1, "uneven": "pad", "world_size": 4}
    last = [minibatches(order, **sizes, rank=rank)[-1] for rank in range(4)]
    assert last == [(4, alone[4]), (0, alone[0]), (1, alone[1]), (2, alone[2])]
    assert Plan(order, **sizes).repeated == 12


def test_pad_with_fewer_minibatches_than_ranks():
    order = Streaming().order(range(3), seed=0, epoch=0)
    sizes = {"batch_size": 4, "uneven": "pad", "world_size": 5}
    assert [minibatches(order, **sizes, rank=r) for r in range(5)] == [
        [(0, [0, 1, 2])]
    ] * 5


@given(n=st.integers(1, 120), sizes=SIZES, skip=st.integers(0, 60))
def test_skipping_goes_on_in_the_middle_of_a_fetch(n, sizes, skip):
    order = BlockShuffling(3).order(range(n), seed=0, epoch=0)
    whole = minibatches(order, **sizes)
    plan = Plan(order, **sizes)
    rest = [b.number for f in plan.fetches(skip=skip) for b in f.batches]
    assert rest == [number for number, _ in whole][skip:]


def test_whole_fetches_hold_what_others_yield():
    order = BlockShuffling(3).order(range(40), seed=0, epoch=0)
    sizes = {"batch_size": 4, "fetch_factor": 5, "world_size": 2, "rank": 1}
    for fetch in Plan(order, **sizes).fetches(whole=True):
        assert len(fetch.rows) == 20
        assert all(b.stop - b.start == 4 for b in fetch.batches)


def test_streaming_is_not_shuffled_unless_asked():
    order = Streaming().order(range(10), seed=0, epoch=0)
    assert [rows for _, rows in minibatches(order, batch_size=4)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    order = Streaming(shuffle=True).order(range(1000), seed=0, epoch=0)
    first = minibatches(order, batch_size=10, fetch_factor=2)[0][1]
    assert set(first) <= set(range(20))
    assert first != sorted(first)


def test_fetches_are_shuffled_differently():
    order = Streaming(shuffle=True).order(range(200), seed=0, epoch=0)
    found = minibatches(order, batch_size=50, fetch_factor=1)
    within = {tuple(row - 50 * number for row in rows) for number, rows in found}
    assert len(within) == 4


def test_a_plan_over_a_billion_rows_takes_kilobytes():
    order = BlockShuffling(16).order(range(10**9), seed=0, epoch=0)
    tracemalloc.start()
    plan = Plan(order, batch_size=64, fetch_factor=16, rank=3, world_size=8)
    next(plan.fetches(skip=10**6))
    length = len(plan)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length == 10**9 // 64 // 8 + 1 or length == 10**9 // 64 // 8
    assert peak < 1_000_000
    assert sys.getsizeof(plan) < 10_000


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"fetch_factor": -1}, "fetch_factor must be at least 1, got -1"),
        ({"rank": 2, "world_size": 2}, "rank must be below world_size"),
        ({"worker": 3}, "worker must be below num_workers"),
        ({"rank": -1}, "rank must be at least 0"),
        ({"uneven": "drop"}, 'uneven must be "trim" or "pad"'),
    ],
)
def test_refuses_bad_sizes(sizes, message):
    order = Streaming().order(range(9), seed=0, epoch=0)
    with pytest.raises(ValueError, match=message):
        Plan(order, **sizes)


def test_repr_says_what_is_left_out():
    order = Streaming().order(range(100), seed=0, epoch=0)
    text = repr(Plan(order, batch_size=8, world_size=3))
    assert "4 batches" in text
    assert "4 rows dropped" in text
