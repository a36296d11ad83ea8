"""The cells of the contract of sources, and how batches of them are looked at."""

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.form import Form
from scdataset_core.sources.base import Source

N_CELLS = (37, 50, 13)  # of each part
N_GENES = 11
LINES = ["MCF7", "A549", "HCT15"]  # not in the order of the alphabet

FORMS = [
    Form("csr"),
    Form("csr", np.dtype(np.float64)),
    Form("dense"),
    Form("dense", np.dtype(np.float16)),
    Form("padded", width=N_GENES),
    Form("padded", np.dtype(np.float64), width=N_GENES + 5),
]


def make_parts() -> list[ad.AnnData]:
    """Return three AnnDatas of the same genes; column 0 of X holds the row number + 1.

    obs has `line` (categorical), `number` (int64, the row number), `score` (float32)
    and `passed` (boolean). Some rows hold nothing but their number.
    """
    rng = np.random.default_rng(0)
    parts, start = [], 0
    for n in N_CELLS:
        dense = rng.integers(1, 9, (n, N_GENES)) * (rng.random((n, N_GENES)) < 0.4)
        dense[rng.random(n) < 0.2] = 0
        dense[:, 0] = np.arange(start, start + n) + 1
        codes = rng.integers(0, len(LINES), n)
        obs = pd.DataFrame(
            {
                "line": pd.Categorical.from_codes(codes, LINES),
                "number": np.arange(start, start + n),
                "score": rng.random(n).astype(np.float32),
                "passed": rng.random(n) < 0.5,
            },
            index=[f"cell{i}" for i in range(start, start + n)],
        )
        var = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
        X = sp.csr_matrix(dense.astype(np.float32))
        parts.append(ad.AnnData(X, obs=obs, var=var))
        start += n
    return parts


def one_of(x: Any) -> Any:
    """Return X, or the first of several arrays side by side."""
    several = isinstance(x, dict) and "length" not in x
    return next(iter(x.values())) if several else x


def dense_of(x: Any) -> np.ndarray[Any, Any]:
    """Return X of any form as a dense array of the contract's genes.

    Of arrays side by side, all must hold the same.
    """
    if one_of(x) is not x:
        first, *others = map(dense_of, x.values())
        for other in others:
            np.testing.assert_array_equal(first, other)
        return first
    if isinstance(x, dict):
        out = np.zeros((len(x["length"]), N_GENES), x["values"].dtype)
        for row, length in enumerate(x["length"]):
            assert not x["values"][row, length:].any()
            assert not x["indices"][row, length:].any()
            out[row, x["indices"][row, :length]] = x["values"][row, :length]
        return out
    return x.toarray() if sp.issparse(x) else x


def spoken(source: Source, cells: Any, column: str) -> list[Any]:
    """Return a column's labels as they are called."""
    values = cells["obs"][column]
    if column not in source.categories:
        return list(values.tolist())
    labels = source.categories[column]
    return [labels[code] if code >= 0 else None for code in values]


def make_loader(source: Source, **options: Any) -> scd.Loader:
    """Return a loader of 13 batches of 8 cells, the last one shorter; 3 a fetch."""
    strategy = scd.BlockShuffling(block_size=4)
    sizes: dict[str, Any] = {"batch_size": 8, "fetch_factor": 3, "seed": 1}
    return scd.Loader(source, strategy, **sizes, **options)


def make_full_parts() -> list[ad.AnnData]:
    """Return the parts with a layer, an array in obsm, and raw."""
    parts = make_parts()
    for part in parts:
        part.layers["counts"] = part.X * 3
        part.obsm["X_pca"] = part.X.toarray()[:, :3].astype(np.float64) + 0.5
        part.raw = part
    return parts
