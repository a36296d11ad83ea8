"""A dataset's batches in the order in which a DataLoader takes them."""

from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")

from scdataset_torch import LoaderDataset
from scdataset_torch import dataset as dataset_module

from scdataset_core import BlockShuffling, Loader


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
