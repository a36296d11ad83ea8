"""Outputs: a new one is a class and a line in the table, and nothing else changes."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.form import OUTPUTS, Form, pack_dense
from scdataset_core.outputs.base import MatrixLayout, Output


class CooOutput(MatrixLayout):
    """Coordinates of the stored values."""

    name = "coo"

    def pack_rows(self, rows, packing):
        shape = (len(rows.starts) - 1, rows.n_vars)
        row_ids = np.repeat(np.arange(shape[0]), np.diff(rows.starts))
        values = rows.values.astype(packing.dtype)
        return sp.coo_array((values, (row_ids, rows.columns)), shape)

    def row_bytes(self, stored, packing):
        return max(1.0, stored.n_stored * (packing.dtype.itemsize + 8))


class CountOutput(Output):
    """The number of cells of each batch."""

    name = "count"

    def layout_of(self, stored):
        return stored

    def finisher(self, info):
        return lambda cells: cells.n_cells


@pytest.fixture
def source(tmp_path):
    x = sp.random_array((50, 9), density=0.4, format="csr", rng=1, dtype=np.float32)
    ad.AnnData(x).write_h5ad(tmp_path / "a.h5ad")
    return scd.open(tmp_path / "a.h5ad")


@pytest.fixture(params=[CooOutput, CountOutput])
def new(request, monkeypatch):
    output = request.param()
    monkeypatch.setitem(OUTPUTS, output.name, output)
    return output


def test_a_new_output_serves_a_loader(source, new):
    plain = list(scd.Loader(source, batch_size=8))
    batches = list(scd.Loader(source, batch_size=8, output=new.name))
    assert len(batches) == len(plain)
    for batch, expected in zip(batches, plain, strict=True):
        if new.name == "count":
            assert batch == len(expected["index"])
        else:
            assert isinstance(batch["X"], sp.coo_array)
            assert (batch["X"].tocsr() != expected["X"]).nnz == 0
    assert scd.Loader(source, output=new.name, memory="1MB").fetch_factor > 1


def test_an_unknown_output_is_refused_with_the_names_of_all(source, new):
    with pytest.raises(ValueError, match=f'"anndata" or "{new.name}", got \'sparse\''):
        scd.Loader(source, output="sparse")


def test_what_is_no_layout_is_no_form_of_x():
    with pytest.raises(ValueError, match="output='anndata' is no layout of X"):
        Form("anndata")


@pytest.mark.parametrize("output", ["csr", "dense", "padded"])
def test_rows_of_several_pieces_merge_to_those_of_one(output):
    dense = np.arange(24, dtype=np.float32).reshape(6, 4) % 5
    form = Form(output, width=4 if output == "padded" else None)
    places = [np.array([4, 0, 1]), np.array([5, 2]), np.array([3])]
    pieces = [(pack_dense(dense[at], form=form), at) for at in places]
    merged = form.merge(pieces, np.empty)
    whole = pack_dense(dense, form=form)
    if output == "csr":
        merged, whole = merged.toarray(), whole.toarray()
    np.testing.assert_equal(merged, whole)
