"""An index of zarr stores opens them as they open without it, and finds changes."""

import pickle
import shutil
import zipfile
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.errors import FileChangedError, FileFormatError
from tests.sources.anndata_files.test_index import GENES, cells, check_same
from tests.sources.anndata_files.test_zarr_sources import COLLECTION
from tests.sources.anndata_files.zarr_stores import write
from tests.sources.contract import SourceContract

zarr = pytest.importorskip("zarr", minversion="3")

# A mask that marks nothing as missing has no chunk.
pytestmark = pytest.mark.filterwarnings("ignore:files of chunks are not there")


@pytest.mark.slow
class TestIndexOfStores(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            write(folder / f"{i}.zarr", part)
        scd.Index.build(str(folder / "*.zarr")).save(folder / "all.scdindex")
        return folder / "all.scdindex"


COLUMNS = ["drug", "dose", "whole", "passed", "text", "grade"]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param({"version": 2}, id="version_2", marks=pytest.mark.slow),
        pytest.param({"version": 3}, id="version_3"),
        pytest.param(
            {"version": 3, "shards": True}, id="shards", marks=pytest.mark.slow
        ),
    ],
)
def stores(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    kinds = [(30, GENES, ["a", "b"]), (20, GENES[::-1], ["b", "c"]), (9, GENES, ["a"])]
    paths = []
    for i, (n, genes, labels) in enumerate(kinds):
        paths.append(str(folder / f"{i}.zarr"))
        with ad.settings.override(allow_write_nullable_strings=True):
            write(paths[-1], cells(n, genes, labels, i), **request.param)
    return paths


@pytest.fixture(scope="module")
def saved(stores, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "x.scdindex"
    scd.Index.build(stores).save(path)
    return path


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"join": "outer", "obs": COLUMNS}, id="outer_all_columns"),
        pytest.param({"join": "outer", "x": "raw/X", "obs": ["text"]}, id="raw"),
        pytest.param({"x": "obsm/X_pca", "obs": ["whole"]}, id="obsm"),
        pytest.param({"join": "inner", "obs_names": True}, id="names_of_cells"),
    ],
)
def test_an_index_opens_as_its_stores_do(stores, saved, options):
    found = scd.open(saved, **options)
    expected = scd.open(stores, **options)
    check_same(found, expected)
    check_same(pickle.loads(pickle.dumps(found)), expected)
    if options.get("obs_names"):
        rows = np.array([0, 31, 58])
        assert np.array_equal(found.read_names(rows), expected.read_names(rows))
    else:
        assert found.contents == expected.contents
        assert found.where(grade="low") == expected.where(grade="low")


def test_a_changed_store_is_named_and_update_reads_it(stores, tmp_path):
    paths = [shutil.copytree(path, tmp_path / Path(path).name) for path in stores]
    index = scd.Index.build(paths)
    assert index.update() == ((), (), ())
    names = [f"h{i}" for i in range(len(GENES))]
    version = zarr.open_group(paths[1], mode="r").metadata.zarr_format
    root = zarr.open_group(paths[1], mode="r+", use_consolidated=False)
    table = ad.io.read_elem(root["var"]).set_axis(names)
    options = {"zarr_write_format": version, "auto_shard_zarr_v3": False}
    with ad.settings.override(**options):
        ad.io.write_elem(root, "var", table)
    source = scd.open(index, join="outer")
    with pytest.raises(FileChangedError, match=r"1\.zarr changed .* scdataset index"):
        source.read([31])
    assert index.update() == ((str(paths[1]),), (), ())
    check_same(scd.open(index, join="outer"), scd.open(paths, join="outer"))
    shutil.rmtree(paths[0])
    assert index.update().dropped == (str(paths[0]),)


def test_collections_of_annbatch_are_their_members(tmp_path):
    with zipfile.ZipFile(COLLECTION) as archive:
        archive.extractall(tmp_path)
    index = scd.Index.build(tmp_path)
    expected = scd.open(tmp_path, obs=["line"])
    assert index.files == expected.files
    found = scd.open(index, obs=["line"])
    assert found.fingerprint == expected.fingerprint
    assert found.categories == expected.categories
    rows = [0, 5, len(expected) - 1]
    assert (found.read(rows)["X"] != expected.read(rows)["X"]).nnz == 0


def test_stores_that_lack_files_and_zip_files_are_refused(tmp_path):
    path = write(tmp_path / "a.zarr", cells(30, GENES, ["a", "b"], 1))
    shutil.make_archive(tmp_path / "b", "zip", path)
    with pytest.raises(FileFormatError, match=r"b\.zip: .* unpack it"):
        scd.Index.build(tmp_path / "b.zip")
    shutil.rmtree(path / "X" / "indices" / "c")
    with pytest.raises(FileFormatError, match="not copied whole"):
        scd.Index.build(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileFormatError, match=r"empty.*zarr cannot open"):
        scd.Index.build(tmp_path / "empty")
