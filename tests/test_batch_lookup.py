"""Minibatches by number: those of an iteration, from any thread, read once."""

import multiprocessing
import pickle
import threading
from collections import Counter

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core import BlockShuffling, Loader

DATA = np.arange(1000, dtype=np.int64)


def same(one, other):
    """Whether two batches hold the same values of the same types."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        return all(same(one[name], other[name]) for name in one)
    if hasattr(one, "indptr"):
        parts = ("data", "indices", "indptr")
        return all(same(getattr(one, p), getattr(other, p)) for p in parts)
    return one.dtype == other.dtype and np.array_equal(one, other)


def counting():
    """Return a fetch_callback, and how often each row was read by it."""
    n_read: Counter[int] = Counter()

    def read(collection, rows):
        n_read.update(rows.tolist())
        return collection[rows]

    return read, n_read


HOOKS = {
    "none": {},
    "fetch": {"fetch_transform": lambda fetched: fetched * 2},
    "batch": {"batch_transform": lambda batch: batch + 1},
    "callback": {"batch_callback": lambda fetched, places: fetched[places][::-1]},
}


@pytest.mark.parametrize("hooks", HOOKS)
@pytest.mark.parametrize("drop_last", [False, True])
def test_gives_what_an_iteration_gives(hooks, drop_last):
    loader = Loader(
        DATA,
        BlockShuffling(4),
        batch_size=7,
        fetch_factor=5,
        drop_last=drop_last,
        **HOOKS[hooks],
    )
    for epoch in range(2):
        batches = list(loader)
        for number in [3, 0, len(batches) - 1, *range(len(batches))]:
            assert same(loader.batch(number), batches[number])
            assert same(loader.batch(number, epoch), batches[number])


@pytest.mark.parametrize("output", [None, "dense", "padded"])
def test_gives_the_dicts_of_a_source(plates, output):
    source = scd.open(str(plates / "*.h5ad"), obs=["drug"], x=["X", "layers/counts"])
    loader = Loader(source, batch_size=50, fetch_factor=3, output=output)
    batches = list(loader)
    for number, batch in enumerate(batches):
        got = loader.batch(number)
        assert type(got["obs"]) is dict
        assert same(got, batch)


def test_a_batch_that_was_changed_is_not_given_again(plates):
    source = scd.open(str(plates / "plate1.h5ad"), obs=["drug"])
    loader = Loader(source, batch_size=50)
    first = next(iter(loader))
    changed = loader.batch(0)
    changed["X"].data[:] = -1
    changed["obs"]["drug"][:] = -1
    assert same(loader.batch(0), first)


def test_gives_anndata(plates):
    source = scd.open(str(plates / "plate1.h5ad"), obs=["drug"])
    loader = Loader(source, batch_size=50, output="anndata")
    for number, batch in enumerate(loader):
        got = loader.batch(number)
        assert (got.X != batch.X).nnz == 0
        assert got.obs.equals(batch.obs)


def test_counts_the_minibatches_of_the_epoch_on_every_rank():
    alone = Loader(DATA, batch_size=8, fetch_factor=4)
    batches = list(alone)
    shard = alone.shard(1, 3, 1, 2)
    for number in (0, 17, len(batches) - 1):
        assert same(shard.batch(number, 0), batches[number])


def test_leaves_iterators_and_the_state_alone():
    loader = Loader(DATA, BlockShuffling(4), batch_size=8, fetch_factor=4)
    expected = [batch.tolist() for batch in loader]
    loader.set_epoch(0)
    batches = iter(loader)
    got = []
    for number, batch in enumerate(batches):
        got.append(batch.tolist())
        state = loader.state_dict()
        loader.batch(number // 2)
        loader.batch(3, epoch=7)
        assert loader.state_dict() == state
        assert loader.epoch == 0
    assert got == expected


def test_a_fetch_is_read_once_for_batches_in_turn_and_one_is_kept():
    read, n_read = counting()
    loader = Loader(DATA, batch_size=10, fetch_factor=5, fetch_callback=read)
    for number in range(len(loader)):
        loader.batch(number)
        loader.batch(number)
    assert set(n_read.values()) == {1}
    loader.batch(0)  # the fetch before the last is not kept
    assert sorted(n_read.values()) == [1] * 950 + [2] * 50


def test_several_threads_may_ask(plates):
    source = scd.open(str(plates / "*.h5ad"))
    loader = Loader(source, batch_size=30, fetch_factor=4, threads=2)
    expected = list(loader)
    wrong: list[int] = []

    def ask(numbers):
        wrong.extend(k for k in numbers if not same(loader.batch(k), expected[k]))

    n = len(expected)
    orders = [range(n), range(n), reversed(range(n)), range(0, n, 3)]
    threads = [threading.Thread(target=ask, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not [t for t in threading.enumerate() if t.name.startswith("scdataset-read")]


@pytest.mark.parametrize("number", [-1, 16, 10**12])
def test_a_number_that_is_not_there_is_an_error(number):
    loader = Loader(DATA, batch_size=64)
    with pytest.raises(IndexError, match=f"batch {number} .* epoch 2 has 16 batches"):
        loader.batch(number, epoch=2)


@pytest.mark.parametrize("number", [1.0, True, "1", None])
def test_a_number_must_be_an_integer(number):
    with pytest.raises(TypeError, match="number must be an integer"):
        Loader(DATA).batch(number)


def test_an_epoch_must_not_be_negative():
    with pytest.raises(ValueError, match="epoch must be at least 0"):
        Loader(DATA).batch(0, epoch=-1)


def test_a_failed_read_is_tried_again():
    calls = []

    def read(collection, rows):
        calls.append(len(rows))
        if len(calls) == 1:
            raise OSError("not now")
        return collection[rows]

    loader = Loader(DATA, batch_size=8, fetch_callback=read)
    with pytest.raises(OSError, match="not now"):
        loader.batch(0)
    assert len(loader.batch(0)) == 8


def test_survives_pickling_and_a_fork():
    loader = Loader(DATA, batch_size=8)
    first = loader.batch(0)
    assert same(pickle.loads(pickle.dumps(loader)).batch(0), first)
    if "fork" in multiprocessing.get_all_start_methods():
        lookup = loader._lookup
        assert lookup is not None
        with lookup._lock, multiprocessing.get_context("fork").Pool(1) as pool:
            assert same(pool.apply(loader.batch, (0,)), first)
