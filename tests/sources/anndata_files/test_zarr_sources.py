"""Zarr stores, with AnnData's own reader as the oracle."""

import shutil
import warnings
import zipfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from tests.sources.anndata_files.zarr_stores import forget_consolidated, recut, write
from tests.sources.contract import SourceContract
from tests.sources.small_cells import N_CELLS, make_parts

zarr = pytest.importorskip("zarr", minversion="3")

# Written by annbatch 0.3.1: DatasetCollection(folder).add_adatas(paths, shuffle=False,
# dataset_size=50, n_obs_per_chunk=7, shard_size=21, shuffle_chunk_size=10) of the
# contract's parts.
COLLECTION = Path(__file__).with_name("annbatch-0.3.1.zip")


@pytest.mark.slow
class TestVersion2(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            write(folder / f"{i}.zarr", part, version=2)
        return str(folder / "*.zarr")


class TestVersion3(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        paths = [folder / f"{name}.zarr" for name in "cab"]  # the list's order counts
        for path, part in zip(paths, parts, strict=True):
            write(path, part)
        return paths


class TestShards(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            path = write(folder / f"{i}.zarr", part, shards=True)
            for name in ("data", "indices"):
                recut(path, f"X/{name}", chunks=(7,), shards=(21,))
            recut(path, "X/indptr", chunks=(5,), shards=(10,))
        return str(folder / "*.zarr")


@pytest.mark.slow
class TestMixedEncodings(SourceContract):
    """Stores that differ in the types, chunks and codecs of everything stored."""

    @classmethod
    def write(cls, folder, parts):
        from zarr.codecs import BloscCodec, GzipCodec

        ways = [
            (3, ("float32", "int32", "int64"), BloscCodec(cname="lz4")),
            (2, (">f4", ">i8", "<u4"), "auto"),
            (3, ("float16", "uint16", "uint64"), GzipCodec()),
        ]
        for i, (part, way) in enumerate(zip(parts, ways, strict=True)):
            version, dtypes, compressors = way
            path = write(folder / f"{i}.zarr", part, version=version)
            for name, dtype in zip(("data", "indices", "indptr"), dtypes, strict=True):
                recut(
                    path, f"X/{name}", chunks=(9,), dtype=dtype, compressors=compressors
                )
        return str(folder / "*.zarr")


class TestDense(SourceContract):
    sparse = False

    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            dense = part.copy()
            dense.X = part.X.toarray()
            path = write(folder / f"{i}.zarr", dense)
            shards = (10, 8) if i else None
            compressors = None if i == 2 else "auto"
            recut(path, "X", chunks=(5, 4), shards=shards, compressors=compressors)
        return str(folder / "*.zarr")

    @classmethod
    def open(cls, data, **options):
        with warnings.catch_warnings():
            # Chunks of zeros, which were left out.
            warnings.filterwarnings("ignore", message="files of chunks are not there")
            return scd.open(data, **options)


@pytest.mark.slow
class TestZip(SourceContract):
    """Through zarr-python."""

    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            path = write(folder / f"{i}.zarr", part)
            shutil.make_archive(str(folder / f"{i}.zarr"), "zip", path)
        return str(folder / "*.zip")

    @classmethod
    def open(cls, data, **options):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X is read through zarr-python")
            return scd.open(data, **options)


class TestCollection(SourceContract):
    """What annbatch wrote of the contract's cells."""

    @classmethod
    def write(cls, folder, parts):
        if [part.n_obs for part in parts] != list(N_CELLS):
            return cls._rewritten(folder, parts)
        with zipfile.ZipFile(COLLECTION) as archive:
            archive.extractall(folder / "collection")
        return folder / "collection"

    @classmethod
    def _rewritten(cls, folder, parts):
        root = zarr.open_group(folder / "collection", mode="w")
        root.attrs["encoding-type"] = "annbatch-preshuffled"
        for i, part in enumerate(parts):
            write(folder / "collection" / f"dataset_{i}", part)
        return folder / "collection"

    def test_all_columns_are_those_that_can_be_carried(self, data):
        source = self.open(data, obs=True)
        assert source.obs_columns[:4] == ("line", "number", "score", "passed")
        assert source.obs_columns[4:] == ("src_path",)  # annbatch's own

    def test_group_object_is_the_same_source(self, data, source):
        group = zarr.open_group(data, mode="r")
        assert self.open(group).files == source.files
        assert self.open(group).fingerprint == source.fingerprint
        assert self.open(group["dataset_1"]).files == source.files[1:]


@pytest.fixture(scope="module")
def annotated():
    """Return an AnnData with every kind of column and several matrices."""
    rng = np.random.default_rng(1)
    n = 40
    obs = pd.DataFrame(
        {
            "line": pd.Categorical(rng.choice(["b", "a", "ü"], n), ["b", "a", "ü"]),
            "donor": [f"donor {i}" for i in rng.permutation(n)],  # stays text
            "count": pd.array(rng.integers(0, 9, n), "Int64"),
            "dead": pd.array(rng.random(n) < 0.5, "boolean"),
            "note": pd.array([f"n{i}" if i % 3 else pd.NA for i in range(n)], "string"),
            "dose": rng.random(n),
        },
        index=[f"cell{i}" for i in range(n)],
    )
    obs.loc[obs.index[3], ["count", "dead"]] = pd.NA
    obs.loc[obs.index[5], "line"] = np.nan
    counts = sp.random(n, 6, 0.5, format="csr", dtype=np.float32, random_state=0)
    adata = ad.AnnData(counts, obs, pd.DataFrame(index=list("uvwxyz")))
    adata.raw = adata
    adata = adata[:, :4].copy()
    adata.layers["dense"] = adata.X.toarray().astype(np.float64)
    adata.obsm["X_pca"] = rng.random((n, 3)).astype(np.float32)
    return adata


@pytest.fixture(
    scope="module",
    params=[(2, False), (3, False), (3, True)],
    ids=["version2", "version3", "shards"],
)
def store(request, annotated, tmp_path_factory):
    version, shards = request.param
    with ad.settings.override(allow_write_nullable_strings=True):
        path = tmp_path_factory.mktemp("store") / "a.zarr"
        return write(path, annotated, version=version, shards=shards)


@pytest.mark.parametrize("x", ["X", "raw/X", "layers/dense", "obsm/X_pca"])
def test_every_matrix_is_read(store, annotated, x):
    source = scd.open(store, x=x)
    folder, _, name = x.partition("/")
    want = {
        "X": annotated.X,
        "raw": annotated.raw.X,
        "layers": annotated.layers["dense"],
        "obsm": annotated.obsm["X_pca"],
    }[folder]
    cells = source.read(np.arange(len(source)))
    got = cells["X"]
    assert sp.issparse(got) == sp.issparse(want)
    assert got.dtype == want.dtype
    dense = [m.toarray() if sp.issparse(m) else m for m in (got, want)]
    np.testing.assert_array_equal(*dense)
    if folder == "raw":
        assert source.var_names.tolist() == list("uvwxyz")
    if folder == "obsm":
        assert source.var_names.tolist() == [f"{name}{i}" for i in (1, 2, 3)]


def test_every_column_is_carried(store, annotated):
    source = scd.open(store, obs=True, obs_names=True)
    assert source.obs_columns == tuple(annotated.obs.columns)
    assert source.categories["line"] == ["b", "a", "ü"]
    cells = source.read(np.arange(len(source)))
    obs = annotated.obs
    np.testing.assert_array_equal(cells["obs"]["line"], obs["line"].cat.codes)
    for name in ("donor", "note"):
        labels = np.array([*source.categories[name], None], object)
        want = obs[name].astype(object).where(obs[name].notna(), None)
        assert labels[cells["obs"][name]].tolist() == want.tolist()
    for name in ("count", "dead"):
        want = obs[name].to_numpy(dtype=float, na_value=np.nan)
        np.testing.assert_array_equal(cells["obs"][name], want)
    np.testing.assert_array_equal(cells["obs"]["dose"], obs["dose"])
    assert cells.to_anndata().obs_names.tolist() == annotated.obs_names.tolist()


def test_everything_that_is_numbers_is_read_natively(store):
    source = scd.open(store)
    assert source.notices == ()
    assert "zstd" in repr(source) or "blosc" in repr(source)


def test_categorical_of_anndata_07(tmp_path, annotated):
    path = write(tmp_path / "a.zarr", annotated[:, :2].copy()[:, :], version=2)
    forget_consolidated(path)
    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    codes, labels = root["obs/line/codes"][...], root["obs/line/categories"][...]
    del root["obs/line"]
    categories = root.create_array(
        "obs/__categories/line", shape=labels.shape, dtype=labels.dtype
    )
    categories[...] = labels
    values = root.create_array("obs/line", data=codes)
    values.attrs["categories"] = "__categories/line"
    source = scd.open(path, obs=["line"])
    assert source.categories["line"] == ["b", "a", "ü"]
    np.testing.assert_array_equal(source.obs["line"], annotated.obs["line"].cat.codes)


def test_collection_is_ordered_by_number(tmp_path):
    part = make_parts()[2]
    root = zarr.open_group(tmp_path / "c", mode="w")
    root.attrs["encoding-type"] = "annbatch-preshuffled"
    for number in (10, 2, 0):
        some = part[:3].copy()
        some.obs["number"] = number + 1  # zarr leaves out zeros
        write(tmp_path / "c" / f"dataset_{number}", some)
    source = scd.open(tmp_path / "c", obs=["number"])
    assert source.obs["number"].tolist() == [1, 1, 1, 3, 3, 3, 11, 11, 11]
    assert [Path(name).name for name in source.files] == [
        "dataset_0",
        "dataset_2",
        "dataset_10",
    ]


def test_group_in_memory_is_read_through_zarr(annotated):
    root = zarr.open_group(zarr.storage.MemoryStore(), mode="w", zarr_format=3)
    adata = annotated[:, :2].copy()
    del adata.obs["note"]
    with ad.settings.override(auto_shard_zarr_v3=False):
        ad.io.write_elem(root, "/", adata)
    with pytest.warns(UserWarning, match="its store is a MemoryStore") as caught:
        source = scd.open(root, obs=["line"])
    assert len(caught) == 1
    got = source.read([0, 3, 3])["X"].toarray()
    np.testing.assert_array_equal(got, annotated.X.toarray()[[0, 3, 3]][:, :2])


def test_codec_unknown_here_is_read_through_zarr_and_said_once(tmp_path):
    numcodecs = pytest.importorskip("numcodecs")
    parts = make_parts()
    for i, part in enumerate(parts):
        path = write(tmp_path / f"{i}.zarr", part, version=2)
        for name in ("data", "indices"):
            recut(path, f"X/{name}", chunks=(9,), compressors=numcodecs.BZ2())
    with pytest.warns(UserWarning, match="X/data: its codec is bz2") as caught:
        source = scd.open(str(tmp_path / "*.zarr"))
    assert len(caught) == 1
    got = source.read(np.arange(100))["X"].toarray()
    want = np.concatenate([part.X.toarray() for part in parts])
    np.testing.assert_array_equal(got, want)


def test_chunks_that_were_never_written_hold_the_fill_value(tmp_path):
    part = make_parts()[0]
    dense = part.copy()
    dense.X = part.X.toarray()
    path = write(tmp_path / "a.zarr", dense)
    recut(path, "X", chunks=(5, 11))
    Path(path, "X/c/2/0").unlink()
    want = dense.X.copy()
    want[10:15] = 0
    with pytest.warns(UserWarning, match="files of chunks are not there"):
        source = scd.open(path)
    np.testing.assert_array_equal(source.read(np.arange(37))["X"], want)
