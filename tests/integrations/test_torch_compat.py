"""scdataset_torch.compat beside scdataset 0.3 itself: the same but for the order."""

import inspect
import sys
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix

pytest.importorskip("scdataset_torch")
pytest.importorskip("scdataset")

import scdataset as old
import scdataset_torch
import torch
from scdataset_torch import compat as new
from torch.utils.data import IterableDataset

from tests.integrations.compat_data import (
    DATA,
    LABELS,
    STRATEGIES,
    both,
    every_strategy,
    make_adata,
)


def public_parameters(thing):
    thing = thing.__init__ if inspect.isclass(thing) else thing
    return [
        (parameter.name, parameter.kind, parameter.default)
        for parameter in inspect.signature(thing).parameters.values()
    ]


@pytest.mark.parametrize("name", old.__all__)
def test_every_name_has_the_same_parameters_and_defaults(name):
    if name == "MultiIndexable":
        assert public_parameters(new.MultiIndexable)[1][0] == "indexables"
        return
    assert public_parameters(getattr(new, name)) == public_parameters(
        getattr(old, name)
    )


def test_all_names_are_there():
    assert set(new.__all__) == set(old.__all__)
    assert scdataset_torch.scDataset is new.scDataset


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("strategy", ["SamplingStrategy", "Streaming", "BlockShuffling"]),
        ("transforms", ["adata_to_mindex", "hf_tahoe_to_tensor"]),
        ("multiindexable", ["MultiIndexable"]),
        ("scdataset", ["scDataset"]),
        ("experimental", ["suggest_parameters", "estimate_sample_size"]),
        ("experimental.auto_config", ["suggest_parameters", "estimate_sample_size"]),
    ],
)
def test_modules_have_the_same_names(module, names):
    ours = sys.modules[f"scdataset_torch.compat.{module}"]
    assert all(hasattr(ours, name) for name in names)


@every_strategy
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("batch_size", "fetch_factor"), [(8, 2), (7, 16), (200, 1)])
def test_lengths_and_batches_are_those_of_0_3(
    make, drop_last, batch_size, fetch_factor
):
    theirs, ours = (
        lib.scDataset(DATA, make(lib), batch_size, fetch_factor, drop_last, seed=3)
        for lib in (old, new)
    )
    assert isinstance(ours, IterableDataset)
    assert len(ours) == len(theirs)
    for _ in range(2):
        a, b = list(theirs), list(ours)
        assert [x.shape for x in a] == [x.shape for x in b]
        assert {x.dtype for x in b} <= {DATA.dtype}


@pytest.mark.parametrize("name", ["streaming", "subset"])
def test_unshuffled_batches_are_exactly_those_of_0_3(name):
    make = STRATEGIES[name]
    theirs, ours = (
        [x.tolist() for x in lib.scDataset(DATA, make(lib), 8, 2)] for lib in (old, new)
    )
    assert ours == theirs


@pytest.mark.parametrize("name", ["blocks", "blocks_subset", "buffer"])
def test_every_row_comes_once_and_in_blocks_of_0_3(name):
    make = STRATEGIES[name]
    theirs = old.scDataset(DATA, make(old), 4, 1, seed=0)
    ours = new.scDataset(DATA, make(new), 4, 1, seed=0)
    rows = [[sorted(x[:, 0].tolist()) for x in dataset] for dataset in (theirs, ours)]
    assert sorted(np.concatenate(rows[0])) == sorted(np.concatenate(rows[1]))
    aligned = [batch for batch in rows[1] if len(batch) == 4]
    assert all(batch == list(range(batch[0], batch[0] + 8, 2)) for batch in aligned)


