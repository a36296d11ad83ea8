"""The Loader on plain arrays: epochs, hooks, threads, errors, pickling."""

import itertools
import multiprocessing
import pickle
import threading
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core import BlockShuffling, Loader, Streaming

DATA = np.arange(103)


def lists(loader):
    return [batch.tolist() for batch in loader]


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


def test_a_loader_is_neither_indexed_nor_a_source():
    loader = Loader(np.arange(8))
    with pytest.raises(TypeError, match="a Loader is iterated, not indexed"):
        loader[0]
    with pytest.raises(TypeError, match=r"give its loader\.source"):
        Loader(loader)


def test_every_row_once_an_epoch_and_a_new_order_each_epoch():
    loader = Loader(DATA, BlockShuffling(4), batch_size=8, fetch_factor=3)
    epochs = [lists(loader) for _ in range(3)]
    assert all(sorted(flat(epoch)) == DATA.tolist() for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [len(batch) for batch in epochs[0]] == [8] * 12 + [7]
    assert len(loader) == 13
    assert loader.epoch == 2


def test_drop_last_leaves_out_the_short_minibatch():
    loader = Loader(DATA, BlockShuffling(4), batch_size=8, drop_last=True)
    assert len(loader) == 12
    assert [len(batch) for batch in loader] == [8] * 12


def test_set_epoch_starts_that_epoch_from_its_beginning():
    loader = Loader(DATA, batch_size=8)
    first, second = lists(loader), lists(loader)
    loader.set_epoch(0)
    assert loader.epoch == 0
    assert lists(loader) == first
    loader.set_epoch(0)
    next(iter(loader))
    loader.set_epoch(0)
    assert lists(loader) == first
    assert lists(loader) == second


def test_an_epoch_that_a_state_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"epoch must be below 2\*\*63"):
        Loader(DATA).set_epoch(2**63)


def test_collections_of_other_types_give_batches_of_their_own():
    sparse = sp.random_array((50, 20), density=0.2, format="csr", rng=0)
    batch = next(iter(Loader(sparse, batch_size=7)))
    assert isinstance(batch, sp.csr_array)
    assert batch.shape == (7, 20)
    assert isinstance(next(iter(Loader(sp.csr_matrix(sparse)))), sp.csr_matrix)


def test_memmap_is_read_where_it_lies(tmp_path):
    path = tmp_path / "x.bin"
    DATA.tofile(path)
    mapped = np.memmap(path, dtype=DATA.dtype, mode="r")
    assert sorted(np.concatenate(list(Loader(mapped))).tolist()) == DATA.tolist()


