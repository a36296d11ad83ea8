"""Cells in memory: the same keys as a batch."""

import numpy as np
import pytest
import scipy.sparse as sp

from scdataset_core.cells import CellInfo, Cells, take
from scdataset_core.outputs.padded import PaddedOutput

INFO = CellInfo(np.array(["g0", "g1"], object), {"line": ["a", "b"]})


def cells(x):
    obs = {
        "line": np.array([0, -1, 1], np.int32),
        "dose": np.array([0.5, 1.5, 2.5]),
        "alive": np.array([True, False, True]),
        "count": np.array([3, 4, 5]),
    }
    return Cells(x, obs, np.array([7, 8, 9]), INFO)


def test_has_the_keys_of_a_batch():
    found = cells(np.eye(3, 2))
    assert list(found) == ["X", "obs", "index"]
    assert {**found}["index"].tolist() == [7, 8, 9]
    assert found.to_dict().keys() == found.keys()
    assert "3 x 2" in repr(found)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_take_copies_rows_of_every_part(make):
    taken = cells(make(np.arange(6.0).reshape(3, 2))).take(np.array([2, 0]))
    x = taken["X"].toarray() if sp.issparse(taken["X"]) else taken["X"]
    assert x.tolist() == [[4, 5], [0, 1]]
    assert taken["obs"]["line"].tolist() == [1, 0]
    assert taken["index"].tolist() == [9, 7]
    assert taken.n_cells == 2


def test_take_goes_into_mappings():
    nested = {"a": np.arange(3), "b": {"c": np.arange(3) * 2}, "d": ["x", "y", "z"]}
    taken = take(nested, np.array([1]))
    assert taken["d"] == ["y"]
    assert taken["b"]["c"].tolist() == [2]


def test_filled_rows_say_that_they_are_empty():
    x = {
        "indices": np.ones((3, 4), np.int32),
        "values": np.ones((3, 4), np.float32),
        "length": np.full(3, 4, np.int32),
    }
    filled = cells(x).fill(5, PaddedOutput().fill)
    assert filled["X"]["length"].tolist() == [4, 4, 4, 0, 0]
    assert not filled["X"]["values"][3:].any()
    assert filled["index"].tolist() == [7, 8, 9, -1, -1]
    assert filled["obs"]["line"].tolist() == [0, -1, 1, -1, -1]
    assert np.isnan(filled["obs"]["dose"][3:]).all()
    assert filled["obs"]["alive"].tolist() == [True, False, True, False, False]
    assert filled["obs"]["count"].tolist() == [3, 4, 5, 0, 0]


def test_anndata_has_labels_and_row_numbers():
    pytest.importorskip("anndata")
    adata = cells(sp.csr_array(np.eye(3, 2))).to_anndata()
    assert adata.obs["line"].tolist()[0] == "a"
    assert adata.obs["line"].isna().tolist() == [False, True, False]
    assert list(adata.obs_names) == ["7", "8", "9"]
    assert list(adata.var_names) == ["g0", "g1"]
    assert adata.X.toarray().tolist() == np.eye(3, 2).tolist()