@both
@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda lib: lib.scDataset(DATA, lib.Streaming(), 0), ValueError, "batch_size"),
        (
            lambda lib: lib.scDataset(DATA, lib.Streaming(), 4, fetch_factor=-1),
            ValueError,
            "fetch_factor must be positive",
        ),
        (
            lambda lib: lib.scDataset(DATA, "streaming", 4),
            TypeError,
            "must be an instance of SamplingStrategy",
        ),
        (
            lambda lib: lib.scDataset(DATA, lib.Streaming(), 4, world_size=2),
            RuntimeError,
            r"world_size=2 but torch\.distributed is not initialized",
        ),
        (lambda lib: lib.BlockShuffling(0), ValueError, "block_size must be positive"),
        (
            lambda lib: lib.BlockWeightedSampling(weights=[1, -1]),
            ValueError,
            "weights must be non-negative",
        ),
        (
            lambda lib: lib.BlockWeightedSampling(weights=[0, 0]),
            ValueError,
            "weights must sum to a positive value",
        ),
        (
            lambda lib: lib.BlockWeightedSampling(replace=False),
            ValueError,
            "sampling_size must be provided when replace=False",
        ),
        (
            lambda lib: lib.ClassBalancedSampling([]),
            ValueError,
            "labels cannot be empty",
        ),
        (
            lambda lib: lib.ClassBalancedSampling([1], indices=[0, 1]),
            ValueError,
            r"labels length \(1\) must be either equal to indices",
        ),
        (
            lambda lib: lib.SamplingStrategy().get_indices(DATA),
            NotImplementedError,
            "Subclasses must implement get_indices",
        ),
        (
            lambda lib: list(
                lib.scDataset(DATA, lib.BlockWeightedSampling(weights=[1, 2]), 4)
            ),
            ValueError,
            "weights must have the same length as data_collection",
        ),
        (
            lambda lib: list(
                lib.scDataset(
                    DATA, lib.BlockWeightedSampling(4, [1, 2, 3], weights=[1, 2]), 4
                )
            ),
            ValueError,
            r"weights length \(2\) must match",
        ),
        (
            lambda lib: list(lib.scDataset(range(9), lib.Streaming(), 4)),
            TypeError,
            "only integer scalar arrays",
        ),
        (lambda lib: lib.hf_tahoe_to_tensor(3), ValueError, "a dictionary or a list"),
        (
            lambda lib: list(lib.scDataset(DATA, lib.Streaming([1.5]), 4)),
            IndexError,
            r"must be of integer \(or boolean\) type",
        ),
        (
            lambda lib: list(
                lib.scDataset(
                    DATA[:2], lib.BlockWeightedSampling(weights=[np.nan, 1]), 4
                )
            ),
            ValueError,
            "contain NaN",
        ),
        (
            lambda lib: list(
                lib.scDataset(DATA[:0], lib.BlockWeightedSampling(total_size=3), 4)
            ),
            ValueError,
            "cannot be empty",
        ),
        (
            lambda lib: list(lib.scDataset(DATA, lib.Streaming(), 4, seed=3.5)),
            TypeError,
            "int",
        ),
    ],
)
def test_errors(lib, make, error, match):
    with pytest.raises(error, match=match):
        make(lib)


@both
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda lib: lib.Streaming([3, 1]), "indices were not sorted"),
        (lambda lib: lib.BlockShuffling(4, [3, 1]), "indices were not sorted"),
        (
            lambda lib: lib.BlockWeightedSampling(sampling_size=3),
            "sampling_size is ignored when replace=True",
        ),
    ],
)
def test_warnings(lib, make, match):
    with pytest.warns(UserWarning, match=match):
        make(lib)


@both
def test_hooks_get_and_give_what_they_did(lib):
    calls = []

    def fetch(collection, rows):
        assert collection is DATA
        assert np.array_equal(rows, np.sort(rows))
        calls.append(("fetch", len(rows)))
        return collection[rows]

    def fetched(data):
        calls.append(("fetched", len(data)))
        return {"x": data}

    def take(data, positions):
        calls.append(("take", len(positions)))
        return data["x"][positions]

    def batch(data):
        calls.append(("batch", len(data)))
        return data.sum()

    dataset = lib.scDataset(
        DATA, lib.BlockShuffling(4), 8, 4, False, fetch, fetched, take, batch
    )
    assert sum(dataset) == DATA.sum()
    assert calls[:4] == [("fetch", 32), ("fetched", 32), ("take", 8), ("batch", 8)]
    assert calls[-2:] == [("take", 1), ("batch", 1)]
    assert len(calls) == 4 * 2 + 14 * 2


