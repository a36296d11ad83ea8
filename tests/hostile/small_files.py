"""Small files of every format, for mutants to be made of."""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

N_CELLS, N_GENES = 24, 6
GENES = [f"gene{i}" for i in range(N_GENES)]
OBS = ("line", "number", "text", "dose")


def make_cells() -> Any:
    """Return an AnnData with sparse X and obs columns of four kinds."""
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    n = np.arange(N_CELLS)
    rng = np.random.default_rng(0)
    dense = rng.integers(1, 9, (N_CELLS, N_GENES)) * (
        rng.random((N_CELLS, N_GENES)) < 0.5
    )
    dense[:, 0] = n + 1
    obs = pd.DataFrame(
        {
            "line": pd.Categorical.from_codes(n % 3, ["MCF7", "A549", "HCT15"]),
            "number": n,
            "text": [f"text{i % 5}" for i in n],
            "dose": pd.array([None if i % 5 == 0 else int(i) for i in n], "Int64"),
        },
        index=[f"cell{i}" for i in n],
    )
    matrix = sp.csr_matrix(dense.astype(np.float32))
    return ad.AnnData(matrix, obs=obs, var=pd.DataFrame(index=GENES))


@dataclass(frozen=True)
class SmallFile:
    """How a small file of one format is written and opened.

    Parameters
    ----------
    write
        Writes it into a folder, from the cells.
    name
        The file or folder to open, in the folder that `write` was given.
    options
        What `open` is given besides.
    checked
        Endings of the names of files in which a checksum covers every byte.
    """

    write: Callable[[Path, Any], None]
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    checked: tuple[str, ...] = ()


def _h5ad(path: Path, cells: Any, **options: Any) -> None:
    cells.write_h5ad(path / "a.h5ad", **options)


def _checked_h5ad(path: Path, cells: Any) -> None:
    import h5py

    dense = cells.copy()
    dense.X = dense.X.toarray()
    dense.write_h5ad(path / "a.h5ad")
    with h5py.File(path / "a.h5ad", "r+") as file:
        values, marks = file["X"][()], dict(file["X"].attrs)
        del file["X"]
        file.create_dataset(
            "X", data=values, chunks=(7, 4), compression="lzf", fletcher32=True
        ).attrs.update(marks)


def _old_h5ad(path: Path, cells: Any) -> None:
    from tests.sources.anndata_files.old_layouts import write_07

    cells = cells.copy()
    del cells.obs["dose"]
    write_07(path / "a.h5ad", cells)


def _h5mu(path: Path, cells: Any) -> None:
    import h5py

    cells.write_h5ad(path / "own.h5ad")
    with h5py.File(path / "own.h5ad") as own, h5py.File(path / "a.h5mu", "w") as file:
        for name in ("rna", "atac"):
            own.copy("/", file, f"mod/{name}")
        own.copy("obs", file)
        own.copy("var", file)
    (path / "own.h5ad").unlink()


