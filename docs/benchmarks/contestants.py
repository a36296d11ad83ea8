"""The libraries under test, each as its users call it: open the files, give an epoch.

Every contestant yields minibatches of 64 random cells with their counts as a CSR matrix
(dense if genes are chosen), and with whatever else its batches have. Imports stay
inside the functions, since each contestant runs in a process that has only its own
packages.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

BATCH_SIZE = 64

Epoch = Callable[[], Iterator[int]]
"""Starts a pass over all cells; yields the number of cells of each minibatch."""


@dataclass(frozen=True)
class Setting:
    """One measurement's setting: a library, files, and block and fetch size."""

    library: str  # a key of CONTESTANTS
    paths: tuple[str, ...]  # plates, or the folder of an annbatch collection
    block: int | str  # rows of a block, or "storage"
    fetch: int  # minibatches in a fetch
    genes: int = 0  # how many genes to select and densify; 0: all, sparse
    cache: str = ""  # folder of this library's chunk cache; "": none
    state: str = ""  # what the cache is first made: "empty", "full" or "checked"

    def __post_init__(self) -> None:
        """Take the lists JSON gives for tuples."""
        object.__setattr__(self, "paths", tuple(self.paths))
        if self.library not in CONTESTANTS:
            known = ", ".join(CONTESTANTS)
            raise ValueError(f"library must be one of {known}, got {self.library!r}")


def chosen_genes(n_vars: int, count: int) -> list[int]:
    """Return `count` positions of genes, sorted, the same for every contestant."""
    return sorted(random.Random(0).sample(range(n_vars), count))


def open_scdataset_core(setting: Setting) -> Epoch:
    """Open the plates with this library."""
    import scdataset_core as scd

    if setting.state == "empty":
        scd.Cache(setting.cache).clear()
    files, cache = list(setting.paths), setting.cache or None
    source = scd.open(files, cache=cache)
    if setting.genes:
        genes = chosen_genes(source.shape[1], setting.genes)
        source = scd.open(files, genes=genes, cache=cache)
    if setting.state in ("full", "checked"):
        source.fill_cache()
    if setting.state == "checked":
        for _ in scd.Loader(source, batch_size=BATCH_SIZE, fetch_factor=64):
            pass
    if isinstance(setting.block, str):
        strategy = scd.BlockShuffling(block_size="storage", chunks=2)
    else:
        strategy = scd.BlockShuffling(block_size=setting.block)
    loader = scd.Loader(
        source,
        strategy,
        batch_size=BATCH_SIZE,
        fetch_factor=setting.fetch,
        output="dense" if setting.genes else None,
    )

    def epoch() -> Iterator[int]:
        for batch in loader:
            yield int(batch["X"].shape[0])

    return epoch


def fill_cache(paths: list[str], folder: str) -> dict[str, float]:
    """Fill an empty cache; return the seconds, its bytes, and the counts it holds."""
    import time

    import scdataset_core as scd

    scd.Cache(folder).clear()
    source = scd.open(paths, cache=folder)
    began = time.perf_counter()
    source.fill_cache()
    return {
        "seconds": time.perf_counter() - began,
        "n_bytes": source.cache.nbytes,
        "n_stored": source.mean_stored * len(source),
        "n_cells": len(source),
        "share": source.cached,
    }


def _backed_collection(paths: tuple[str, ...]) -> Any:  # anndata: without types
    import anndata
    from anndata.experimental import AnnCollection

    warnings.filterwarnings("ignore", category=FutureWarning)
    plates = [anndata.read_h5ad(path, backed="r") for path in paths]
    return AnnCollection(plates, join_vars="inner")


def open_scdataset(setting: Setting) -> Epoch:
    """Open the plates with scdataset, X only: its quickest way to CSR batches.

    A fetch is the `.X` of AnnCollection's view, so no obs table is made for it.
    """
    from scdataset import BlockShuffling, scDataset

    collection = _backed_collection(setting.paths)
    columns = chosen_genes(collection.shape[1], setting.genes)

    def fetched(view: Any) -> Any:  # an AnnCollection view of one fetch
        return view.X[:, columns].toarray() if columns else view.X

    dataset = scDataset(
        collection,
        BlockShuffling(block_size=int(setting.block)),
        batch_size=BATCH_SIZE,
        fetch_factor=setting.fetch,
        fetch_transform=fetched,
        seed=0,
    )

    def epoch() -> Iterator[int]:
        for batch in dataset:
            yield int(batch.shape[0])

    return epoch


def open_scdataset_anndata(setting: Setting) -> Epoch:
    """Open the plates with scdataset; batches are AnnData with obs, as in its paper."""
    from scdataset import BlockShuffling, scDataset

    dataset = scDataset(
        _backed_collection(setting.paths),
        BlockShuffling(block_size=int(setting.block)),
        batch_size=BATCH_SIZE,
        fetch_factor=setting.fetch,
        fetch_transform=lambda view: view.to_adata(),
        seed=0,
    )

    def epoch() -> Iterator[int]:
        for batch in dataset:
            yield int(batch.X.shape[0])

    return epoch


def open_annloader(setting: Setting) -> Epoch:
    """Open the plates with AnnLoader: true random batches, dense tensors."""
    from anndata.experimental import AnnLoader

    collection = _backed_collection(setting.paths)
    loader = AnnLoader(collection, batch_size=BATCH_SIZE, shuffle=True)

    def epoch() -> Iterator[int]:
        for batch in loader:
            yield int(batch.X.shape[0])

    return epoch


def open_annbatch(setting: Setting) -> Epoch:
    """Open a collection that annbatch converted; X only, its quickest setting."""
    import anndata
    import zarr
    from annbatch import DatasetCollection, Loader

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    block = int(setting.block)
    # A buffer must be whole minibatches; where the block does not divide it, the
    # next larger buffer.
    blocks = -(-setting.fetch * BATCH_SIZE // block)
    while blocks * block % BATCH_SIZE:
        blocks += 1
    loader = Loader(
        chunk_size=block,
        preload_nchunks=blocks,
        batch_size=BATCH_SIZE,
        shuffle=True,
    )
    loader.use_collection(
        DatasetCollection(setting.paths[0]),
        load_adata=lambda group: anndata.AnnData(
            X=anndata.io.sparse_dataset(group["X"])
        ),
    )

    def epoch() -> Iterator[int]:
        for batch in loader:
            yield int(batch["X"].shape[0])

    return epoch


def convert_for_annbatch(paths: list[str], folder: str) -> None:
    """Write annbatch's converted, shuffled zarr of the plates, with its defaults."""
    import zarr
    from annbatch import DatasetCollection

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    DatasetCollection(folder).add_adatas(paths, shuffle=True)


CONTESTANTS: dict[str, Callable[[Setting], Epoch]] = {
    "scdataset-core": open_scdataset_core,
    "scdataset": open_scdataset,
    "scdataset-anndata": open_scdataset_anndata,
    "AnnLoader": open_annloader,
    "annbatch": open_annbatch,
}
