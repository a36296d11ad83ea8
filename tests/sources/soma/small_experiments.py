"""Small TileDB-SOMA experiments, written from AnnData objects."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from tests.sources.small_cells import make_parts

pa = pytest.importorskip("pyarrow")
tiledbsoma = pytest.importorskip("tiledbsoma")
soma_io = pytest.importorskip("tiledbsoma.io")


def write(path, adata, name="RNA", **options):
    """Write an experiment as tiledbsoma does."""
    with warnings.catch_warnings():
        # tiledbsoma's own use of pandas and AnnData.
        warnings.simplefilter("ignore")
        soma_io.from_anndata(str(path), adata, measurement_name=name, **options)
    return str(path)


def joined(parts):
    """Return the contract's parts as one."""
    with warnings.catch_warnings():
        # AnnData's own use of pandas, which concat is used for here alone.
        warnings.simplefilter("ignore")
        return ad.concat(parts)


def oracle(path, measurement="RNA", **options):
    """Return what tiledbsoma reads."""
    with tiledbsoma.open(str(path)) as experiment, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        return soma_io.to_anndata(experiment, measurement, **options)


def rich():
    """Return the contract's cells with every kind of column and matrix."""
    adata = joined(make_parts())
    n = np.arange(adata.n_obs)
    adata.layers["counts"] = adata.X * 2
    adata.obsm["X_pca"] = np.random.default_rng(0).random((len(n), 5)).astype("f4")
    codes = np.where(n % 3, n % 2, -1)
    adata.obs["stage"] = pd.Categorical.from_codes(codes, ["b", "a"], ordered=True)
    adata.obs["text"] = [f"s{i % 4}" for i in n]
    adata.obs["dose"] = pd.array([None if i % 5 == 0 else int(i) for i in n], "Int64")
    adata.obs["flag"] = pd.array([None if i % 5 == 0 else True for i in n], "boolean")
    adata.obs["plate"] = pd.Categorical(n % 3 + 7)
    adata.raw = adata.copy()
    return adata
