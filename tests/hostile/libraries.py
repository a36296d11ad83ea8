"""Reads damaged files with the libraries of their formats, to compare with."""

import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["LIBRARIES"]


def _h5ad(path: Path) -> Any:
    import anndata as ad

    return ad.read_h5ad(path)


def _zarr(path: Path) -> Any:
    import anndata as ad
    import zarr

    if path.suffix == ".zip":
        with zarr.storage.ZipStore(path, mode="r") as store:
            return ad.read_zarr(store)
    # The members as they are: what a list of them says is a copy, which may differ.
    return ad.read_zarr(zarr.open_group(path, mode="r", use_consolidated=False))


def _arrow(path: Path) -> Any:
    import pyarrow as pa

    with pa.memory_map(str(path)) as mapped:
        return _rewritten(pa.ipc.open_file(mapped).read_all())


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return _rewritten(pq.read_table(path, page_checksum_verification=True))


def _triples(path: Path) -> Any:
    folder = Path(tempfile.mkdtemp(), "triples")
    folder.mkdir()
    for file in path.iterdir():
        shutil.move(_parquet(file), folder / file.name)
    return folder


def _huggingface(path: Path) -> Any:
    import datasets

    return _rewritten(datasets.load_from_disk(path).with_format("arrow")[:])


def _h5mu(path: Path) -> Any:
    import mudata

    return mudata.read_h5mu(path)


def _soma(path: Path) -> Any:
    import tiledbsoma.io

    # It takes these bytes for each column, however few cells there are.
    config = {"soma.init_buffer_bytes": 1 << 20}
    context = tiledbsoma.SOMATileDBContext(tiledb_config=config)
    with tiledbsoma.open(str(path), context=context) as experiment:
        return tiledbsoma.io.to_anndata(experiment, measurement_name="RNA")


def _rewritten(table: Any) -> Path:
    """Return a sound file of what was read of another."""
    import pyarrow.parquet as pq

    table.validate(full=True)
    path = Path(tempfile.mkdtemp(), "a.parquet")
    pq.write_table(table, path)
    return path


def _read_quietly(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def quietly(path: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(path)

    return quietly


# What reads the file, and returns an object or another file of the same cells.
LIBRARIES: dict[str, Callable[[Path], Any]] = {
    name: _read_quietly(read)
    for read, names in {
        _h5ad: ["h5ad", "h5ad gzip", "h5ad dense", "h5ad of 0.7"],
        _zarr: ["zarr 2", "zarr 3", "zarr shards", "zarr zip"],
        _arrow: ["arrow", "feather"],
        _parquet: ["parquet"],
        _triples: ["triples"],
        _huggingface: ["hugging face"],
        _h5mu: ["h5mu"],
        _soma: ["soma", "soma isolated"],
    }.items()
    for name in names
}
