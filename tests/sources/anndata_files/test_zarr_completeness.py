"""Zarr stores that were copied in part, of which zarr-python gives zeros."""

import contextlib
import shutil
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd
from tests.sources.small_cells import make_parts

zarr = pytest.importorskip("zarr", minversion="3")


def write(path, adata, version=3, chunks=20):
    """Write a store as AnnData does, X in chunks of a few elements."""

    def write_one(write_elem, store, key, elem, *, dataset_kwargs, iospec, **kwargs):
        options = dict(dataset_kwargs)
        if iospec.encoding_type == "csr_matrix":
            options["chunks"] = (chunks,)
        write_elem(store, key, elem, dataset_kwargs=options)

    group = zarr.open_group(path, mode="w", zarr_format=version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, on consolidated metadata
        ad.experimental.write_dispatched(group, "/", adata, callback=write_one)
        zarr.consolidate_metadata(path)
    return path


@pytest.fixture(scope="module", params=[2, 3])
def whole(tmp_path_factory, request):
    path = tmp_path_factory.mktemp("store") / "a.zarr"
    return write(path, make_parts()[0], request.param)


@pytest.fixture
def path(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "a.zarr")


def files_of(path, name):
    """Return the files with the chunks of an array, by number."""
    found = [p for p in Path(path, name).rglob("*") if p.is_file()]
    return sorted((p for p in found if p.name.isdigit()), key=lambda p: int(p.name))


@pytest.mark.parametrize(
    "name", ["X", "X/indptr", "X/data", "var", "var/_index", "obs/line/codes"]
)
def test_what_only_consolidated_metadata_describe_is_missing(path, name):
    shutil.rmtree(path / name)
    with pytest.raises(ValueError, match=rf"{name} is missing.*not copied whole"):
        scd.open(path, obs=["line"])


def test_files_of_column_ids_cannot_be_missing(path):
    files_of(path, "X/indices")[2].unlink()
    with pytest.raises(ValueError, match=r"X/indices, 1 of \d+ files.* 40 to 60;"):
        scd.open(path)


def test_row_pointers_cannot_be_missing(path):
    for file in files_of(path, "X/indptr"):
        file.unlink()
    with pytest.raises(ValueError, match="X/indptr says that all rows are empty"):
        scd.open(path)


def test_files_of_values_that_are_missing_are_told(path):
    for file in files_of(path, "X/data")[1:3]:
        file.unlink()
    with pytest.warns(UserWarning, match=r"2 of 7 of .*X/data \(.* 20 to 60\)"):
        source = scd.open(path)
    want = make_parts()[0].X
    want.data[20:60] = 0
    got = source.read(np.arange(37))["X"]
    np.testing.assert_array_equal(got.toarray(), want.toarray())


@pytest.mark.parametrize("n_genes", [1, 11])
def test_column_ids_may_all_be_0_where_rows_hold_one_element(tmp_path, n_genes):
    part = make_parts()[0]
    x = part.X.toarray()
    x[:, 1:] = 0
    part.X = type(part.X)(x)
    part = part[:, :n_genes].copy()
    path = write(tmp_path / "a.zarr", part, chunks=5)
    assert not files_of(path, "X/indices")
    either = n_genes > 1  # else they cannot be anything else
    with pytest.warns(match="X/indices") if either else contextlib.nullcontext():
        source = scd.open(path)
    got = source.read(np.arange(37))["X"].toarray()
    np.testing.assert_array_equal(got, part.X.toarray())


def lose(path, name, *numbers):
    """Remove files of an array, all by default."""
    files = files_of(path, name)
    for number in numbers or range(len(files)):
        files[number].unlink()


@pytest.fixture(scope="module", params=[2, 3])
def whole_annotated(tmp_path_factory, request):
    """Return a store whose obs has a column of every kind, in several files each."""
    n = 40
    obs = pd.DataFrame(
        {
            "line": pd.Categorical(list("abcd") * 10, list("abcd")),
            "one": pd.Categorical(["only"] * n),
            "grade": pd.Categorical([1, 2, 3, 4] * 10),
            "note": [f"n{i}" for i in range(n)],  # stays text
            "count": np.arange(n),
            "dead": np.arange(n) % 2 == 0,
            "age": pd.array([1, pd.NA] * 20, "Int64"),
        },
        index=[f"cell{i}" for i in range(n)],
    )
    x = np.ones((n, 4), np.float32)
    adata = ad.AnnData(x, obs, pd.DataFrame(index=list("wxyz")))
    path = tmp_path_factory.mktemp("store") / "a.zarr"
    with (
        ad.settings.override(zarr_write_format=request.param),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # advice to write version 3
        adata.write_zarr(path, chunks=(10, 4))
    return path


@pytest.fixture
def annotated(whole_annotated, tmp_path):
    return shutil.copytree(whole_annotated, tmp_path / "a.zarr")


def test_a_whole_store_says_nothing(annotated):
    assert not files_of(annotated, "obs/one/codes")  # AnnData writes no zeros
    source = scd.open(annotated, obs=True, obs_names=True)
    assert source.notices == ()
    assert source.obs["one"].tolist() == [0] * 40


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("var/_index", "names of genes are not all the same", id="genes"),
        pytest.param("obs/_index", "names of cells are not all the same", id="cells"),
        pytest.param("obs/line/categories", "categories are not all", id="categories"),
        pytest.param("obs/grade/categories", "categories are not all", id="numbers"),
    ],
)
def test_names_and_categories_cannot_be_missing(annotated, name, why):
    lose(annotated, name)
    with pytest.raises(ValueError, match=rf"a\.zarr: of {name}, 1 of 1 .*{why}"):
        scd.open(annotated, obs=True, obs_names=True)


