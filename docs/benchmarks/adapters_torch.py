"""Measure what the PyTorch adapter costs on top of the engine.

    python adapters_torch.py --data FOLDER --out results/adapters_torch.json

The script makes two small plates in FOLDER if they are not there (0.3 GB, and 0.1 GB
with gzip). adapters.py says how the cases are measured. In "shipping alone" two workers
read nothing: each hands over one batch of its memory again and again.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from adapters import Maker, run
from scdataset_torch import LoaderDataset, to_tensors
from scdataset_torch.shared_memory import PlainBatch
from torch.utils.data import DataLoader, IterableDataset

import scdataset_core as scd

Collate = Any  # a function of a batch, or None


class SameBatch(IterableDataset[Any]):
    """Yields one batch, again and again."""

    def __init__(self, batch: Any) -> None:
        self.pickled = pickle.dumps(batch)

    def __iter__(self) -> Iterator[Any]:
        batch = pickle.loads(self.pickled)
        while True:
            yield batch


class Unpacked(dict[str, Any]):
    """A batch that PyTorch ships its own way: pickled, each tensor by itself."""


def unpacked_tensors(batch: Any) -> Unpacked:
    return Unpacked(to_tensors()(batch))


def batches(loader: scd.Loader, collate: Collate, **options: Any) -> Iterator[Any]:
    dataset = LoaderDataset(loader, collate)
    loader_of_batches = DataLoader(dataset, batch_size=None, **options)
    while True:
        yield from loader_of_batches


def shipping(loader: scd.Loader, collate: Collate) -> Iterator[Any]:
    batch = next(iter(loader))
    same = SameBatch(PlainBatch(batch) if collate is None else collate(batch))
    yield from DataLoader(same, batch_size=None, num_workers=2)


def case(collate: Collate, **options: Any) -> tuple[str, Maker]:
    return "csr", partial(batches, collate=collate, **options)


TWO: dict[str, Any] = {"num_workers": 2, "persistent_workers": True}
CASES: dict[str, tuple[str, Maker]] = {
    "no workers, SciPy's CSR": case(None),
    "no workers, sparse_csr": case(to_tensors("csr")),
    "no workers, dense": case(to_tensors("dense")),
    "2 workers, SciPy's CSR": case(None, **TWO),
    "2 workers, sparse_csr": case(to_tensors("csr"), **TWO),
    "2 workers, SciPy's CSR, PyTorch's own shipping": case(Unpacked, **TWO),
    "2 workers, sparse_csr, PyTorch's own shipping": case(unpacked_tensors, **TWO),
    "shipping alone, 2 workers, SciPy's CSR": (
        "csr",
        partial(shipping, collate=None),
    ),
    "shipping alone, 2 workers, sparse_csr": (
        "csr",
        partial(shipping, collate=to_tensors("csr")),
    ),
    "2 spawned workers, sparse_csr": case(
        to_tensors("csr"), multiprocessing_context="spawn", **TWO
    ),
}

if __name__ == "__main__":
    run(CASES, __doc__, [torch])
