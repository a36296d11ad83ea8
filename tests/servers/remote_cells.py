"""Files that tests put on servers, and how batches of them are compared."""

import itertools
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import scdataset_core as scd

N_CELLS, N_GENES = 120, 40
# Tries again soon, and not for long.
RETRIES = {
    "max_retries": 2,
    "backoff": {
        "init_backoff": timedelta(milliseconds=1),
        "max_backoff": timedelta(milliseconds=5),
        "base": 2,
    },
}
HTTP_OPTIONS = {"client_options": {"allow_http": True}, "retry_config": RETRIES}


def make_cells(number: int, n_cells: int = N_CELLS) -> ad.AnnData:
    """Return cells whose column 0 holds their number, counted over all files, + 1."""
    rng = np.random.default_rng(number)
    first = number * n_cells
    dense = rng.integers(1, 9, (n_cells, N_GENES)) * (
        rng.random((n_cells, N_GENES)) < 0.4
    )
    dense[:, 0] = np.arange(first, first + n_cells) + 1
    cells = ad.AnnData(
        sp.csr_matrix(dense.astype(np.float32)),
        obs=pd.DataFrame(
            {
                "line": pd.Categorical.from_codes(
                    rng.integers(0, 3, n_cells), ["MCF7", "A549", "HCT15"]
                ),
                "score": rng.random(n_cells).astype(np.float32),
            },
            index=[f"cell{i}" for i in range(first, first + n_cells)],
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)]),
    )
    cells.raw = cells
    cells.layers["counts"] = cells.X.copy()
    cells.layers["dense"] = dense.astype(np.float64)
    cells.obsm["X_pca"] = rng.normal(size=(n_cells, 5)).astype(np.float32)
    return cells


def write_files(folder: Path) -> dict[str, list[str]]:
    """Write files of every kind that is read in place; return their names by kind."""
    import mudata as md

    from tests.sources.anndata_files.zarr_stores import write

    names: dict[str, list[str]] = {}
    cells = [make_cells(number) for number in (0, 1)]
    for kind, compression in (("plain", None), ("gzip", "gzip"), ("lzf", "lzf")):
        (folder / kind).mkdir()
        for number, one in enumerate(cells):
            name = f"{kind}/plate{number}.h5ad"
            one.write_h5ad(folder / name, compression=compression)
            names.setdefault(kind, []).append(name)
    for kind, version, shards in (
        ("zarr2", 2, False),
        ("zarr3", 3, False),
        ("sharded", 3, True),
    ):
        names[kind] = [f"{kind}.zarr"]
        write(folder / f"{kind}.zarr", cells[0], version=version, shards=shards)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mudata's, of its next version
        both = md.MuData({"rna": cells[0].copy(), "adt": cells[0][:, :7].copy()})
        both.write(folder / "both.h5mu", compression="gzip")
    names["h5mu"] = ["both.h5mu"]
    return names


def batches(source: Any, epochs: int = 1, **options: Any) -> Iterator[Any]:
    """Yield the batches of a loader with small fetches, many in an epoch."""
    settings = {"batch_size": 8, "fetch_factor": 3, "seed": 3} | options
    strategy = scd.BlockShuffling(settings.pop("block_size", 4))
    loader = scd.Loader(source, strategy, **settings)
    return itertools.chain.from_iterable(loader for _ in range(epochs))


def assert_same(a: Any, b: Any) -> None:
    """Compare two batches bit for bit, and dtype for dtype."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert_same(value, b[name])
        return
    parts = ("data", "indices", "indptr") if hasattr(a, "indptr") else ("__array__",)
    for part in parts:
        x, y = (
            np.asarray(one) if part == "__array__" else getattr(one, part)
            for one in (a, b)
        )
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def assert_same_batches(
    remote: Any, local: Any, epochs: int = 1, **options: Any
) -> int:
    """Compare all batches of two sources; return how many there are."""
    pairs = zip(
        batches(remote, epochs, **options),
        batches(local, epochs, **options),
        strict=True,
    )
    n = 0
    for n, (got, expected) in enumerate(pairs, 1):  # noqa: B007  # counted
        assert_same(got, expected)
    return n