@pytest.mark.parametrize(
    "name",
    ["obs/line/codes", "obs/note", "obs/count", "obs/dead", "obs/age/values"],
)
def test_what_may_be_left_out_or_lost_is_told(annotated, name):
    lose(annotated, name)
    with pytest.warns(UserWarning, match=rf"1 of 1 of .*a\.zarr: {name} \(the first"):
        scd.open(annotated, obs=True)


def test_a_mask_that_is_not_there_is_told(annotated):
    lose(annotated, "obs/age/mask")
    with pytest.warns(UserWarning, match=r"a\.zarr: obs/age/mask \(the first is"):
        scd.open(annotated, obs=["age"])


def test_what_is_not_read_is_not_looked_at(annotated):
    lose(annotated, "obs/count")
    lose(annotated, "obs/_index")
    assert scd.open(annotated, obs=["line"]).notices == ()


def test_files_of_dense_rows_that_are_missing_are_told(annotated):
    (file,) = [p for p in (annotated / "X").rglob("*") if p.name in ("2.0",)] or [
        annotated / "X/c/2/0"
    ]
    file.unlink()
    with pytest.warns(UserWarning, match=r"1 of 4 of .*: X \(.*elements 20 to 30\)"):
        source = scd.open(annotated)
    assert source.read(np.arange(40))["X"].sum(1).tolist() == (
        [4] * 20 + [0] * 10 + [4] * 10
    )


def test_zip_files_that_lack_files_are_told_from_whole_ones(annotated):
    lose(annotated, "obs/line/codes")
    archive = shutil.make_archive(str(annotated), "zip", annotated)
    with (
        pytest.warns(UserWarning, match="X is read through zarr-python"),
        pytest.warns(UserWarning, match="1 of 1 of .*obs/line/codes"),
    ):
        scd.open(archive, obs=["line"])


def test_chunks_that_shards_leave_out_are_checked_by_what_they_would_mean(tmp_path):
    path = write(tmp_path / "a.zarr", make_parts()[0])
    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    for name in ("data", "indices"):
        values = root[f"X/{name}"][...]
        array = root.create_array(
            f"X/{name}",
            shape=values.shape,
            dtype=values.dtype,
            chunks=(10,),
            shards=(50,),
            overwrite=True,
        )
        array[...] = values
    assert scd.open(path).notices == ()
    root["X/data"][30:40] = 0  # a shard says on purpose that it leaves a chunk out
    assert scd.open(path).notices == ()
    root["X/indices"][30:40] = 0
    with pytest.raises(ValueError, match=r"X/indices, chunks .* 30 to 40; rows would"):
        scd.open(path)


@pytest.mark.parametrize("n_empty", [4, 5])
def test_row_pointers_may_be_0_where_the_first_rows_are_empty(tmp_path, n_empty):
    part = make_parts()[0]
    x = part.X.toarray()
    x[:n_empty] = 0
    x[36, 10] = 1  # so that no file holds nothing but the column 0
    part.X = type(part.X)(x)
    path = write(tmp_path / "a.zarr", part, chunks=5)
    assert len(files_of(path, "X/indptr")) == 7  # of 8
    either = n_empty == 4  # else the pointer behind them is 0, and so are they
    with pytest.warns(match="X/indptr") if either else contextlib.nullcontext():
        source = scd.open(path)
    np.testing.assert_array_equal(source.read(np.arange(37))["X"].toarray(), x)


def test_first_row_pointers_cannot_be_missing_where_rows_hold_the_same_column(path):
    lose(path, "X/indptr", 0)
    with pytest.raises(ValueError, match=r"X/indptr.*row 19 would hold columns twice"):
        scd.open(path)


def test_row_pointers_cannot_fall_to_0(tmp_path):
    path = write(tmp_path / "a.zarr", make_parts()[0], chunks=5)
    lose(path, "X/indptr", 3)
    with pytest.raises(ValueError, match=r"X/indptr.* 0 between \d+ and \d+,"):
        scd.open(path)


def test_a_store_that_was_removed_since_is_named(path):
    source = scd.open(path)
    shutil.rmtree(path)
    with pytest.raises(OSError, match="is not there any more; open the source again"):
        source.read([0, 36])
