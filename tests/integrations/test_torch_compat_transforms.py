"""The transforms of `scdataset` 0.3 give what 0.3 gives."""

import sys

import anndata
import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
pytest.importorskip("scdataset")

import scdataset as old
import torch
from scdataset_torch import compat as new

from tests.integrations.compat_data import (
    DATA,
    both,
    make_adata,
)


@pytest.mark.parametrize("columns", [None, ["drug"]])
def test_adata_to_mindex(columns, tmp_path):
    path = tmp_path / "plate.h5ad"
    make_adata().write_h5ad(path)
    backed = anndata.read_h5ad(path, backed="r")
    results = []
    for lib in (old, new):
        dataset = lib.scDataset(
            backed,
            lib.Streaming(),
            16,
            2,
            fetch_transform=lambda batch, lib=lib: lib.adata_to_mindex(batch, columns),
        )
        results.append(list(dataset))
    for a, b in zip(*results, strict=True):
        assert a.names == b.names
        assert np.array_equal(a["X"], b["X"])
        if columns:
            assert list(a["drug"]) == list(b["drug"])
    backed.file.close()


@pytest.mark.parametrize("as_list", [True, False])
def test_hf_tahoe_to_tensor(as_list):
    cells = [
        {"genes": np.array([1, 4]), "expressions": np.array([2.0, 3.0])},
        {"genes": np.array([0]), "expressions": np.array([5.0])},
    ]
    batch = cells if as_list else {key: [c[key] for c in cells] for key in cells[0]}
    assert torch.equal(
        new.hf_tahoe_to_tensor(batch, 6), old.hf_tahoe_to_tensor(batch, 6)
    )


@both
def test_bionemo_to_tensor_names_the_package(lib, monkeypatch):
    for name in ("bionemo", "bionemo.scdl.util.torch_dataloader_utils"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install bionemo-scdl"):
        lib.bionemo_to_tensor(DATA, [0])
