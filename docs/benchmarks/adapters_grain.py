"""Measure what the Grain adapter and the generators cost on top of the engine.

    python adapters_grain.py --data FOLDER --out results/adapters_grain.json

The script makes two small plates in FOLDER if they are not there (0.3 GB, and 0.1 GB
with gzip). adapters.py says how the cases are measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import grain
import jax
from absl import flags
from adapters import BATCH, Maker, run
from scdataset_generators import cells, forever
from scdataset_grain import (
    BatchIterDataset,
    CellSource,
    FetchDataset,
    SplitFetches,
    device_prefetch,
)

import scdataset_core as scd

READING = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
TWO_WORKERS = grain.multiprocessing.MultiprocessingOptions(num_workers=2)


def all_cells(loader: scd.Loader) -> Iterator[Any]:
    """Yield groups of cells taken one by one, so that all are counted alike."""
    while True:
        singles = cells(loader)
        while group := list(itertools.islice(singles, BATCH)):
            yield group


def grain_batches(loader: scd.Loader) -> Iterator[Any]:
    return iter(BatchIterDataset(loader, num_epochs=None))


def grain_workers(loader: scd.Loader) -> Iterator[Any]:
    return iter(BatchIterDataset(loader, num_epochs=None).mp_prefetch(TWO_WORKERS))


def on_device(loader: scd.Loader) -> Iterator[Any]:
    for batch in device_prefetch(BatchIterDataset(loader, num_epochs=None)):
        jax.block_until_ready(batch)
        yield batch


def grain_fetches(loader: scd.Loader) -> Iterator[Any]:
    fetches = FetchDataset(loader).shuffle(seed=0).repeat()
    return iter(fetches.to_iter_dataset(READING).apply(SplitFetches()))


def grain_cells(loader: scd.Loader) -> Iterator[Any]:
    source = CellSource(loader.source)
    singles = grain.MapDataset.source(source).shuffle(seed=0).repeat()
    return iter(singles.batch(BATCH).to_iter_dataset(READING))


CASES: dict[str, tuple[str, Maker]] = {
    "generators.forever, CSR": ("csr", forever),
    "generators.cells, CSR": ("csr", all_cells),
    "BatchIterDataset, CSR": ("csr", grain_batches),
    "BatchIterDataset, padded": ("padded", grain_batches),
    "BatchIterDataset, padded, device_prefetch": ("padded", on_device),
    "BatchIterDataset, CSR, mp_prefetch of 2": ("csr", grain_workers),
    "BatchIterDataset, padded, mp_prefetch of 2": ("padded", grain_workers),
    "FetchDataset, CSR, 2 threads": ("csr", grain_fetches),
    "CellSource, dense, 2 threads": ("csr", grain_cells),
}


if __name__ == "__main__":
    flags.FLAGS.mark_as_parsed()  # outside of absl's app.run, Grain asks for this
    run(CASES, __doc__, [grain, jax])
