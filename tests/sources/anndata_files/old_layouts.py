"""`.h5ad` files laid out by hand as old versions of AnnData wrote them."""

from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp


def write_before_07(path: Path, adata: ad.AnnData) -> Path:
    """Write as AnnData 0.5 and 0.6 did: records, `raw.X`, categories in `uns`.

    ``raw`` holds X plus one, ``obsm`` has the fields ``X_pca`` and ``X_one``.
    """
    n = adata.n_obs
    with h5py.File(path, "w") as file:
        _sparse_before_07(file, "X", sp.csr_matrix(adata.X))
        raw = sp.csr_matrix(adata.X)
        raw.data = raw.data + 1
        _sparse_before_07(file, "raw.X", raw)
        columns: dict[str, Any] = {"index": adata.obs_names.to_numpy().astype("S")}
        uns = file.create_group("uns")
        for name, series in adata.obs.items():
            if isinstance(series.dtype, pd.CategoricalDtype):
                labels = series.cat.categories.to_numpy().astype("S")
                uns.create_dataset(f"{name}_categories", data=labels)
                columns[str(name)] = series.cat.codes.to_numpy()
            elif series.dtype == object:
                columns[str(name)] = series.to_numpy().astype("S")
            else:
                columns[str(name)] = series.to_numpy()
        file.create_dataset("obs", data=_records(columns), compression="gzip")
        genes = {"index": adata.var_names.to_numpy().astype("S")}
        file.create_dataset("var", data=_records(genes))
        file.create_dataset("raw.var", data=_records(genes))
        rng = np.random.default_rng(0)
        obsm = {"X_pca": rng.random((n, 4), np.float32), "X_one": rng.random((n, 1))}
        file.create_dataset("obsm", data=_records(obsm), chunks=(8,))
    return path


def write_07(path: Path, adata: ad.AnnData) -> Path:
    """Write as AnnData 0.7 did: columns are data sets, categories lie beside them."""
    with h5py.File(path, "w") as file:
        X = sp.csr_matrix(adata.X)
        group = file.create_group("X")
        group.attrs["encoding-type"] = "csr_matrix"
        group.attrs["encoding-version"] = "0.1.0"
        group.attrs["shape"] = X.shape
        for part in ("data", "indices", "indptr"):
            group.create_dataset(part, data=getattr(X, part))
        for key, frame in (("obs", adata.obs), ("var", adata.var)):
            _table_07(file.create_group(key), frame)
    return path


def _sparse_before_07(file: h5py.File, name: str, X: Any) -> None:
    group = file.create_group(name)
    group.attrs["h5sparse_format"] = "csr"
    group.attrs["h5sparse_shape"] = X.shape
    for part in ("data", "indices", "indptr"):
        values = getattr(X, part)
        group.create_dataset(part, data=values, compression="gzip", maxshape=(None,))


def _records(columns: dict[str, Any]) -> np.ndarray[Any, Any]:
    fields = [(name, a.dtype, a.shape[1:]) for name, a in columns.items()]
    out = np.zeros(len(next(iter(columns.values()))), np.dtype(fields))
    for name, values in columns.items():
        out[name] = values
    return out


def _table_07(group: h5py.Group, frame: pd.DataFrame) -> None:
    text = h5py.string_dtype()
    group.attrs["encoding-type"] = "dataframe"
    group.attrs["encoding-version"] = "0.1.0"
    group.attrs["column-order"] = np.array(list(frame.columns), object).astype(text)
    group.attrs["_index"] = "_index"
    group.create_dataset("_index", data=frame.index.to_numpy(object), dtype=text)
    for name, series in frame.items():
        if not isinstance(series.dtype, pd.CategoricalDtype):
            values = series.to_numpy()
            dtype = text if values.dtype == object else values.dtype
            group.create_dataset(name, data=values, dtype=dtype)
            continue
        labels = series.cat.categories.to_numpy(object)
        held = group.require_group("__categories")
        categories = held.create_dataset(name, data=labels, dtype=text)
        categories.attrs["ordered"] = bool(series.cat.ordered)
        codes = group.create_dataset(name, data=series.cat.codes.to_numpy())
        codes.attrs["categories"] = categories.ref
