"""What all adapters ask of a Loader: checks with a next step, and resuming."""

import numpy as np
import pytest

from scdataset_core import BlockShuffling, Loader, StateError
from scdataset_core.adapters import check_loader, check_undivided, load_rest_of_epoch


def make_loader(**options):
    return Loader(np.arange(20), BlockShuffling(2), batch_size=2, **options)


def test_a_loader_passes_and_anything_else_is_named():
    check_loader(make_loader())
    words = r"train must be a scdataset_core\.Loader, got str; make one with Loader\("
    with pytest.raises(TypeError, match=words):
        check_loader("plates/*.h5ad", "train")


@pytest.mark.parametrize(
    ("shard", "divides", "passes"),
    [
        pytest.param({}, {}, True, id="undivided"),
        pytest.param({"rank": 1, "world_size": 2}, {}, False, id="rank"),
        pytest.param({"worker": 1, "num_workers": 2}, {}, False, id="worker"),
        pytest.param(
            {"rank": 1, "world_size": 2}, {"ranks": False}, True, id="ranks_not_ours"
        ),
        pytest.param(
            {"worker": 1, "num_workers": 2},
            {"workers": False},
            True,
            id="workers_not_ours",
        ),
    ],
)
def test_a_divided_loader_is_refused_where_the_adapter_divides(shard, divides, passes):
    loader = make_loader(**shard)
    if passes:
        check_undivided(loader, "give another", **divides)
        return
    with pytest.raises(ValueError, match=r"already divided: rank .*; give another"):
        check_undivided(loader, "give another", **divides)


@pytest.mark.parametrize("n_taken", [0, 3, 10])
def test_the_rest_of_an_epoch_comes_once_then_the_next(n_taken):
    first = make_loader()
    iterator = iter(first)
    for _ in range(n_taken):
        next(iterator)
    resumed = make_loader()
    load_rest_of_epoch(resumed, first.state_dict())
    assert len(list(resumed)) == 10 - n_taken
    assert resumed.epoch == 0
    assert len(list(resumed)) == 10
    assert resumed.epoch == 1


def test_a_state_of_something_else_is_refused():
    with pytest.raises(StateError, match="another seed"):
        load_rest_of_epoch(make_loader(), make_loader(seed=1).state_dict())
