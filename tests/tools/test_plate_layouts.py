"""Layouts of plates: the arrays of X are those of AnnData's and of real files."""

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import random_array

from scdataset_core.tools.plate_layouts import LAYOUTS, create_x
from scdataset_core.tools.synthetic import make_plates

anndata = pytest.importorskip("anndata")
h5py = pytest.importorskip("h5py")

REAL = {"tahoe": (122_031, 61_016), "cellxgene": (14_649, 7_325)}
SMALL = {"n_plates": 1, "n_cells": 60, "n_genes": 300, "stored_per_cell": 40}


def arrays(path):
    with h5py.File(path) as file:
        return {
            name: (array.dtype, array.chunks[0], array.compression)
            for name, array in file["X"].items()
        }


def written_by_anndata(path, x, **options):
    anndata.AnnData(x).write_h5ad(path, **options)
    return arrays(path)


@pytest.mark.parametrize("layout", REAL)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_real_layouts_have_int64_ids_in_chunks_of_half_the_elements(
    tmp_path, layout, compression
):
    values, ids = REAL[layout]
    [path] = make_plates(tmp_path, **SMALL, layout=layout, compression=compression)
    found = arrays(path)
    assert found["data"] == (np.float32, values, compression)
    assert found["indices"] == (np.int64, ids, compression)
    assert found["indptr"][0] == np.int64


def test_tahoe_layout_is_what_anndata_writes_for_arrays_of_that_size(
    tmp_path, monkeypatch
):
    # Arrays of 8 billion counts are declared, and the counts of a few cells written.
    create = h5py.Group.create_dataset

    def create_large(group, name, *args, data=None, shape=None, **options):
        if name not in ("data", "indices"):
            return create(group, name, *args, data=data, shape=shape, **options)
        n_elements = LAYOUTS["tahoe"].elements
        dataset = create(group, name, *args, shape=(n_elements,), **options)
        dataset[: len(data)] = data
        dataset.resize((len(data),))
        return dataset

    x = random_array((50, 300), density=0.2, format="csr", dtype=np.float32, rng=0)
    x.indices, x.indptr = x.indices.astype(np.int64), x.indptr.astype(np.int64)
    with monkeypatch.context() as patched:
        patched.setattr(h5py.Group, "create_dataset", create_large)
        want = written_by_anndata(tmp_path / "a.h5ad", x, compression="gzip")
    assert abs(anndata.read_h5ad(tmp_path / "a.h5ad").X - x).nnz == 0
    with h5py.File(tmp_path / "x.h5", "w") as file:
        create_x(
            file, LAYOUTS["tahoe"], shape=x.shape, n_stored=x.nnz, compression="gzip"
        )
    assert arrays(tmp_path / "x.h5") == want


def test_default_layout_is_what_anndata_writes(tmp_path):
    x = random_array((500, 300), density=0.3, format="csr", dtype=np.float32, rng=0)
    want = written_by_anndata(tmp_path / "a.h5ad", x, compression="gzip")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        create_x(
            file, LAYOUTS["default"], shape=x.shape, n_stored=x.nnz, compression="gzip"
        )
    assert arrays(tmp_path / "x.h5") == want


@pytest.mark.parametrize(
    ("n_stored", "dtype"), [(2**30 - 1, np.int32), (2**30, np.int64)]
)
def test_pointers_of_large_plates_are_int64(tmp_path, n_stored, dtype):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        create_x(
            file,
            LAYOUTS["default"],
            shape=(10, 10),
            n_stored=n_stored,
            compression=None,
        )
        assert file["X/indptr"].dtype == dtype
        assert file["X/indptr"][:].tolist() == [0]
        assert file["X/indices"].dtype == np.int32


def test_every_layout_holds_the_same_cells(tmp_path):
    plates = [
        anndata.read_h5ad(make_plates(tmp_path / name, **SMALL, layout=name)[0])
        for name in LAYOUTS
    ]
    for plate in plates[1:]:
        assert (plate.X != plates[0].X).nnz == 0
        assert plate.X.has_canonical_format
        assert plate.obs.equals(plates[0].obs)
        assert plate.var.equals(plates[0].var)
        assert (plate.layers["counts"] != plate.X).nnz == 0


@pytest.mark.parametrize("layout", ["Tahoe", None, ["tahoe"]])
def test_refuses_an_unknown_layout(tmp_path, layout):
    with pytest.raises(ValueError, match='must be "default", "tahoe" or "cellxgene"'):
        make_plates(tmp_path, **SMALL, layout=layout)
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_a_plate(tmp_path):
    def peak(n_cells):
        tracemalloc.start()
        make_plates(
            tmp_path / str(n_cells),
            n_plates=1,
            n_cells=n_cells,
            n_genes=4_000,
            stored_per_cell=1_000,
            layout="tahoe",
        )
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    # 1,100 cells are three pieces, and 3,300 are seven: 26 MB more of counts.
    assert peak(3_300) < peak(1_100) + (4 << 20)