def test_h5py_dataset_with_repeated_rows(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = DATA
        strategy = scd.BlockWeightedSampling(4, weights=np.arange(103), total_size=500)
        expected = lists(Loader(DATA, strategy))
        assert lists(Loader(file["x"], strategy)) == expected
        assert len(set(flat(expected))) < 103


def test_anndata_gives_anndata():
    ad = pytest.importorskip("anndata")
    import pandas as pd

    obs = pd.DataFrame({"row": range(30)}, index=[str(i) for i in range(30)])
    adata = ad.AnnData(np.arange(30.0)[:, None], obs=obs)
    for batch in Loader(adata, batch_size=8):
        assert isinstance(batch, ad.AnnData)
        assert np.array_equal(batch.X[:, 0], batch.obs["row"])


def test_hooks_mean_what_the_paper_says():
    calls = []

    def fetch_callback(collection, rows):
        assert collection is DATA
        assert np.all(np.diff(rows) > 0)
        calls.append("fetch_callback")
        return collection[rows].tolist()

    def fetch_transform(fetched):
        calls.append("fetch_transform")
        return [2 * value for value in fetched]

    def batch_callback(fetched, positions):
        calls.append("batch_callback")
        return [fetched[position] for position in positions]

    def batch_transform(batch):
        calls.append("batch_transform")
        return np.array(batch) + 1

    sizes = {"batch_size": 8, "fetch_factor": 3, "read_ahead": 0}
    plain = lists(Loader(DATA, BlockShuffling(4), **sizes))
    hooked = Loader(
        DATA,
        BlockShuffling(4),
        **sizes,
        fetch_callback=fetch_callback,
        fetch_transform=fetch_transform,
        batch_callback=batch_callback,
        batch_transform=batch_transform,
    )
    assert lists(hooked) == [[2 * v + 1 for v in batch] for batch in plain]
    assert calls[:4] == [
        "fetch_callback",
        "fetch_transform",
        "batch_callback",
        "batch_transform",
    ]
    assert calls.count("fetch_callback") == 5
    assert calls.count("batch_callback") == 13


class Recording:
    """A collection that keeps what it was asked for."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return len(DATA)

    def __getitem__(self, rows):
        self.asked.append(rows)
        return DATA[rows]


@pytest.mark.parametrize("hooked", [False, True])
def test_a_resume_reads_whole_fetches_only_for_hooks(hooked):
    sizes: dict[str, Any] = {"batch_size": 8, "fetch_factor": 4, "read_ahead": 0}
    if hooked:
        sizes["fetch_transform"] = lambda fetched: fetched
    loader = Loader(Recording(), BlockShuffling(4), **sizes)
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    collection = Recording()
    resumed = Loader(collection, BlockShuffling(4), **sizes)
    resumed.load_state_dict(loader.state_dict())
    assert lists(resumed) == lists(iterator)
    assert len(collection.asked[0]) == (32 if hooked else 8)


def first_batches(loader):
    return [batch.tolist() for batch in loader][:3]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_loaders_pickle_into_processes(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    loader = Loader(DATA, BlockShuffling(4), batch_size=8)
    with multiprocessing.get_context(method).Pool(1) as pool:
        there = pool.apply(first_batches, (loader,))
    assert there == first_batches(loader)


def test_pickling_keeps_the_position():
    loader = Loader(DATA, BlockShuffling(4), batch_size=8)
    iterator = iter(loader)
    next(iterator)
    again = Loader(DATA, BlockShuffling(4), batch_size=8)
    again.load_state_dict(loader.state_dict())
    assert lists(pickle.loads(pickle.dumps(again))) == lists(iterator)


def test_a_strategy_of_the_users_own():
    class Backwards:
        def order(self, source, *, seed, epoch):
            n = len(source)

            class Order:
                shuffle = False

                def __len__(self):
                    return n

                def rows(self, start, stop):
                    return np.arange(n - 1 - start, n - 1 - stop, -1)

            return Order()

    assert np.concatenate(list(Loader(DATA, Backwards()))).tolist() == list(
        range(102, -1, -1)
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": -1}, ValueError, "got -1"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an integer"),
        ({"fetch_factor": 0}, ValueError, "fetch_factor must be at least 1"),
        ({"fetch_factor": 2**63}, ValueError, r"fetch_factor must be below 2\*\*63"),
        ({"read_ahead": -1}, ValueError, "read_ahead must be at least 0"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
        ({"seed": "a"}, TypeError, "seed must be an integer"),
        ({"seed": 2**64}, ValueError, "64 bits"),
        ({"uneven": "no"}, ValueError, "uneven"),
        ({"rank": 1}, ValueError, "rank must be below world_size"),
        ({"output": "dense"}, ValueError, "output goes with a source"),
        ({"dtype": "float32"}, ValueError, "dtype goes with a source"),
        ({"memory": "1GiB"}, ValueError, "memory goes with a source"),
        ({"fetch_callback": 3}, TypeError, "fetch_callback must be a function"),
        ({"batch_transform": "log1p"}, TypeError, "function or None, got 'log1p'"),
        ({"strategy": object()}, TypeError, "strategy must have a method order"),
        ({"strategy": Streaming}, TypeError, "give an instance"),
        ({"strategy": Streaming([200])}, ValueError, "below the number of rows"),
    ],
)
def test_refuses_bad_arguments_at_construction(arguments, error, message):
    before = threading.active_count()
    with pytest.raises(error, match=message):
        Loader(DATA, **arguments)
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    ("collection", "error", "message"),
    [
        ("plate.h5ad", TypeError, "open it first"),
        ([1, 2], TypeError, "list cannot be indexed"),
        ({"a": 1}, TypeError, "dict cannot be indexed"),
        (np.empty((0, 4)), ValueError, "no rows"),
        (object(), TypeError, r"no len\(\)"),
    ],
)
def test_refuses_what_is_no_collection(collection, error, message):
    with pytest.raises(error, match=message):
        Loader(collection)


def test_a_data_frame_is_not_indexed_by_row():
    pd = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match="to_numpy"):
        Loader(pd.DataFrame({"a": [1]}))


def test_repr_and_stats_are_worth_reading():
    loader = Loader(DATA, BlockShuffling(4), batch_size=8, rank=1, world_size=2)
    assert "rank 1 of 2" in repr(loader)
    assert "BlockShuffling(block_size=4" in repr(loader)
    assert "ndarray of shape (103,)" in repr(loader)
    n = sum(len(batch) for batch in loader)
    assert loader.stats.n_cells == n
    assert loader.stats.n_batches == len(loader)
    assert loader.stats.cells_per_s > 0
    assert "n_cells=" in repr(loader.stats)


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        (BlockShuffling(200, drop_last=True), {}, "a block is larger than the data"),
        (None, {"batch_size": 104, "drop_last": True}, "103 rows are fewer than batch"),
        (None, {"world_size": 3}, "2 minibatches of 64 are fewer than the 3 ranks"),
    ],
)
def test_an_epoch_without_a_batch_is_told_of_at_construction(
    strategy, options, message
):
    with pytest.warns(UserWarning, match=message) as told:
        loader = Loader(DATA, strategy, **options)
    assert told[0].filename == __file__
    assert list(loader) == []


def test_a_rank_without_a_batch_is_told_of_where_the_work_is_divided():
    loader = Loader(DATA)
    with pytest.warns(UserWarning, match="fewer than the 3 ranks") as told:
        loader.shard(1, 3)
    assert told[0].filename == __file__
    assert len(Loader(DATA, uneven="pad").shard(2, 3)) == 1
    assert len(loader.shard(0, 1, 3, 4)) == 0  # a worker of four may have nothing


def test_a_later_epoch_without_a_batch_is_told_of():
    class Fewer:
        def order(self, source, *, seed, epoch):
            indices = np.arange(100 - 60 * epoch)
            return Streaming(indices).order(source, seed=seed, epoch=epoch)

    loader = Loader(DATA, Fewer(), batch_size=50, drop_last=True)
    assert len(list(loader)) == 2
    with pytest.warns(UserWarning, match="epoch 1 of this Loader has no minibatch"):
        assert list(loader) == []
