"""What all cells of a source share is held once."""

import pickle

import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd

ad = pytest.importorskip("anndata")


@pytest.fixture
def source():
    lines = pd.Categorical(["b", "a", "b"], ["b", "a"], ordered=True)
    obs = pd.DataFrame({"line": lines}, list("xyz"))
    adata = ad.AnnData(np.ones((3, 2), np.float32), obs)
    adata.var_names = ["TP53", "MYC"]
    adata.obsm["X_pca"] = np.ones((3, 1), np.float32)
    return scd.open(adata, obs=["line"], x=["X", "obsm/X_pca"])


def test_every_read_shares_it(source):
    assert source.read([0]).info is source.read([1, 2]).info is source.info


def test_it_has_genes_labels_their_order_and_the_names_of_each_array(source):
    info = source.info
    assert info.var_names.tolist() == ["TP53", "MYC"]
    assert info.categories == {"line": ["b", "a"]}
    assert info.ordered == {"line"}
    names = {name: found.tolist() for name, found in info.parts.items()}
    assert names == {"X": ["TP53", "MYC"], "obsm/X_pca": ["X_pca1"]}


def test_minibatches_that_went_to_another_process_become_the_same_anndata(source):
    cells = source.read([0, 1])
    again = pickle.loads(pickle.dumps(cells)).to_anndata()
    pd.testing.assert_frame_equal(again.obs, cells.to_anndata().obs)
    assert again.var_names.tolist() == ["TP53", "MYC"]
    assert again.obs["line"].cat.ordered
