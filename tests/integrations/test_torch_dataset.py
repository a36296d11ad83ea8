"""LoaderDataset: the Loader's own batches, for any ranks and workers."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scdataset_torch")

from scdataset_torch import LoaderDataset
from scdataset_torch import dataset as dataset_module
from torch.utils.data import DataLoader

from scdataset_core import (
    BlockShuffling,
    Loader,
    StateError,
    Streaming,
    merge_states,
    open,
)
from tests.integrations.contract import InProcessContract
from tests.integrations.torch_contract import DataLoaderContract


class TestDataLoaderWithoutWorkers(DataLoaderContract, InProcessContract):
    """A `DataLoader` that reads in the main process."""


@dataclass
class FakeWorker:
    """Stands for the result of ``get_worker_info`` in a worker."""

    id: int
    num_workers: int
    seed: int


def in_turn(dataset, num_workers, monkeypatch, base_seed):
    """Yield a dataset's batches as a DataLoader with workers takes them."""
    if num_workers == 0:
        yield from dataset
        return
    iterators = []
    for worker in range(num_workers):
        info = FakeWorker(worker, num_workers, base_seed + worker)
        monkeypatch.setattr(dataset_module, "get_worker_info", lambda info=info: info)
        copy = dataset_module.LoaderDataset.__new__(LoaderDataset)
        vars(copy).update(vars(dataset))  # what a forked worker has
        iterators.append(iter(copy))
    while iterators:
        for iterator in list(iterators):
            try:
                yield next(iterator)
            except StopIteration:
                iterators.remove(iterator)


def make_loader(n=203, **options):
    return Loader(
        np.arange(n),
        BlockShuffling(4),
        **{"batch_size": 4, "fetch_factor": 3, "seed": 7, **options},
    )


def wrapped(loader, monkeypatch, rank=0, world_size=1):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    return LoaderDataset(loader)


def listed(batches):
    return [batch.tolist() for batch in batches]


def by_worker(loader, rank, world_size, num_workers, epoch):
    """Return the Loader's own batches of a rank, in the order of the adapter."""
    shards = []
    for worker in range(max(1, num_workers)):
        shard = loader.shard(rank, world_size, worker, max(1, num_workers))
        shard.set_epoch(epoch)
        shards.append(iter(shard))
    batches = []
    while shards:
        for shard in list(shards):
            try:
                batches.append(next(shard).tolist())
            except StopIteration:
                shards.remove(shard)
    return batches


@pytest.mark.filterwarnings("ignore:epoch . of this Loader has no minibatch")
@settings(max_examples=40)
@given(
    n=st.integers(1, 300),
    batch_size=st.integers(1, 9),
    fetch_factor=st.integers(1, 5),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 3),
    world_size=st.integers(1, 3),
    num_workers=st.integers(0, 3),
    uneven=st.sampled_from(["trim", "pad"]),
    drop_last=st.booleans(),
)
def test_batches_are_the_loaders_bit_for_bit(
    n,
    batch_size,
    fetch_factor,
    seed,
    epoch,
    world_size,
    num_workers,
    uneven,
    drop_last,
):
    loader = make_loader(
        n,
        batch_size=batch_size,
        fetch_factor=fetch_factor,
        seed=seed,
        uneven=uneven,
        drop_last=drop_last,
        read_ahead=0,
    )
    lengths = set()
    for rank in range(world_size):
        with pytest.MonkeyPatch.context() as patch:
            dataset = wrapped(loader, patch, rank, world_size)
            dataset.set_epoch(epoch)
            got = listed(in_turn(dataset, num_workers, patch, 11))
            patch.undo()
        assert got == by_worker(loader, rank, world_size, num_workers, epoch)
        assert len(got) == len(dataset)
        lengths.add(len(got))
    assert len(lengths) == 1


@pytest.mark.filterwarnings("ignore:epoch . of this Loader has no minibatch")
@settings(max_examples=40)
@given(
    n=st.integers(1, 300),
    fetch_factor=st.integers(1, 5),
    world_size=st.integers(1, 3),
    num_workers=st.integers(0, 4),
    share=st.floats(0, 1),
    epoch=st.integers(0, 2),
)
def test_state_after_is_what_the_workers_have_yielded(
    n, fetch_factor, world_size, num_workers, share, epoch
):
    loader = make_loader(n, fetch_factor=fetch_factor, read_ahead=0)
    heads, states = [], []
    n_taken = int(share * len(loader.shard(0, world_size)))
    for rank in range(world_size):
        with pytest.MonkeyPatch.context() as patch:
            dataset = wrapped(loader, patch, rank, world_size)
            dataset.set_epoch(epoch)
            batches = in_turn(dataset, num_workers, patch, 11)
            heads += [next(batches).tolist() for _ in range(n_taken)]
            patch.undo()
        states.append(dataset.state_after(n_taken, num_workers))
    assert all(state == states[0] for state in states)
    loader.load_state_dict(states[0])
    rest = listed(loader)
    whole = make_loader(n, fetch_factor=fetch_factor)
    whole.set_epoch(epoch)
    if loader.epoch == epoch:
        assert sorted(heads + rest) == sorted(listed(whole))
    else:  # the ranks had yielded all that "trim" leaves them
        assert n_taken == len(loader.shard(0, world_size))
        assert loader.epoch == epoch + 1


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


