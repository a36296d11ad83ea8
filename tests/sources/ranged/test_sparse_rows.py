"""Sparse rows of files: what is stored is checked before it becomes an address."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.errors import CorruptFileError
from scdataset_core.storage import ReadContext

N_CELLS = 12


def written(folder, n_vars, kind="h5ad", **parts):
    """Write a plate of 12 cells with one value each, some of its arrays replaced."""
    columns = np.arange(N_CELLS) % min(n_vars, 100)
    x = sp.csr_matrix(
        (np.ones(N_CELLS, "f4"), columns, np.arange(N_CELLS + 1)), (N_CELLS, n_vars)
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(n_vars)])
    path = folder / f"plate.{kind}"
    adata = ad.AnnData(x, var=var)
    if kind == "h5ad":
        adata.write_h5ad(path)
        with h5py.File(path, "r+") as file:
            for name, values in parts.items():
                del file[f"X/{name}"]
                file[f"X/{name}"] = values
        return path
    zarr = pytest.importorskip("zarr")
    store = zarr.open_group(path, mode="w", zarr_format=2)
    ad.io.write_elem(store, "/", adata)
    for name, values in parts.items():
        del store[f"X/{name}"]
        store["X"].create_array(name, data=values)
    return path


def every_form(source):
    """Yield a function that reads the first batch, in each form there is."""
    for output, options in [
        ("csr", {}),
        ("dense", {}),
        ("dense", {"dtype": "float16"}),
        ("padded", {"width": 4}),
        ("padded", {"width": 1}),
    ]:

        def read(output=output, options=options):
            loader = scd.Loader(
                source, scd.Streaming(), batch_size=12, output=output, **options
            )
            return next(iter(loader))["X"]

        yield read


@pytest.mark.parametrize(("kind", "genes"), [("h5ad", None), ("zarr", [3, 1])])
@pytest.mark.parametrize(
    ("dtype", "n_vars", "column"),
    [
        pytest.param("i1", 300, -100, id="int8_overflowed"),
        pytest.param("i2", 40_000, -30_000, id="int16_overflowed"),
        pytest.param("i4", 300, -1, id="int32_negative"),
        pytest.param("i8", 300, -(2**63), id="int64_least"),
        pytest.param("u1", 200, 255, id="uint8"),
        pytest.param("u2", 300, 300, id="uint16"),
        pytest.param("u4", 300, 2**32 - 1, id="uint32"),
        pytest.param("u8", 300, 2**63 + 1, id="uint64_over_int64"),
        pytest.param("i8", 300, 2**32 + 1, id="int64_wraps_in_int32"),
    ],
)
def test_columns_outside_are_errors_in_every_type(
    tmp_path, kind, genes, dtype, n_vars, column
):
    columns = np.zeros(N_CELLS, dtype)
    columns[7] = column
    path = written(tmp_path, n_vars, kind, indices=columns)
    match = rf"plate.{kind}: /?X/indices has column {column} in row 7, and there are"
    for read in every_form(scd.open(path, genes=genes)):
        with pytest.raises(CorruptFileError, match=match):
            read()


def test_an_overflow_is_called_one(tmp_path):
    path = written(tmp_path, 300, indices=np.full(N_CELLS, -56, "i1"))
    with pytest.raises(CorruptFileError, match="int8 holds ids up to 127, so larger"):
        scd.open(path).read([0])


def test_columns_of_one_file_are_not_held_against_those_of_another(tmp_path):
    (tmp_path / "b").mkdir()
    first = written(tmp_path, 300, indices=np.full(N_CELLS, 100, "i2"))
    second = written(tmp_path / "b", 90, indices=np.full(N_CELLS, 89, "i2"))
    source = scd.open([first, second], join="outer")
    assert source.read(np.arange(24))["X"].nnz == 24
    second = written(tmp_path / "b", 90, indices=np.full(N_CELLS, 90, "i2"))
    with pytest.raises(CorruptFileError, match=r"b/plate.h5ad.*column 90 in row 0"):
        scd.open([first, second], join="outer").read(np.arange(24))


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("dtype", ["i4", "i8", "u2"])
def test_row_pointers_that_end_before_the_values_do_are_an_error(tmp_path, kind, dtype):
    pointers = np.minimum(np.arange(N_CELLS + 1), 5).astype(dtype)
    path = written(tmp_path, 300, kind, indptr=pointers)
    with pytest.raises(CorruptFileError, match=r"X/indptr .* ends at 5, .* 12 stored"):
        scd.open(path)


@pytest.mark.parametrize("name", ["data", "indices"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_elements_that_were_never_written_are_an_error(tmp_path, name, compression):
    path = written(tmp_path, 300)
    with h5py.File(path, "r+") as file:
        kept = file[f"X/{name}"][()]
        del file[f"X/{name}"]
        new = file.create_dataset(
            f"X/{name}", kept.shape, kept.dtype, chunks=(4,), compression=compression
        )
        new[:4] = kept[:4]
    source = scd.open(path)
    assert source.read(np.arange(4))["X"].nnz == 4
    match = rf"plate.h5ad: data set /X/{name}, chunk 1 .* it is missing"
    with pytest.raises(CorruptFileError, match=match):
        source.read([3, 4])


def test_labels_that_were_never_written_are_an_error(tmp_path):
    path = written(tmp_path, 300)
    with h5py.File(path, "r+") as file:
        file["obs"].create_dataset("batch", (N_CELLS,), "i1")
        file["obs"].attrs["column-order"] = ["batch"]
    with pytest.raises(
        CorruptFileError, match="data set /obs/batch, its data: it is mi"
    ):
        next(iter(scd.Loader(scd.open(path, obs=["batch"]), scd.Streaming())))


def test_values_that_are_cast_are_not_kept_beside_what_became_of_them(tmp_path):
    n_stored = 40_000
    columns = np.tile(np.arange(1000), n_stored // 1000)
    starts = np.arange(0, n_stored + 1, 1000)
    x = sp.csr_matrix((np.ones(n_stored, "f8"), columns, starts), (40, 1000))
    ad.AnnData(x).write_h5ad(tmp_path / "plate.h5ad")
    source = scd.open(tmp_path / "plate.h5ad")
    rows = np.arange(40)
    with ReadContext(1) as context:
        form = source.form_of("csr", dtype="float32")
        [cells] = source.read_batches(rows, rows, np.array([0, 40]), form, context)
        leases = context._buffers._leases.values()
        assert cells["X"].dtype == np.float32
        assert sum(len(lease.block) for lease in leases) < 1.2 * n_stored * (4 + 4)
