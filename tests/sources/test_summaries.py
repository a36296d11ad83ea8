"""What a source prints: all that a newcomer asks, in 80 columns, whatever happens."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd


@pytest.fixture
def path(tmp_path):
    X = sp.random(20, 5, 0.5, format="csr", dtype=np.float32, random_state=0)
    obs = pd.DataFrame(
        {
            "drug": pd.Categorical(["DMSO", None] * 10),
            "dose": [1.0, np.nan, 3.0, 4.0] * 5,
            "rest": ["a", "b"] * 10,
        },
        index=[f"c{i}" for i in range(20)],
    )
    var = pd.DataFrame({"symbol": list("ABCDE"), "highly_variable": [True] * 5})
    var.index = [f"g{i}" for i in range(5)]
    adata = ad.AnnData(X, obs=obs, var=var, layers={"counts": X})
    adata.obsm["X_pca"] = np.zeros((20, 2), np.float32)
    adata.raw = adata
    adata.write_h5ad(tmp_path / "a.h5ad", compression="gzip")
    return tmp_path / "a.h5ad"


def test_all_that_there_is(path):
    text = repr(scd.open(path, obs=["drug", "dose"]))
    assert "20 cells x 5 genes in " in text
    assert "X: sparse float32, 2 stored values a cell" in text
    assert "stored in chunks of" in text
    assert "deflate" in text
    assert "\n  obs: drug (1 label), dose (float64)\n" in text
    assert "\n  obs not carried: rest\n" in text
    assert "\n  var: symbol, highly_variable\n" in text
    assert text.endswith("\n  x= can also be: raw/X, layers/counts, obsm/X_pca")


def test_missing_values_are_counted_once_they_were_read(path):
    source = scd.open([path, path], obs=["drug", "dose"])
    source.read([3, 23])
    assert "drug (1 label, 20 missing), dose (float64, 10 missing)" in repr(source)
    saved = scd.open(path, obs=["drug"], categories={"drug": ["DMSO", "other"]})
    saved.read([0])
    assert "drug (2 labels, 10 missing)" in repr(saved)
    memory = scd.open(ad.read_h5ad(path), obs=["dose"], x="layers/counts")
    assert "dose (float64, 5 missing)" in repr(memory)
    assert "x= can also be: X, raw/X, obsm/X_pca" in repr(memory)
    whole = scd.open(path, obs=["rest"])
    whole.read([0])
    assert "rest (2 labels, none missing)" in repr(whole)


def test_nothing_but_descriptions_is_read(path, monkeypatch):
    source = scd.open(path, obs=True)
    monkeypatch.setattr(
        "scdataset_core.storage.StoredArray.read", lambda *_: pytest.fail("read")
    )
    assert "var: symbol" in repr(source)


def test_it_does_not_fail_without_the_file(path):
    source = scd.open(path, obs=["dose"])
    path.unlink()
    assert "20 cells x 5 genes" in repr(source)


def test_long_names_and_many_columns_are_shortened(tmp_path, path):
    adata = ad.read_h5ad(path)
    for i in range(40):
        adata.obs[f"a_rather_long_name_of_a_column_{i}"] = i
    folder = tmp_path / ("deep" * 20)
    folder.mkdir()
    paths = [folder / f"{name}.h5ad" for name in ("one", "other")]
    adata.write_h5ad(paths[0])
    adata[:, ::-1].copy().write_h5ad(paths[1])
    text = repr(scd.open(paths, obs=True, join="inner", genes=["g1", "g0"]))
    assert max(map(len, text.splitlines())) < 80
    assert "and 31 more" in text
    assert "deep/one.h5ad, ...)" in text


def test_several_sources_one_after_the_other(path):
    text = repr(scd.concat([scd.open(path, obs=["drug"])] * 2))
    assert text.startswith("Source of 40 cells x 5 genes, one after the other:")
    assert max(map(len, text.splitlines())) < 80


def test_a_file_without_x_says_what_x_can_be(path):
    with h5py.File(path, "r+") as file:
        del file["X"]
    text = repr(scd.open(path, x="layers/counts"))
    assert text.endswith("x= can also be: raw/X, obsm/X_pca")