def test_a_dataloader_that_makes_batches_of_batches_warns():
    dataset = LoaderDataset(Loader(np.arange(8), batch_size=4))
    with pytest.warns(UserWarning, match="give it batch_size=None"):
        assert next(iter(DataLoader(dataset))).shape == (1, 4)


@pytest.mark.parametrize("batch_size", [1, None])
def test_a_loader_given_to_a_dataloader_says_what_to_do(batch_size):
    loader = Loader(np.arange(8), batch_size=4)
    with pytest.raises(TypeError, match=r"LoaderDataset\(loader\), batch_size=None"):
        next(iter(DataLoader(loader, batch_size=batch_size)))


@pytest.mark.filterwarnings("ignore:epoch . of this Loader has no minibatch")
@settings(max_examples=30)
@given(
    n=st.integers(1, 120),
    batch_size=st.integers(1, 9),
    fetch_factor=st.integers(1, 4),
    world_size=st.integers(1, 4),
    num_workers=st.integers(0, 3),
)
def test_evaluation_counts_every_row_once(
    n, batch_size, fetch_factor, world_size, num_workers
):
    rows, lengths = [], set()
    source = open(np.arange(n, dtype=np.float32)[:, None])
    loader = Loader(source, batch_size=batch_size, fetch_factor=fetch_factor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", str(world_size))
        for rank in range(world_size):
            patch.setenv("RANK", str(rank))
            dataset = LoaderDataset(loader, evaluation=True)
            batches = list(in_turn(dataset, num_workers, patch, base_seed=5))
            lengths |= {len(batches), len(dataset)}
            for batch in batches:
                rows += batch["index"].tolist()
                kept = batch["index"] >= 0
                assert (batch["X"][kept, 0] == batch["index"][kept]).all()
                assert kept.all() or not kept.any()
    assert sorted(row for row in rows if row >= 0) == list(range(n))
    n_batches = -(-n // batch_size)
    assert lengths == {-(-n_batches // world_size)}


def test_evaluation_of_what_has_no_index_says_so(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    loader = Loader(np.arange(12), batch_size=4)
    with pytest.raises(TypeError, match="the batch is a ndarray without one"):
        list(LoaderDataset(loader, evaluation=True))


def test_ranks_may_be_left_to_others(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    loader = Loader(np.arange(32), batch_size=4, fetch_factor=2)
    assert len(LoaderDataset(loader)) == 4
    assert len(list(LoaderDataset(loader, ranks=False))) == 8


def test_collate_makes_what_is_yielded():
    dataset = LoaderDataset(make_loader(), collate=np.sum)
    assert list(dataset) == [sum(batch) for batch in listed(make_loader())]


def test_a_pickled_dataset_counts_its_own_epochs():
    dataset = LoaderDataset(make_loader())
    list(dataset)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.epoch == 0
    list(copy)
    list(copy)
    assert (copy.epoch, dataset.epoch) == (2, 0)


def test_rank_and_world_come_from_the_environment(monkeypatch):
    dataset = wrapped(make_loader(), monkeypatch, rank=1, world_size=3)
    assert (dataset.rank, dataset.world_size) == (1, 3)
    monkeypatch.setenv("RANK", "2")
    assert dataset.rank == 1


def test_half_an_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match="RANK=None and WORLD_SIZE=2"):
        LoaderDataset(make_loader())


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


def test_wrong_counts_and_collate_are_refused():
    dataset = LoaderDataset(make_loader())
    with pytest.raises(ValueError, match="n_batches must be at least 0, got -1"):
        dataset.state_after(-1)
    with pytest.raises(ValueError, match="num_workers must be at least 0, got -2"):
        dataset.state_after(1, -2)
    with pytest.raises(TypeError, match="collate must be a function of a batch"):
        LoaderDataset(make_loader(), collate="dense")
