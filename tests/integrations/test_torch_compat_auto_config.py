"""The suggestions of `scdataset` 0.3 are those of 0.3."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

pytest.importorskip("scdataset_torch")
pytest.importorskip("scdataset")

import scdataset as old
import torch
from scdataset_torch import compat as new

from tests.integrations.compat_data import (
    DATA,
    LABELS,
    make_adata,
)


@pytest.mark.parametrize(
    "collection",
    [
        DATA,
        torch.from_numpy(DATA),
        [b"abc", "defg", {"x": [1, 2]}, (3.0, None)],
        [csr_matrix(DATA), pd.DataFrame({"a": LABELS}), pd.Series(LABELS)],
        [pd.Index(["a", "b"]), SimpleNamespace(X=None, obs=None, var_names=None)],
        old.MultiIndexable(x=DATA, y=LABELS),
    ],
    ids=["array", "tensor", "list", "sparse_and_pandas", "index_and_empty", "multi"],
)
def test_estimate_sample_size(collection):
    theirs = old.estimate_sample_size(collection)
    assert new.estimate_sample_size(collection) == theirs


@pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")
def test_estimate_sample_size_with_hooks():
    def size(lib):
        return lib.estimate_sample_size(
            DATA,
            4,
            fetch_callback=lambda data, rows: data[rows],
            fetch_transform=lambda data: {"x": data.astype(np.float32)},
            batch_callback=lambda data, positions: data["x"][positions],
            batch_transform=lambda data: [data, None],
        )

    assert size(new) == size(old)
    assert new.estimate_sample_size(make_adata()) == old.estimate_sample_size(
        make_adata()
    )


@pytest.mark.parametrize("obsm", [None, {}, {"pca": np.ones((1, 3))}])
@pytest.mark.parametrize("layers", [None, {}, {"counts": DATA[:1]}])
def test_estimate_sample_size_of_what_looks_like_an_anndata(layers, obsm):
    cell = SimpleNamespace(X=DATA[:1], obs=None, var=None, var_names=["a", "b"])
    cell.layers, cell.obsm = layers, obsm
    size = new.estimate_sample_size([cell])
    assert size == old.estimate_sample_size([cell])
    assert size >= DATA[:1].nbytes


def test_suggest_parameters(capsys):
    pytest.importorskip("psutil")
    theirs = old.suggest_parameters(DATA, 64, verbose=False)
    ours = new.suggest_parameters(DATA, 64)
    assert "fetch_factor" in capsys.readouterr().out
    assert set(ours) == set(theirs)
    assert set(ours["system_info"]) == set(theirs["system_info"])
    same = set(ours) - {"system_info"}
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}


def test_suggest_parameters_without_psutil(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.warns(UserWarning, match="psutil not installed"):
        theirs = old.suggest_parameters(DATA, 64, verbose=False)
    with pytest.warns(UserWarning, match="psutil not installed"):
        ours = new.suggest_parameters(DATA, 64, verbose=False)
    assert ours == theirs