def _zarr(path: Path, cells: Any, *, version: int, shards: bool = False) -> None:
    import anndata as ad

    with (
        ad.settings.override(zarr_write_format=version, auto_shard_zarr_v3=shards),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # AnnData's and zarr's advice to writers
        cells.write_zarr(path / "a.zarr")


def _sharded_zarr(path: Path, cells: Any) -> None:
    import zarr

    _zarr(path, cells, version=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = zarr.open_group(path / "a.zarr", mode="r+", use_consolidated=False)
        for name in ("data", "indices"):
            old = root[f"X/{name}"]
            values, marks = old[...], dict(old.attrs)
            codecs = [
                zarr.codecs.ZstdCodec(),
                zarr.codecs.Crc32cCodec(),
            ]
            new = root["X"].create_array(
                name,
                shape=values.shape,
                dtype=values.dtype,
                chunks=(16,),
                shards=(48,),
                compressors=codecs,
                overwrite=True,
            )
            new[...] = values
            new.attrs.update(marks)


def _zipped_zarr(path: Path, cells: Any) -> None:
    _zarr(path, cells, version=3)
    archive = shutil.make_archive(str(path / "a"), "zip", path / "a.zarr")
    shutil.rmtree(path / "a.zarr")
    Path(archive).rename(path / "a.zarr.zip")


def _table(cells: Any) -> Any:
    """Return the cells as a table with lists of genes and values."""
    import pyarrow as pa

    matrix = cells.X.tocsr()
    rows = [slice(*matrix.indptr[i : i + 2]) for i in range(N_CELLS)]
    text = cells.obs["text"].tolist()
    return pa.table(
        {
            "genes": [matrix.indices[row].tolist() for row in rows],
            "expressions": [matrix.data[row].tolist() for row in rows],
            "line": pa.array(cells.obs["line"].tolist()).dictionary_encode(),
            "number": cells.obs["number"].to_numpy(),
            "text": pa.array(text, pa.large_string()),
            "dose": [None if i % 5 == 0 else i for i in range(N_CELLS)],
            "obs_names": list(cells.obs_names),
        }
    )


def _parquet(path: Path, cells: Any) -> None:
    import pyarrow.parquet as pq

    pq.write_table(
        _table(cells), path / "a.parquet", row_group_size=10, write_page_checksum=True
    )


def _triples(path: Path, cells: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = path / "triples"
    folder.mkdir()
    matrix = cells.X.tocoo()
    order = np.lexsort((matrix.col, matrix.row))
    triples = {
        "cell_integer_id": matrix.row[order].astype(np.int64),
        "gene_integer_id": matrix.col[order].astype(np.int64),
        "value": matrix.data[order],
    }
    pq.write_table(pa.table(triples), folder / "expression.parquet", row_group_size=30)
    obs = _table(cells).drop_columns(["genes", "expressions"])
    pq.write_table(obs, folder / "cells.parquet")
    names = {"gene_integer_id": list(range(N_GENES)), "gene_name": GENES}
    pq.write_table(pa.table(names), folder / "genes.parquet")


def _arrow(path: Path, cells: Any) -> None:
    import pyarrow as pa

    held = _table(cells)
    with (
        pa.OSFile(str(path / "a.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, held.schema) as out,
    ):
        for batch in held.to_batches(max_chunksize=10):
            out.write_batch(batch)


def _feather(path: Path, cells: Any) -> None:
    import pyarrow.feather as feather

    feather.write_feather(_table(cells), path / "a.feather", compression="lz4")


def _huggingface(path: Path, cells: Any) -> None:
    import datasets

    datasets.disable_progress_bars()
    table = _table(cells).drop_columns(["line"])
    datasets.Dataset(table).save_to_disk(path / "saved")


def _soma(path: Path, cells: Any) -> None:
    import tiledbsoma.io

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiledbsoma's own use of pandas and AnnData
        tiledbsoma.io.from_anndata(str(path / "soma"), cells, measurement_name="RNA")


def _scdl(path: Path, cells: Any) -> None:
    from tests.sources.scdl.scdl_writer import write_folder

    cells = cells.copy()
    cells.obs["line"] = cells.obs["line"].astype(str)
    cells.var["gene_id"] = cells.var_names
    write_folder(path / "scdl", cells)


TABLE = {"vocabulary": GENES, "obs": True, "obs_names": True}
ANNDATA = {"obs": True, "obs_names": True}

SMALL_FILES = {
    "h5ad": SmallFile(_h5ad, "a.h5ad", ANNDATA),
    "h5ad gzip": SmallFile(
        lambda path, cells: _h5ad(path, cells, compression="gzip"), "a.h5ad", ANNDATA
    ),
    "h5ad dense": SmallFile(_checked_h5ad, "a.h5ad", ANNDATA),
    "h5ad of 0.7": SmallFile(_old_h5ad, "a.h5ad", ANNDATA),
    "h5mu": SmallFile(_h5mu, "a.h5mu", ANNDATA),
    "zarr 2": SmallFile(
        lambda path, cells: _zarr(path, cells, version=2), "a.zarr", ANNDATA
    ),
    "zarr 3": SmallFile(
        lambda path, cells: _zarr(path, cells, version=3), "a.zarr", ANNDATA
    ),
    "zarr shards": SmallFile(
        _sharded_zarr, "a.zarr", ANNDATA, checked=("X/data/c/0", "X/indices/c/0")
    ),
    "zarr zip": SmallFile(_zipped_zarr, "a.zarr.zip", ANNDATA),
    "parquet": SmallFile(_parquet, "a.parquet", TABLE),
    "triples": SmallFile(_triples, "triples", ANNDATA),
    "arrow": SmallFile(_arrow, "a.arrow", TABLE),
    "feather": SmallFile(_feather, "a.feather", TABLE),
    "hugging face": SmallFile(_huggingface, "saved", TABLE),
    "soma": SmallFile(_soma, "soma", ANNDATA),
    "soma isolated": SmallFile(_soma, "soma", ANNDATA | {"isolated": True}),
    "scdl": SmallFile(_scdl, "scdl", {"obs": True}),
}


def write_small(name: str, folder: Path) -> Path:
    """Write the small file called `name` into a new folder, and return the folder."""
    place = folder / name.replace(" ", "_")
    place.mkdir(parents=True)
    SMALL_FILES[name].write(place, make_cells())
    return place
