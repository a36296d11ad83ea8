"""Files whose values tell which file and layer they come from."""

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

N, GENES = 20, 6


def values(scale):
    """Return a matrix whose values tell which file and layer they come from."""
    matrix = sp.random(N, GENES, 0.4, format="csr", dtype=np.float32, random_state=0)
    matrix.data = (np.arange(1, matrix.nnz + 1) * scale).astype(np.float32)
    return matrix


def labels(letters):
    return pd.DataFrame(
        {"line": pd.Categorical([letters[i % 2] for i in range(N)])},
        index=[f"c{i}" for i in range(N)],
    )


def write(path, scale, letters="uv"):
    matrix = values(scale)
    ad.AnnData(
        matrix,
        obs=labels(letters),
        layers={"counts": matrix * 2},
        obsm={"X_pca": np.full((N, 2), scale, np.float32)},
    ).write_h5ad(path)
    return path


def total(source):
    return source.read(np.arange(len(source)))["X"].sum()
