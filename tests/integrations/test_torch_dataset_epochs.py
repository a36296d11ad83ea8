"""LoaderDataset: which epoch an iteration is of, and where one goes on."""

import pickle

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")

from scdataset_torch import LoaderDataset

from scdataset_core import (
    Loader,
    StateError,
    Streaming,
    merge_states,
)
from tests.integrations.torch_datasets import by_worker, in_turn, listed, make_loader


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_each_iteration_is_the_next_epoch(num_workers, monkeypatch):
    dataset = LoaderDataset(make_loader())
    for epoch in range(3):
        got = listed(in_turn(dataset, num_workers, monkeypatch, base_seed=epoch))
        assert got == by_worker(make_loader(), 0, 1, num_workers, epoch)
        assert dataset.epoch == epoch


def test_the_same_base_seed_every_epoch_is_still_another_epoch(monkeypatch):
    dataset = LoaderDataset(make_loader())
    epochs = [listed(in_turn(dataset, 2, monkeypatch, 5)) for _ in range(3)]
    assert epochs == [by_worker(make_loader(), 0, 1, 2, epoch) for epoch in range(3)]


def test_two_iterations_at_once_are_two_epochs(monkeypatch):
    dataset = LoaderDataset(make_loader())
    first, second = (in_turn(dataset, 2, monkeypatch, seed) for seed in (1, 2))
    got = list(zip(first, second, strict=True))
    assert listed(a for a, _ in got) == by_worker(make_loader(), 0, 1, 2, 0)
    assert listed(b for _, b in got) == by_worker(make_loader(), 0, 1, 2, 1)


def test_an_abandoned_iteration_counts_as_an_epoch(monkeypatch):
    dataset = LoaderDataset(make_loader())
    abandoned = in_turn(dataset, 2, monkeypatch, 1)
    next(abandoned)
    got = listed(in_turn(dataset, 2, monkeypatch, 2))
    assert got == by_worker(make_loader(), 0, 1, 2, 1)


def test_set_epoch_starts_it_again(monkeypatch):
    dataset = LoaderDataset(make_loader())
    once = listed(in_turn(dataset, 2, monkeypatch, 1))
    dataset.set_epoch(0)
    assert listed(in_turn(dataset, 2, monkeypatch, 2)) == once
    monkeypatch.undo()
    assert listed(dataset) == by_worker(make_loader(), 0, 1, 0, 1)


def test_a_merged_state_is_gone_on_from_once(monkeypatch):
    loader = make_loader()
    reference = listed(make_loader())
    for _ in zip(iter(loader), range(5), strict=False):
        pass
    state = merge_states([loader.state_dict()])
    n_done = loader.state_dict()["yielded"]
    for num_workers in (0, 2):
        resumed = make_loader()
        resumed.load_state_dict(state)
        dataset = LoaderDataset(resumed)
        rest = listed(in_turn(dataset, num_workers, monkeypatch, 1))
        assert sorted(rest) == sorted(reference[n_done:])
        after = listed(in_turn(dataset, num_workers, monkeypatch, 2))
        assert after == by_worker(make_loader(), 0, 1, num_workers, 1)


def test_set_epoch_of_the_states_epoch_keeps_the_position():
    loader = make_loader()
    reference = listed(make_loader())
    iterator = iter(loader)
    for _ in range(5):
        next(iterator)
    state = merge_states([loader.state_dict()])
    for epoch, expected in ((0, reference[5:]), (1, None)):
        resumed = make_loader()
        resumed.load_state_dict(state)
        dataset = LoaderDataset(resumed)
        dataset.set_epoch(epoch)
        if expected is None:
            expected = by_worker(make_loader(), 0, 1, 0, 1)
        assert listed(dataset) == expected
        dataset.set_epoch(0)
        assert listed(dataset) == reference


