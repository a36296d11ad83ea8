"""Every kind of strategy gives an order, and what is none is refused."""

import numpy as np
import pytest

from scdataset_core import BlockShuffling, Streaming
from scdataset_core.strategy_orders import order_of


class OwnOrder:
    shuffle = False

    def __init__(self, rows):
        self._rows = np.asarray(rows)

    def __len__(self):
        return len(self._rows)

    def rows(self, start, stop):
        return self._rows[start:stop]


class Backwards:
    """A strategy of a user's own."""

    def order(self, source, *, seed, epoch):
        return OwnOrder(np.arange(len(source))[::-1])


class Legacy:
    """A strategy as in scdataset 0.3."""

    def get_indices(self, data_collection, seed=None, rng=None):
        return np.arange(len(data_collection)) * 2 % len(data_collection)


class Outside:
    def order(self, source, *, seed, epoch):
        return OwnOrder([0, len(source)])


def rows(strategy, n=7):
    order = order_of(strategy, np.arange(n), seed=0, epoch=0)
    return order.rows(0, len(order)).tolist()


def test_strategies_of_this_library_of_users_and_of_03():
    assert rows(Streaming()) == [0, 1, 2, 3, 4, 5, 6]
    assert sorted(rows(BlockShuffling(2))) == list(range(7))
    assert rows(Backwards()) == [6, 5, 4, 3, 2, 1, 0]
    assert rows(Legacy()) == [0, 2, 4, 6, 1, 3, 5]


def test_rows_that_the_source_lacks_are_refused_when_they_are_taken():
    with pytest.raises(ValueError, match="Outside gave row 7 at position 1"):
        rows(Outside())


def test_a_class_in_place_of_an_instance():
    with pytest.raises(TypeError, match=r"give an instance of it: BlockShuffling\("):
        rows(BlockShuffling)


@pytest.mark.parametrize("thing", ["shuffle", 16, None, object()])
def test_what_is_no_strategy_says_what_one_has(thing):
    with pytest.raises(TypeError, match=r"must have a method order\(source"):
        rows(thing)
