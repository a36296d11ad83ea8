"""Loaders for the tests of Grain, and a comparison of their minibatches."""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import scdataset_core as scd

N_ROWS = 600
TABLE = np.arange(N_ROWS * 3, dtype=np.float32).reshape(N_ROWS, 3)


def make_loader(collection: Any = TABLE, **options: Any) -> scd.Loader:
    sizes: dict[str, Any] = {"batch_size": 32, "fetch_factor": 4, "seed": 3}
    return scd.Loader(collection, scd.BlockShuffling(8), **(sizes | options))


def plate_loader(plates: Path, **options: Any) -> scd.Loader:
    source = scd.open(plates / "*.h5ad", obs=["cell_line", "drug"])
    return make_loader(source, **({"batch_size": 150, "fetch_factor": 2} | options))


def assert_same(one: Any, other: Any) -> None:
    """Compare two minibatches or lists of them, bit for bit."""
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        return
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert set(one) == set(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for parts in zip(one, other, strict=True):
            assert_same(*parts)
    elif sp.issparse(one):
        for part in ("data", "indices", "indptr"):
            assert_same(getattr(one, part), getattr(other, part))
    else:
        assert one == other