def test_a_finished_merged_state_goes_on_with_the_next_epoch(monkeypatch):
    loader = make_loader()
    list(loader)
    finished = make_loader()
    finished.load_state_dict(merge_states([loader.state_dict()]))
    dataset = LoaderDataset(finished)
    assert dataset.epoch == 1
    got = listed(in_turn(dataset, 2, monkeypatch, 1))
    assert got == by_worker(make_loader(), 0, 1, 2, 1)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_state_after_follows_a_finished_merged_state(num_workers, monkeypatch):
    reference = LoaderDataset(make_loader())
    list(reference)
    loader = make_loader()
    loader.load_state_dict(reference.state_after(51))
    dataset = LoaderDataset(loader)
    batches = in_turn(dataset, num_workers, monkeypatch, 1)
    head = listed(next(batches) for _ in range(5))
    assert head == by_worker(make_loader(), 0, 1, num_workers, 1)[:5]
    loader.load_state_dict(dataset.state_after(5, num_workers))
    monkeypatch.undo()
    assert sorted(head + listed(loader)) == sorted(listed(reference))


def test_a_finished_state_loaded_in_the_dataset_yields_nothing_once():
    first = LoaderDataset(make_loader())
    list(first)
    dataset = LoaderDataset(make_loader())
    dataset.load_state_dict(first.state_dict())
    assert list(dataset) == []
    assert listed(dataset) == by_worker(make_loader(), 0, 1, 0, 1)


def test_state_dict_before_and_within_an_iteration():
    dataset = LoaderDataset(make_loader())
    assert dataset.state_dict()["yielded"] == 0
    iterator = iter(dataset)
    next(iterator)
    assert dataset.state_dict()["yielded"] == 1


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_main_process_has_no_state_of_what_workers_iterate(
    num_workers, monkeypatch
):
    dataset = LoaderDataset(make_loader())
    next(iter(dataset))
    assert dataset.state_dict()["yielded"] == 1
    dataset.set_epoch(0)
    batches = in_turn(dataset, num_workers, monkeypatch, 1)
    next(batches)
    monkeypatch.undo()
    with pytest.raises(StateError, match=r"state_after\(n_batches, num_workers\)"):
        dataset.state_dict()
    state = dataset.state_after(1, num_workers)
    for load in (dataset.load_state_dict, dataset.go_on):
        load(state)
        assert dataset.state_dict()["done"] == state["done"]
    iterator = iter(dataset)
    next(iterator)
    assert dataset.state_dict()["yielded"] == 1


def test_a_pickled_dataset_counts_its_own_epochs():
    dataset = LoaderDataset(make_loader())
    list(dataset)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.epoch == 0
    list(copy)
    list(copy)
    assert (copy.epoch, dataset.epoch) == (2, 0)


def test_a_state_of_other_data_is_refused():
    state = LoaderDataset(make_loader(50)).state_dict()
    with pytest.raises(StateError, match="another data set"):
        LoaderDataset(make_loader(60)).load_state_dict(state)


def test_a_state_of_another_strategy_or_version_is_refused():
    state = LoaderDataset(make_loader()).state_dict()
    streaming = Loader(np.arange(203), Streaming(), batch_size=4, fetch_factor=3)
    with pytest.raises(StateError, match="another strategy"):
        LoaderDataset(streaming).load_state_dict(state)
    with pytest.raises(StateError, match="version 99"):
        LoaderDataset(make_loader()).load_state_dict({**state, "version": 99})


def test_an_unmerged_state_is_refused_by_workers(monkeypatch):
    loader = make_loader()
    next(iter(loader))
    resumed = make_loader()
    resumed.load_state_dict(loader.state_dict())
    dataset = LoaderDataset(resumed)
    with pytest.raises(StateError, match="merge_states"):
        list(in_turn(dataset, 2, monkeypatch, 1))


def test_state_after_more_batches_than_there_are_is_refused():
    dataset = LoaderDataset(make_loader())
    with pytest.raises(StateError, match="51 batches left in the epoch, not 52"):
        dataset.state_after(52)
