"""LoaderDataset: the Loader's own batches, for any ranks and workers."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scdataset_torch")

from scdataset_torch import LoaderDataset, to_tensors
from torch.utils.data import DataLoader

import scdataset_core as scd
from scdataset_core import (
    Loader,
    open,
)
from scdataset_core.hook_epoch import find_hook_epoch
from tests.integrations.contract import InProcessContract
from tests.integrations.torch_contract import DataLoaderContract
from tests.integrations.torch_datasets import by_worker, in_turn, listed, make_loader


class TestDataLoaderWithoutWorkers(DataLoaderContract, InProcessContract):
    """A `DataLoader` that reads in the main process."""


def wrapped(loader, monkeypatch, rank=0, world_size=1):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    return LoaderDataset(loader)


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


@pytest.mark.parametrize("output", [None, "anndata"])
def test_evaluation_of_what_has_no_index_is_refused_on_several_ranks(
    output, monkeypatch
):
    data = np.arange(12.0)[:, None]
    loader = Loader(data if output is None else open(data), batch_size=4, output=output)
    assert len(LoaderDataset(loader, evaluation=True)) == 3
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"batches of \w+ have none; use the dict"):
        LoaderDataset(loader, evaluation=True)


def test_evaluation_of_what_a_hook_makes_says_so_when_it_comes(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")

    def listed(make):
        loader = Loader(np.arange(12), batch_size=4, batch_transform=make)
        return list(LoaderDataset(loader, evaluation=True))

    with pytest.raises(TypeError, match="the batch is a ndarray without one"):
        listed(lambda rows: rows + 1)
    assert listed(lambda rows: {"index": rows})[-1]["index"].tolist() == [-1] * 4


def test_ranks_may_be_left_to_others(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    loader = Loader(np.arange(32), batch_size=4, fetch_factor=2)
    assert len(LoaderDataset(loader)) == 4
    assert len(list(LoaderDataset(loader, ranks=False))) == 8


def test_collate_makes_what_is_yielded():
    dataset = LoaderDataset(make_loader(), collate=np.sum)
    assert list(dataset) == [sum(batch) for batch in listed(make_loader())]


def test_a_batch_that_collate_fails_on_is_not_yielded():
    calls = []

    def fail_once(batch):
        calls.append(batch)
        if len(calls) == 3:
            raise ValueError("once")
        return batch

    dataset = LoaderDataset(make_loader(), collate=fail_once)
    batches, taken = iter(dataset), list[list[int]]()
    with pytest.raises(ValueError, match="once"):
        taken.extend(batch.tolist() for batch in batches)
    resumed = LoaderDataset(make_loader())
    resumed.load_state_dict(dataset.state_dict())
    whole = listed(make_loader())
    assert taken == whole[:2]
    assert listed(resumed) == listed(batches) == whole[2:]


def test_collate_ends_no_epoch_and_knows_which_it_is():
    dataset = LoaderDataset(make_loader(), collate=lambda batch: next(iter([])))
    with pytest.raises(RuntimeError, match="StopIteration was raised"):
        list(dataset)
    dataset = LoaderDataset(make_loader(), collate=lambda batch: find_hook_epoch())
    assert [set(dataset), set(dataset)] == [{0}, {1}]


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


def test_wrong_counts_and_collate_are_refused():
    dataset = LoaderDataset(make_loader())
    with pytest.raises(ValueError, match="n_batches must be at least 0, got -1"):
        dataset.state_after(-1)
    with pytest.raises(ValueError, match="num_workers must be at least 0, got -2"):
        dataset.state_after(1, -2)
    with pytest.raises(
        TypeError, match=r"function to_tensors.*to_tensors\(\) makes one"
    ):
        LoaderDataset(make_loader(), collate=to_tensors)
    with pytest.raises(TypeError, match="collate must be a function of a batch"):
        LoaderDataset(make_loader(), collate="dense")


@pytest.mark.parametrize("wrap", [list, DataLoader])
def test_progress_sees_what_is_read_in_this_process(wrap):
    loader = Loader(open(np.ones((60, 4), np.float32)), batch_size=10)
    dataset = LoaderDataset(loader)
    assert getattr(dataset, "stats", 0) is None
    shown = dataset if wrap is list else DataLoader(dataset, batch_size=None)
    out = io.StringIO()
    assert len(list(scd.progress(shown, file=out))) == 6
    assert "MB/s" in out.getvalue()
    assert "loading" not in out.getvalue()
    stats = dataset.stats
    assert stats is not None
    assert stats.n_cells == 60


def test_progress_sees_no_more_than_workers_tell():
    dataset = LoaderDataset(Loader(open(np.ones((60, 4), np.float32)), batch_size=10))
    assert len(list(dataset)) == 6
    in_worker = DataLoader(dataset, batch_size=None, num_workers=1)
    assert len(list(in_worker)) == 6
    assert dataset.stats is None
