"""Small h5ad files that tests open and damage."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

N, GENES = 30, 8


def make(path, start=0, n=N, **kwargs):
    """Write a file whose column 0 holds the row number + 1, and return its path."""
    rng = np.random.default_rng(0)
    X = rng.integers(1, 9, (n, GENES)) * (rng.random((n, GENES)) < 0.5)
    X[:, 0] = np.arange(start, start + n) + 1
    adata = ad.AnnData(
        sp.csr_matrix(X.astype(np.float32)),
        obs=pd.DataFrame({"line": ["a", "b"] * (n // 2)}, index=map(str, range(n))),
    )
    adata.layers["counts"] = adata.X.copy()
    adata.write_h5ad(path, **kwargs)
    return path


def ids(source):
    x = source.read(np.arange(len(source)))["X"]
    return (x.toarray() if sp.issparse(x) else x)[:, 0].tolist()


def replace(path, name, values, **kwargs):
    with h5py.File(path, "r+") as file:
        del file[name]
        file.create_dataset(name, data=values, **kwargs)


def stored(path, name):
    with h5py.File(path) as file:
        return file[name][()]


def replace_row(path, row):
    """Give a row the values 1 to 8 in all of its columns."""
    adata = ad.read_h5ad(path)
    X = adata.X.tolil()
    X[row] = np.arange(1, GENES + 1)
    adata.X = X.tocsr()
    adata.write_h5ad(path)
