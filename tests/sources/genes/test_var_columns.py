"""The table of the genes, read when asked for, from every format that has one."""

import pickle
import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd


def table(names, **columns):
    return pd.DataFrame(columns, index=list(names))


def make(names="abcd", **columns):
    var = table(
        names,
        symbol=[f"S{n}" for n in names],
        kind=pd.Categorical(["x" if n in "ac" else "y" for n in names]),
        highly_variable=[n in "bd" for n in names],
        **columns,
    )
    return ad.AnnData(np.ones((3, len(names)), np.float32), var=var)


def write(adata, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, of its formats
        getattr(adata, f"write_{path.suffix[1:]}")(path)
    return path


SOME = table(
    "ca",
    symbol=["Sc", "Sa"],
    kind=pd.Categorical(["x", "x"], ["x", "y"]),
    highly_variable=[False, False],
    n_cells=[2, 0],
    maybe=[np.nan, 5.0],
)


@pytest.mark.parametrize("kind", ["h5ad", "zarr", "memory", "backed", "view", "handle"])
def test_columns_at_the_genes_of_the_source(tmp_path, kind):
    if kind == "zarr":
        pytest.importorskip("zarr")
    adata = make(
        n_cells=[0, 1, 2, 3], maybe=pd.array([5, None, None, 7], dtype="Int64")
    )
    path = write(adata, tmp_path / ("a.zarr" if kind == "zarr" else "a.h5ad"))
    data = {
        "memory": lambda: adata,
        "backed": lambda: ad.read_h5ad(path, backed="r"),
        "view": lambda: ad.read_h5ad(path, backed="r")[:, ["d", "c", "a"]],
        "handle": lambda: h5py.File(path),
    }.get(kind, lambda: path)()
    source = scd.open(data, genes=["c", "a"])
    for one in (source, pickle.loads(pickle.dumps(source))):
        got = one.var
        assert got.index.tolist() == one.var_names.tolist()
        got["maybe"] = got["maybe"].astype(float)
        pd.testing.assert_frame_equal(got, SOME, check_dtype=False)
        assert got["n_cells"].dtype.kind == "i"
        assert got["highly_variable"].dtype == bool
        assert isinstance(got["kind"].dtype, pd.CategoricalDtype)


def test_highly_variable_genes_are_chosen_with_it(tmp_path):
    path = write(make(), tmp_path / "a.h5ad")
    var = scd.open(path).var
    chosen = scd.open(path, genes=var.index[var["highly_variable"]])
    assert chosen.var_names.tolist() == ["b", "d"]


def test_several_files_give_what_they_agree_on(tmp_path):
    first = write(make(mean=[1.0, 2, 3, 4], own=[1] * 4), tmp_path / "1.h5ad")
    other = write(make("dcba", mean=[1.0, 2, 3, 4]), tmp_path / "2.h5ad")
    source = scd.open([first, other], join="inner")
    var = source.var
    assert var.index.tolist() == list("abcd")
    assert var.columns.tolist() == ["symbol", "kind", "highly_variable"]
    assert var["symbol"].tolist() == ["Sa", "Sb", "Sc", "Sd"]
    assert var["highly_variable"].dtype == bool
    together = scd.concat([scd.open(first), scd.open(other)], join="inner")
    pd.testing.assert_frame_equal(together.var, var)


def test_genes_that_the_first_file_lacks_come_from_others(tmp_path):
    first = write(make("ab", n=[1, 2]), tmp_path / "1.h5ad")
    other = write(make("bcd", n=[2, 3, 4]), tmp_path / "2.h5ad")
    var = scd.open([first, other], join="outer", genes=["d", "a", "b"]).var
    assert var["n"].tolist() == [4, 1, 2]
    assert var["n"].dtype.kind == "i"
    assert var["symbol"].tolist() == ["Sd", "Sa", "Sb"]
    assert var["highly_variable"].tolist() == [True, False, True]


def test_of_raw_and_of_obsm(tmp_path):
    adata = make()
    adata.raw = adata[:, :].copy()
    adata = adata[:, ["a"]].copy()
    adata.obsm["X_pca"] = np.zeros((3, 2), np.float32)
    path = write(adata, tmp_path / "a.h5ad")
    for data in (path, adata):
        assert scd.open(data, x="raw/X").var["symbol"].tolist() == [
            "Sa",
            "Sb",
            "Sc",
            "Sd",
        ]
        embedded = scd.open(data, x="obsm/X_pca").var
        assert embedded.shape == (2, 0)
        assert embedded.index.tolist() == ["X_pca1", "X_pca2"]
        assert len(scd.open(data, x=["X", "obsm/X_pca"]).var) == 1


def test_of_a_modality(tmp_path):
    mudata = pytest.importorskip("mudata")
    with mudata.set_options(pull_on_update=False):
        mdata = mudata.MuData({"rna": make(), "protein": make("xy")})
        path = tmp_path / "a.h5mu"
        mdata.write(path)
    for data in (mdata, path):
        source = scd.open(data)
        assert source.var["symbol"].tolist() == ["Sa", "Sb", "Sc", "Sd"]
        assert source.parts["protein"].var["symbol"].tolist() == ["Sx", "Sy"]


def test_where_there_is_none():
    source = scd.open(np.zeros((3, 2)))
    with pytest.raises(scd.MissingNameError, match=r"there is no var: .*by name only"):
        _ = source.var


def test_a_file_that_changed_since(tmp_path):
    path = write(make(), tmp_path / "a.h5ad")
    source = scd.open(path)
    write(make(more=[1, 2, 3, 4]), path)
    with pytest.raises(scd.FileChangedError, match="changed since it was opened"):
        _ = source.var
