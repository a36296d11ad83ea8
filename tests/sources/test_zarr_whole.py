"""Zarr stores that were copied in part, of which zarr-python gives zeros."""

import shutil
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.contract import make_parts

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


@pytest.fixture(params=[2, 3])
def path(tmp_path, request):
    return write(tmp_path / "a.zarr", make_parts()[0], request.param)


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
    with pytest.warns(UserWarning, match=r"2 of \d+ of .*X/data; .*taken to be 0"):
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
    got = scd.open(path).read(np.arange(37))["X"].toarray()
    np.testing.assert_array_equal(got, part.X.toarray())


def test_a_store_that_was_removed_since_is_named(path):
    source = scd.open(path)
    shutil.rmtree(path)
    with pytest.raises(OSError, match="is not there any more; open the source again"):
        source.read([0, 36])
