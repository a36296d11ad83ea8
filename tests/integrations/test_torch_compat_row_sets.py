"""The strategies of `scdataset` 0.3 take a RowSet as they take an array."""

import numpy as np
import pytest

from scdataset_core import RowSet, StateError

pytest.importorskip("scdataset_torch")
from scdataset_torch import compat, scDataset

N = 500
MASK = np.arange(N) % 3 == 1
ROWS, ARRAY = RowSet.of(N, MASK), np.flatnonzero(MASK)
WEIGHTS = np.arange(N) % 4 + 1.0

STRATEGIES = {
    "streaming": lambda rows: compat.Streaming(rows),
    "blocks": lambda rows: compat.BlockShuffling(8, rows),
    "weights_of_all": lambda rows: compat.BlockWeightedSampling(8, rows, WEIGHTS),
    "weights_of_listed": lambda rows: compat.BlockWeightedSampling(
        8, rows, WEIGHTS[: len(ARRAY)]
    ),
    "classes": lambda rows: compat.ClassBalancedSampling(np.arange(N) % 2, 8, rows),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_row_set_gives_the_rows_of_its_array(name):
    make = STRATEGIES[name]
    data = np.arange(N)
    np.testing.assert_array_equal(
        make(ROWS).get_indices(data, seed=3), make(ARRAY).get_indices(data, seed=3)
    )
    epochs = [
        np.concatenate(list(scDataset(data, make(rows), batch_size=16, seed=3)))
        for rows in (ROWS, ARRAY)
    ]
    np.testing.assert_array_equal(*epochs)


def test_a_set_over_other_rows_is_refused():
    strategy = compat.BlockShuffling(8, RowSet.of(N + 1, [1]))
    with pytest.raises(ValueError, match="over 501 rows, and there are 500"):
        strategy.get_indices(np.arange(N), seed=0)


def test_strategies_of_users_get_an_array():
    class Own(compat.SamplingStrategy):
        pass

    assert isinstance(Own(ROWS)._indices, np.ndarray)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_state_knows_the_rows_of_a_set(name):
    make, other = STRATEGIES[name], RowSet.of(N, np.roll(MASK, 1))
    data = np.arange(N)
    state = scDataset(data, make(ROWS), batch_size=16, seed=3).state_dict()
    scDataset(data, make(ARRAY), batch_size=16, seed=3).load_state_dict(state)
    with pytest.raises(StateError, match=r"another (strategy|number of rows)"):
        scDataset(data, make(other), batch_size=16, seed=3).load_state_dict(state)
