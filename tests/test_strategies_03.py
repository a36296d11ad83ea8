"""Strategies written for scdataset 0.3."""

import json

import numpy as np
import pytest

from scdataset_core import Loader, RowSet, StateError

DATA = np.arange(50)


class Reversed:
    """A strategy as 0.3 asks for it."""

    _shuffle_before_yield = False

    def __init__(self):
        self.calls = []

    def get_len(self, data_collection):
        return len(data_collection)

    def get_indices(self, data_collection, seed=None, rng=None):
        self.calls.append((data_collection, seed))
        return np.arange(len(data_collection))[::-1]


def test_rows_come_from_get_indices_once_an_epoch():
    strategy = Reversed()
    loader = Loader(DATA, strategy, batch_size=7, seed=5)
    assert len(loader) == 8
    assert strategy.calls == []
    for epoch in range(2):
        assert np.concatenate(list(loader)).tolist() == DATA[::-1].tolist()
        assert len(strategy.calls) == epoch + 1
    assert [seed for _, seed in strategy.calls] == [5, 1005]
    assert strategy.calls[0][0] is DATA


def test_shuffle_before_yield_is_honoured():
    strategy = Reversed()
    strategy._shuffle_before_yield = True
    rows = np.concatenate(list(Loader(DATA, strategy))).tolist()
    assert sorted(rows) == DATA.tolist()
    assert rows != DATA[::-1].tolist()


def test_strategies_of_scdataset_work():
    theirs = pytest.importorskip("scdataset")
    rows = np.concatenate(list(Loader(DATA, theirs.BlockShuffling(4), batch_size=8)))
    assert sorted(rows.tolist()) == DATA.tolist()


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (np.arange(40), "gave 40 rows and get_len says 50"),
        (np.arange(50) + 1, "gave row 50 at position 49 of the epoch; there are 50"),
        (np.arange(50.0), "1-D array of integers"),
    ],
)
def test_what_get_indices_gives_is_checked(listed, message):
    strategy = Reversed()
    strategy.get_indices = lambda data_collection, seed=None, rng=None: listed
    with pytest.raises(ValueError, match=message):
        list(Loader(DATA, strategy))


class Listed:
    """A strategy of some rows, which it holds in one attribute or another."""

    def __init__(self, **held):
        vars(self).update(held)

    def get_indices(self, data_collection, seed=None, rng=None):
        return np.arange(10)


ROWS = np.arange(0, 20, 2)


@pytest.mark.parametrize(
    ("held", "same", "other"),
    [
        pytest.param(ROWS, ROWS.copy(), ROWS + 1, id="array"),
        pytest.param(RowSet.of(50, ROWS), ROWS, RowSet.of(50, ROWS + 1), id="row_set"),
        pytest.param(np.int64(3), 3, np.int64(4), id="numpy_number"),
        pytest.param(np.True_, True, np.False_, id="numpy_bool"),
        pytest.param(np.array(["a", "b"]), np.array(["a", "b"]), ROWS, id="labels"),
    ],
)
def test_a_state_knows_the_attributes_of_a_strategy(held, same, other):
    state = json.loads(json.dumps(Loader(DATA, Listed(_held=held)).state_dict()))
    Loader(DATA, Listed(_held=same)).load_state_dict(state)
    with pytest.raises(StateError, match="another strategy"):
        Loader(DATA, Listed(_held=other)).load_state_dict(state)
