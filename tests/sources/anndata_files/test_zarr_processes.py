"""Zarr stores as users have them: listed wrongly, zipped, empty, encoded by others."""

import contextlib
import json
import multiprocessing
import os
import pickle
import shutil
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from tests.sources.anndata_files.zarr_stores import (
    edit,
    forget_consolidated,
    recut,
    write,
)
from tests.sources.small_cells import make_parts

zarr = pytest.importorskip("zarr", minversion="3")
numcodecs = pytest.importorskip("numcodecs")


@pytest.fixture
def path(copy_store, tmp_path):
    return copy_store(tmp_path / "a.zarr")


def opened(data, **options):
    """Open without the notice that zarr-python reads it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X is read through zarr-python")
        return scd.open(data, **options)


def write_one(group, key, value):
    """Write one element into a group, as AnnData does."""
    with ad.settings.override(auto_shard_zarr_v3=False):
        ad.io.write_elem(group, key, value)


def _read_all(source):
    """Read all rows a few at a time, checking that they are what was asked for."""
    for start in range(0, 400, 4):
        cells = source.read(np.arange(start, start + 4))
        assert cells["X"].toarray()[:, 0].tolist() == list(range(start + 1, start + 5))
        assert cells["obs"]["number"].tolist() == list(range(start, start + 4))


class TestConsolidated:
    """What lies in a store is read, whatever its own list of its members says."""

    ways = pytest.mark.parametrize(
        "group", [False, True], ids=["path", "group opened by the list"]
    )

    def data(self, path, group):
        return zarr.open_group(path, mode="r") if group else path

    def test_an_array_of_an_unknown_type_that_is_not_read(self, path):
        root = zarr.open_group(path, mode="r+", use_consolidated=False)
        root.create_array("uns/odd", data=np.arange(3))
        edit(path / "uns/odd/zarr.json", data_type={"name": "of_tomorrow"})
        listed = json.loads((path / "zarr.json").read_text())
        members = listed["consolidated_metadata"]["metadata"]
        members["uns/odd"] = json.loads((path / "uns/odd/zarr.json").read_text())
        (path / "zarr.json").write_text(json.dumps(listed))
        want = make_parts()[0].X.toarray()
        got = scd.open(path).read(np.arange(37))["X"].toarray()
        np.testing.assert_array_equal(got, want)

    @ways
    def test_columns_whose_names_differ_by_case(self, tmp_path, group):
        part = make_parts()[0]
        part.obs["Line"] = pd.Categorical(list("xy") * 18 + ["x"])
        path = write(tmp_path / "a.zarr", part)
        source = scd.open(self.data(path, group), obs=["line", "Line"])
        assert source.categories["Line"] == ["x", "y"]
        assert source.categories["line"] == ["MCF7", "A549", "HCT15"]

    @ways
    def test_a_layer_that_was_added_later(self, path, group):
        root = zarr.open_group(path, mode="r+", use_consolidated=False)
        late = sp.csr_matrix(np.ones((37, 11), np.float32))
        write_one(root["layers"], "late", late)
        source = scd.open(self.data(path, group), x="layers/late")
        assert source.read(np.arange(37))["X"].sum() == 37 * 11


class TestZip:
    """Zip stores, whose one handle has a position."""

    @pytest.fixture
    def archive(self, tmp_path):
        n = 400
        x = np.zeros((n, 3), np.float32)
        x[:, 0] = np.arange(n) + 1
        obs = pd.DataFrame({"number": np.arange(n)}, [f"cell{i}" for i in range(n)])
        path = write(tmp_path / "a.zarr", ad.AnnData(sp.csr_matrix(x), obs))
        for name in ("X/data", "X/indices"):
            recut(path, name, chunks=(8,), compressors=None)
        return shutil.make_archive(str(path), "zip", path)

    @pytest.mark.parametrize("group", [False, True], ids=["path", "group"])
    # Python's own advice, which the fork below goes against on purpose.
    @pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
    @pytest.mark.filterwarnings("ignore:files of chunks are not there")  # all ids are 0
    def test_forked_processes_read_beside_each_other(self, archive, group):
        store = zarr.storage.ZipStore(archive, mode="r")
        data = zarr.open_group(store, mode="r") if group else archive
        source = opened(data, obs=["number"])
        source.read(np.arange(50))  # the handle is open when processes are forked
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_read_all, args=(source,)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0, 0]

    def test_a_store_open_for_writing_is_refused(self, archive):
        store = zarr.storage.ZipStore(archive, mode="a")
        size = Path(archive).stat().st_size
        with pytest.raises(ValueError, match=r"open for writing; close it \(store\.cl"):
            scd.open(zarr.open_group(store, mode="a"))
        store.close()
        assert Path(archive).stat().st_size == size

    @pytest.mark.filterwarnings("ignore:files of chunks are not there")  # all ids are 0
    def test_an_archive_that_is_replaced_is_named(self, archive):
        source = opened(archive)
        os.utime(archive, ns=(1, 1))
        with pytest.raises(OSError, match=r"a\.zarr\.zip changed since it was opened"):
            source.read([0])


@pytest.mark.parametrize("n_genes", [0, 3])
@pytest.mark.parametrize("n_cells", [0, 4])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("version", "shards"), [(2, False), (3, False), (3, True)], ids=["2", "3", "shards"]
)
def test_stores_without_cells_or_genes_or_elements(
    tmp_path, n_genes, n_cells, sparse, version, shards
):
    x = np.zeros((n_cells, n_genes), np.float32)
    obs = pd.DataFrame(
        {
            "number": np.arange(n_cells) + 1,
            "line": pd.Categorical(["a"] * n_cells, ["a"]),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    adata = ad.AnnData(sp.csr_matrix(x) if sparse else x, obs)
    path = write(tmp_path / "a.zarr", adata, version=version, shards=shards)
    zeros = not sparse and n_cells and n_genes  # of which no file is written
    with pytest.warns(match=": X") if zeros else contextlib.nullcontext():
        source = scd.open(path, obs=["number", "line"])
    cells = source.read(np.arange(n_cells))
    assert cells["X"].shape == x.shape
    assert cells["obs"]["number"].tolist() == obs["number"].tolist()
    starts = source.block_starts
    assert starts is not None
    assert starts.tolist() in ([0], [])
    assert "cells" in repr(source)


def test_a_store_without_cells_beside_one_with_cells(tmp_path, path):
    empty = make_parts()[0][:0].copy()
    source = scd.open([write(tmp_path / "b.zarr", empty), path], obs=["line"])
    assert source.shape == (37, 11)
    got = source.read(np.arange(37))["X"].toarray()
    np.testing.assert_array_equal(got, make_parts()[0].X.toarray())


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("size", [0, 10**19])
@pytest.mark.parametrize("name", ["X/data", "X/indptr", "obs/number", "var/_index"])
def test_chunks_of_a_size_that_none_can_have(copy_store, tmp_path, version, size, name):
    path = copy_store(tmp_path / "a.zarr", version)
    forget_consolidated(path)
    if version == 2:
        edit(path / name / ".zarray", chunks=[size])
    else:
        grid = {"name": "regular", "configuration": {"chunk_shape": [size]}}
        edit(path / name / "zarr.json", chunk_grid=grid)
    with pytest.raises(ValueError, match=rf"{name} says that its chunks .*{size}"):
        scd.open(path, obs=["number"])


class TestCodecs:
    """Codecs that run code, and those that are not there."""

    @pytest.fixture(scope="class")
    @classmethod
    def with_text(cls, tmp_path_factory):
        part = make_parts()[0]
        part.obs["note"] = [f"n{i}" for i in range(37)]
        path = write(tmp_path_factory.mktemp("store") / "a.zarr", part, version=2)
        forget_consolidated(path)
        return path

    @pytest.mark.parametrize("place", ["compressor", "first filter", "last filter"])
    @pytest.mark.parametrize(
        "name", ["var/_index", "obs/line/categories", "obs/_index", "obs/note"]
    )
    def test_pickle_is_refused_wherever_it_stands(
        self, with_text, tmp_path, monkeypatch, place, name
    ):
        path = shutil.copytree(with_text, tmp_path / "a.zarr")
        canary = tmp_path / "canary"
        described = path / name / ".zarray"
        metadata = json.loads(described.read_text())
        steps = {"id": "pickle", "protocol": 4}
        filters = {
            "compressor": [{"id": "vlen-utf8"}],
            "first filter": [steps, {"id": "vlen-utf8"}],
            "last filter": [{"id": "vlen-utf8"}, steps],
        }[place]
        compressor = steps if place == "compressor" else metadata["compressor"]
        edit(described, filters=filters, compressor=compressor)
        body = pickle.dumps(_Canary(str(canary)))
        for file in (path / name).glob("[0-9]*"):
            file.write_bytes(body)
        # As in the releases of numcodecs that decode without being told to.
        monkeypatch.setattr(
            numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False
        )
        with pytest.raises(ValueError, match=rf"{name}.* holds pickled objects"):
            scd.open(path, obs=["line", "note"], obs_names=True)
        assert not canary.exists()

    @pytest.mark.parametrize(
        ("codec", "how"),
        [
            pytest.param("zfpy", r"numcodecs\[zfpy\]", id="extra"),
            pytest.param("imagecodecs_jpegxl", "install imagecodecs", id="imagecodecs"),
            pytest.param("nobodys", "install the package that brings it", id="unknown"),
        ],
    )
    def test_codec_of_version_2_that_is_not_installed(
        self, copy_store, tmp_path, codec, how
    ):
        path = copy_store(tmp_path / "a.zarr", version=2)
        forget_consolidated(path)
        edit(path / "X/data/.zarray", compressor={"id": codec})
        with pytest.raises(ValueError, match=rf"X/data is encoded .*{codec}.*{how}"):
            scd.open(path)

    @pytest.mark.parametrize(
        ("codecs", "how"),
        [
            pytest.param(["bytes", "nobodys"], "install the package", id="unknown"),
            pytest.param(["numcodecs.pcodec"], r"numcodecs\[pcodec\]", id="serializer"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr")  # zarr's
    def test_codec_of_version_3_that_is_not_installed(self, path, codecs, how):
        steps = [{"name": name, "configuration": {}} for name in codecs]
        edit(path / "X/data/zarr.json", codecs=steps)
        with pytest.raises(ValueError, match=rf"X/data is .*{codecs[-1]}.*{how}"):
            scd.open(path)


class _Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return (open, (self._path, "w"))


def test_a_relative_path_holds_after_a_change_of_directory(path, tmp_path, monkeypatch):
    shutil.make_archive(str(path), "zip", path)
    monkeypatch.chdir(tmp_path)
    store = zarr.storage.ZipStore("a.zarr.zip", mode="r")
    found = [
        scd.open("a.zarr"),
        opened("a.zarr.zip"),
        scd.open(zarr.open_group("a.zarr", mode="r")),
        opened(zarr.open_group(store, mode="r")),
    ]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    want = make_parts()[0].X.toarray()
    for source in found:
        assert os.path.isabs(source.files[0])  # noqa: PTH117  # of a string
        for one in (source, pickle.loads(pickle.dumps(source))):
            got = one.read(np.arange(37))["X"].toarray()
            np.testing.assert_array_equal(got, want)
