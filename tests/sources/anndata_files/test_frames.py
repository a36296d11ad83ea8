"""Data frames in obsm, from memory, `.h5ad` and zarr alike."""

import pickle
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd

N = 700


def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "CD3": rng.random(N).astype(np.float32),
            "CD19": rng.integers(0, 9, N),
            "passed": rng.random(N) < 0.5,
            "some": pd.array([None if i % 7 == 0 else i for i in range(N)], "Int64"),
        },
        index=[f"c{i}" for i in range(N)],
    )


@pytest.fixture(scope="module", params=["h5ad", "zarr"])
def path(request, tmp_path_factory):
    if request.param == "zarr":
        pytest.importorskip("zarr")
    table = frame()
    adata = ad.AnnData(
        np.ones((N, 3), np.float32),
        obs=pd.DataFrame(index=table.index),
        obsm={
            "protein": table,
            "same": table[["CD3"]] * 2,
            "mixed": table.assign(kind=pd.Categorical(["x", "y"] * (N // 2))),
            "none": table[[]],
        },
    )
    path = tmp_path_factory.mktemp("frames") / f"a.{request.param}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, of its formats
        options = {"compression": "gzip"} if request.param == "h5ad" else {}
        getattr(adata, f"write_{request.param}")(path, **options)
    return path


def test_values_and_names(path):
    want = frame().astype(float).to_numpy()
    source = scd.open(path, x="obsm/protein")
    assert source.var_names.tolist() == ["CD3", "CD19", "passed", "some"]
    assert source.dtype == np.float64
    cells = pickle.loads(pickle.dumps(source)).read(np.arange(N))
    np.testing.assert_array_equal(cells["X"], want)


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_of_some_columns(path, threads):
    want = frame().astype(float).to_numpy()[:, [3, 0]]
    source = scd.open(path, x="obsm/protein", genes=["some", "CD3"])
    loader = scd.Loader(
        source, scd.BlockShuffling(4), batch_size=50, fetch_factor=2, threads=threads
    )
    for batch in loader:
        np.testing.assert_array_equal(batch["X"], want[batch["index"]])


def test_several_files_and_x_beside_it(path):
    source = scd.open([path, path], x=["X", "obsm/same"])
    cells = source.read([1, N + 1])
    got = cells["X"]["obsm/same"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, frame()[["CD3"]].to_numpy()[[1, 1]] * 2)


def test_a_column_of_labels_is_named(path):
    match = r'obsm/mixed has the column "kind", which is not numbers \(labels\)'
    with pytest.raises(scd.FileFormatError, match=match):
        scd.open(path, x="obsm/mixed")


def test_a_table_without_columns(path):
    with pytest.raises(scd.FileFormatError, match="obsm/none is a table without colu"):
        scd.open(path, x="obsm/none")


def test_of_a_lazy_anndata(path):
    pytest.importorskip("dask")
    pytest.importorskip("xarray")
    read = getattr(ad.experimental, "read_lazy", None)
    if read is None:
        pytest.skip("anndata without read_lazy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = scd.open(read(path), x="obsm/same")
    np.testing.assert_array_equal(
        source.read([0, 5])["X"], frame()[["CD3"]].to_numpy()[[0, 5]] * 2
    )
