"""Random transforms give the same minibatches through every adapter, in every epoch."""

from typing import Any

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core import transforms as tf

HOOK = tf.compose(
    tf.choose_genes(20, "expressed_then_zero", seed=2, n_vars=300),
    tf.mask_values(0.3, seed=2),
)


@pytest.fixture
def loader(plates):
    return scd.Loader(
        scd.open(str(plates / "*.h5ad")),
        scd.BlockShuffling(8),
        batch_size=50,
        fetch_factor=3,
        output="padded",
        batch_transform=HOOK,
    )


def by_row(batches: Any) -> dict[int, tuple[bytes, ...]]:
    """Return what each global row became."""
    found = {}
    for batch in batches:
        arrays = [
            np.asarray(batch[part][name])
            for part in ("X", "target")
            for name in ("indices", "values", "length")
        ]
        for place, row in enumerate(np.asarray(batch["index"]).tolist()):
            found[row] = tuple(array[place].tobytes() for array in arrays)
    return found


@pytest.fixture
def epochs(loader):
    """Return what the Loader itself gives in epochs 0 and 1."""
    first, second = by_row(loader.fresh(0)), by_row(loader.fresh(1))
    assert first.keys() == second.keys()
    assert first != second
    return [first, second]


def test_generators(loader, epochs):
    generators = pytest.importorskip("scdataset_generators")
    assert [by_row(generators.batches(loader)) for _ in range(2)] == epochs


@pytest.mark.parametrize("num_workers", [0, 2])
def test_torch(loader, epochs, num_workers):
    pytest.importorskip("torch")
    from scdataset_torch import LoaderDataset, to_tensors
    from torch.utils.data import DataLoader

    dataset = LoaderDataset(loader, collate=to_tensors())
    batches = DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        multiprocessing_context="fork" if num_workers else None,
    )
    assert [by_row(batches) for _ in range(2)] == epochs


def test_grain(loader, epochs):
    pytest.importorskip("grain")
    from scdataset_grain import BatchIterDataset, FetchDataset, SplitFetches

    batches = list(BatchIterDataset(loader, num_epochs=2))
    n = len(batches) // 2
    assert [by_row(batches[:n]), by_row(batches[n:])] == epochs
    fetches = FetchDataset(loader).repeat(2).to_iter_dataset().apply(SplitFetches())
    batches = list(fetches)
    assert [by_row(batches[:n]), by_row(batches[n:])] == epochs
