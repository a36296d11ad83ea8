"""Shares of all ranks and workers at once: as the sum of each one's own."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.dealing import Dealing
from scdataset_core.ranges import union
from scdataset_core.shares import AllShares, Shard
from scdataset_core.sizes import Sizes

DEALINGS = st.builds(
    lambda n_rows, factor, uneven, done: Dealing(
        n_rows, Sizes(3, factor, uneven=uneven), union(done)
    ),
    st.integers(0, 400),
    st.integers(1, 6),
    st.sampled_from(["trim", "pad"]),
    st.lists(st.tuples(st.integers(0, 133), st.integers(0, 133)), max_size=4),
)


def list_numbers(share, skip=0):
    """Return the minibatches of a share, in the order in which they are yielded."""
    return [number for _, held in share.fetches(skip) for number in held]


@given(DEALINGS, st.integers(1, 5), st.integers(1, 4), st.data())
def test_all_shares_are_those_of_each_rank_and_worker(
    dealing, world_size, num_workers, data
):
    done = dealing.done.clip(max=dealing.n_batches)
    dealing = Dealing(dealing.n_rows, dealing.sizes, union(done))
    shares = AllShares(dealing.deal(world_size), num_workers)
    yielded = np.zeros((world_size, num_workers), np.int64)
    expected = []
    for rank in range(world_size):
        for worker in range(num_workers):
            share = dealing.share(Shard(rank, world_size, worker, num_workers))
            numbers = list_numbers(share)
            assert shares.n_batches[rank, worker] == share.n_batches == len(numbers)
            n = data.draw(st.integers(0, len(numbers)))
            yielded[rank, worker] = n
            assert list_numbers(share, skip=n) == numbers[n:]
            expected += [(number, number + 1) for number in numbers[:n]]
    assert shares.done_after(yielded).tolist() == union(expected).tolist()


@given(DEALINGS, st.integers(1, 5), st.integers(1, 4))
def test_workers_take_the_fetches_of_their_rank_in_turn(
    dealing, world_size, num_workers
):
    done = dealing.done.clip(max=dealing.n_batches)
    dealing = Dealing(dealing.n_rows, dealing.sizes, union(done))
    for rank in range(world_size):
        alone = list(dealing.share(Shard(rank, world_size)).fetches())
        for worker in range(num_workers):
            share = dealing.share(Shard(rank, world_size, worker, num_workers))
            assert list(share.fetches()) == alone[worker::num_workers]


def test_an_epoch_in_lockstep_is_one_range_whatever_its_length():
    dealing = Dealing(10**15, Sizes(64, 16))
    shares = AllShares(dealing.deal(1024), 8)
    yielded = np.full((1024, 8), 16 * 10**6)
    done = shares.done_after(yielded)
    assert done.tolist() == [[0, 1024 * 8 * 16 * 10**6]]
