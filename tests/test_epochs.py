"""What holds for every epoch of a run: its order, its plan, its state."""

import pickle

import numpy as np
import pytest

from scdataset_core import BlockShuffling, StateError, Streaming
from scdataset_core.epochs import EpochOrders, Epochs
from scdataset_core.position import Position
from scdataset_core.shares import Shard
from scdataset_core.sizes import Sizes

N = 50  # 13 minibatches of 4
ALL = Shard()


class Counting(BlockShuffling):
    """Counts how often an order is made."""

    n_orders = 0

    def order(self, *args, **kwargs):
        type(self).n_orders += 1
        return super().order(*args, **kwargs)


def make_epochs(n=N, strategy=None, seed=1, **sizes):
    orders = EpochOrders(np.arange(n), strategy or BlockShuffling(4), seed)
    return Epochs(orders, Sizes(**{"batch_size": 4, "fetch_factor": 3, **sizes}))


def rows(epochs, position, shard=ALL):
    plan = epochs.plan(position, shard)
    return [row for fetch in plan.fetches() for row in fetch.rows.tolist()]


def test_the_order_of_an_epoch_is_made_once_while_it_lasts(monkeypatch):
    monkeypatch.setattr(Counting, "n_orders", 0)
    orders = EpochOrders(np.arange(N), Counting(4), seed=0)
    first = orders.order(0)
    assert orders.order(0) is first
    assert Counting.n_orders == 1
    orders.order(1)
    orders.order(0)  # only the latest is kept
    assert Counting.n_orders == 3


def test_orders_pickle_without_what_they_keep():
    orders = EpochOrders(range(10**6), Streaming(np.arange(10**4)), seed=0)
    before = len(pickle.dumps(orders))
    orders.order(0)
    pickled = pickle.dumps(orders)
    assert len(pickled) == before
    again = pickle.loads(pickled)
    assert again.order(3).rows(0, 9).tolist() == orders.order(3).rows(0, 9).tolist()


def test_shards_divide_an_epoch():
    epochs = make_epochs(uneven="pad")
    shards = [Shard(rank, 2) for rank in range(2)]
    left, right = (rows(epochs, Position(0), shard) for shard in shards)
    assert set(left + right) == set(range(N)) == set(rows(epochs, Position(0)))


def test_a_state_leads_back_to_where_it_was_taken():
    epochs, shard = make_epochs(), Shard()
    state = epochs.state(Position(2, yielded=5), shard)
    start = epochs.start_from(state, shard)
    assert start.is_loaded
    assert not start.is_merged
    assert epochs.first_position(start, shard) == Position(2, yielded=5)


def test_after_a_finished_epoch_the_next_one_begins_unless_it_is_held():
    epochs, shard = make_epochs(), Shard()
    start = epochs.start_from(epochs.state(Position(2, yielded=13), shard), shard)
    assert epochs.first_position(start, shard) == Position(3)
    held = start.at_epoch(2)
    assert epochs.first_position(held, shard) == Position(2, yielded=13)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        pytest.param({"n": 51}, "another data set", id="data"),
        pytest.param({"strategy": Streaming()}, "another strategy", id="strategy"),
        pytest.param({"seed": 2}, "another seed", id="seed"),
        pytest.param({"batch_size": 5}, "another batch_size", id="batch_size"),
    ],
)
def test_a_state_of_another_run_is_refused(other, words):
    state = make_epochs(**other).state(Position(0), Shard())
    with pytest.raises(StateError, match=words):
        make_epochs().start_from(state, Shard())


def test_a_state_of_another_shard_is_refused():
    epochs = make_epochs()
    state = epochs.state(Position(0), Shard(0, 2))
    with pytest.raises(StateError, match="merge_states"):
        epochs.start_from(state, Shard(1, 2))


def test_an_epoch_without_a_minibatch_says_why():
    epochs = make_epochs(3, BlockShuffling(4, drop_last=True))
    with pytest.warns(UserWarning, match="a block is larger than the data"):
        epochs.warn_if_empty(0, 1, stacklevel=1)
    with pytest.warns(UserWarning, match="epoch 0 of this Loader has no minibatch"):
        make_epochs(3, drop_last=True).warn_if_empty(0, 1, stacklevel=1)


def test_a_strategy_that_may_be_empty_is_not_warned_of():
    class MayBeEmpty(BlockShuffling):
        may_be_empty = True

    make_epochs(3, MayBeEmpty(4, drop_last=True)).warn_if_empty(0, 1, stacklevel=1)