@both
def test_attributes(lib):
    strategy = lib.BlockShuffling(4)
    dataset = lib.scDataset(DATA, strategy, 8, drop_last=True)
    assert dataset.collection is DATA
    assert dataset.strategy is strategy
    assert (dataset.batch_size, dataset.fetch_factor) == (8, 16)
    assert (dataset.fetch_size, dataset.drop_last) == (128, True)
    assert dataset.sort_before_fetch is True
    assert (dataset.rank, dataset.world_size) == (0, 1)
    hooks = ("fetch_callback", "fetch_transform", "batch_callback", "batch_transform")
    assert [getattr(dataset, hook) for hook in hooks] == [None] * 4
    assert (strategy.block_size, strategy.drop_last) == (4, False)
    balanced = lib.ClassBalancedSampling(LABELS)
    assert balanced.weights.sum() == pytest.approx(1)
    assert (balanced.replace, balanced.total_size) == (True, None)


@both
def test_attributes_that_are_changed_count(lib):
    dataset = lib.scDataset(DATA, lib.Streaming(), 8)
    list(dataset)
    dataset.batch_transform = len
    assert sum(dataset) == 105


@both
def test_tolerance(lib):
    assert list(lib.scDataset(DATA[:0], lib.Streaming(), 4)) == []
    assert len(lib.scDataset([], lib.BlockShuffling(), 4)) == 0
    assert len(lib.scDataset(range(105), lib.Streaming(), 10)) == 11
    repeated = lib.scDataset(DATA, lib.Streaming([1, 1, 2]), 4)
    assert np.concatenate(list(repeated)).tolist() == DATA[[1, 1, 2]].tolist()

    def fetch(collection, rows):
        return collection() + rows

    without_len = lib.scDataset(
        lambda: 10, lib.Streaming([0, 2, 4]), 2, fetch_callback=fetch
    )
    assert len(without_len) == 2
    assert np.concatenate(list(without_len)).tolist() == [10, 12, 14]


@both
def test_a_strategy_of_the_users_own(lib):
    seeds = []

    def backwards(self, data_collection, seed=None, rng=None):
        seeds.append(seed)
        return np.arange(len(data_collection))[::-1]

    kind = type("Backwards", (lib.SamplingStrategy,), {"get_indices": backwards})
    strategy = kind()
    dataset = lib.scDataset(DATA[:, 0], strategy, 4, fetch_factor=2, seed=3)
    batches = [batch.tolist() for batch in dataset]
    assert batches[0] == [194, 196, 198, 200]
    assert batches[-1] == [0]
    assert len(list(iter(dataset))) == 27
    assert set(seeds) == {3, 1003}


@both
def test_a_subclass_that_filters(lib):
    def even(self, data_collection, seed=None, rng=None):
        rows = lib.BlockShuffling.get_indices(self, data_collection, seed, rng)
        return rows[rows % 2 == 0]

    kind = type("Even", (lib.BlockShuffling,), {"get_indices": even})
    dataset = lib.scDataset(np.arange(105), kind(4), 8)
    assert sorted(np.concatenate(list(dataset)).tolist()) == list(range(0, 105, 2))


@pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")
@pytest.mark.parametrize(
    "collection",
    [
        pytest.param(lambda lib: csr_matrix(DATA), id="csr"),
        pytest.param(lambda lib: torch.from_numpy(DATA), id="torch"),
        pytest.param(lambda lib: make_adata(), id="anndata"),
        pytest.param(lambda lib: lib.MultiIndexable(x=DATA, y=LABELS), id="multi"),
        pytest.param(lambda lib: lib.MultiIndexable(DATA, LABELS), id="unnamed"),
    ],
)
def test_batches_have_the_type_of_the_collection(collection):
    theirs, ours = (
        list(
            lib.scDataset(collection(lib), lib.Streaming(indices=np.arange(40)), 16, 2)
        )
        for lib in (old, new)
    )
    for a, b in zip(theirs, ours, strict=True):
        assert type(a).__name__ == type(b).__name__
        if type(a).__name__ == "MultiIndexable":
            assert a.names == b.names
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        elif type(a).__name__ == "AnnData":
            assert a.obs.equals(b.obs)
            assert np.array_equal(a.X.toarray(), b.X.toarray())
        else:
            dense = [x.toarray() if hasattr(x, "toarray") else x for x in (a, b)]
            assert np.array_equal(*dense)


def test_nothing_warns_that_did_not_in_0_3():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in STRATEGIES.values():
            list(new.scDataset(DATA, make(new), 8))
