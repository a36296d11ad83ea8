"""`.h5ad` files of every layout, with AnnData's own reader as the oracle."""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.form import Form
from scdataset_core.storage import ReadContext
from tests.sources.anndata_files.old_layouts import write_07, write_before_07
from tests.sources.contract import SourceContract
from tests.sources.small_cells import dense_of, make_parts, spoken


class TestCsr(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        paths = [folder / f"{name}.h5ad" for name in "abc"]
        for path, part in zip(paths, parts, strict=True):
            part.write_h5ad(path)
        return str(folder / "*.h5ad")


class TestCsrCompressed(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        paths = [folder / f"{name}.h5ad" for name in "cab"]  # the list's order counts
        for path, part in zip(paths, parts, strict=True):
            part.write_h5ad(path, compression="gzip")
        return paths


class TestDense(SourceContract):
    sparse = False

    @classmethod
    def write(cls, folder, parts):
        paths = [folder / f"{i}.h5ad" for i in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            dense = part.copy()
            dense.X = part.X.toarray()
            dense.write_h5ad(path, compression="lzf")
        return paths


class TestLayer(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            moved = part.copy()
            moved.layers["counts"] = part.X
            moved.X = sp.csr_matrix(part.shape, dtype=np.float32)
            moved.write_h5ad(folder / f"{i}.h5ad")
        return str(folder / "*.h5ad")

    @classmethod
    def open(cls, data, **options):
        return scd.open(data, x="layers/counts", **options)


class TestBefore07(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        return [write_before_07(folder / f"{i}.h5ad", p) for i, p in enumerate(parts)]


class Test07(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        return [write_07(folder / f"{i}.h5ad", part) for i, part in enumerate(parts)]


class TestMixedTypes(SourceContract):
    """Files that differ in the types and order of bytes of everything stored."""

    TYPES = (("<f4", "<i4", "<i8"), (">f4", "<i8", "<u4"), ("<f2", ">u2", ">u8"))

    @classmethod
    def write(cls, folder, parts):
        for i, (part, types) in enumerate(zip(parts, cls.TYPES, strict=True)):
            path = folder / f"{i}.h5ad"
            part.write_h5ad(path)
            with h5py.File(path, "r+") as file:
                for name, dtype in zip(
                    ("data", "indices", "indptr"), types, strict=True
                ):
                    values = file[f"X/{name}"][()]
                    del file[f"X/{name}"]
                    file.create_dataset(
                        f"X/{name}", data=values.astype(dtype), chunks=(7,)
                    )
        return str(folder / "*.h5ad")


def oracle(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what AnnData says about old layouts
        return ad.read_h5ad(path)


def check_all(source, X, obs):
    """Check every row of a source against the whole matrix and table."""
    cells = source.read(np.arange(len(source)))
    want = X.toarray() if sp.issparse(X) else np.asarray(X)
    got = cells["X"].toarray() if sp.issparse(cells["X"]) else cells["X"]
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
    for name in source.obs_columns:
        column = obs[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            assert source.categories[name] == column.cat.categories.tolist()
            np.testing.assert_array_equal(cells["obs"][name], column.cat.codes)
        else:
            np.testing.assert_array_equal(cells["obs"][name], column.to_numpy())
            assert cells["obs"][name].dtype == column.dtype


@pytest.fixture(scope="module")
def pbmc():
    scanpy = find_spec("scanpy")  # of which the file is wanted, and no code
    if scanpy is None or scanpy.origin is None:
        pytest.skip("scanpy carries the file")
    return Path(scanpy.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"


class TestRealFile:
    """Scanpy's PBMC file, written by AnnData 0.6."""

    @pytest.mark.parametrize("x", ["X", "raw/X", "obsm/X_pca", "obsm/X_umap"])
    def test_every_matrix_and_column(self, pbmc, x):
        adata = oracle(pbmc)
        folder, _, name = x.partition("/")
        want = {"X": adata.X, "raw": adata.raw.X}.get(folder)
        source = scd.open(pbmc, x=x, obs=True, obs_names=True)
        check_all(source, adata.obsm[name] if want is None else want, adata.obs)
        assert set(source.obs_columns) == set(adata.obs.columns)
        rows = np.array([0, 17, 18, 699])
        names = source.read(rows).to_anndata().obs_names
        assert names.tolist() == adata.obs_names[rows].tolist()
        if folder in ("X", "raw"):
            assert source.var_names.tolist() == adata.var_names.tolist()
        else:
            assert source.var_names[:2].tolist() == [f"{name}1", f"{name}2"]

    @pytest.mark.parametrize("output", ["csr", "dense", "padded", "anndata"])
    @pytest.mark.parametrize("x", ["X", "raw/X"])
    def test_every_output(self, pbmc, x, output):
        adata = oracle(pbmc)
        want = np.asarray(adata.X) if x == "X" else adata.raw.X.toarray()
        source = scd.open(pbmc, x=x, obs=["bulk_labels", "n_genes"])
        loader = scd.Loader(
            source, scd.BlockShuffling(8), batch_size=64, fetch_factor=4, output=output
        )
        seen = []
        for batch in loader:
            if output == "anndata":
                rows = batch.obs_names.astype(int).to_numpy()
                got, labels = batch.X, batch.obs["bulk_labels"].tolist()
            else:
                rows = batch["index"][batch["index"] >= 0]
                got = batch["X"]
                codes = batch["obs"]["bulk_labels"][: len(rows)]
                labels = [source.categories["bulk_labels"][code] for code in codes]
            if output == "padded":
                dense = np.zeros((len(rows), source.shape[1]), got["values"].dtype)
                for i in range(len(rows)):
                    n = got["length"][i]
                    dense[i, got["indices"][i, :n]] = got["values"][i, :n]
                got = dense
            got = got.toarray() if sp.issparse(got) else got
            np.testing.assert_array_equal(got, want[rows])
            assert labels == adata.obs["bulk_labels"].iloc[rows].tolist()
            seen.extend(rows)
        assert sorted(seen) == list(range(700))


@pytest.mark.parametrize("write", [write_before_07, write_07], ids=["before_07", "07"])
def test_old_layouts_against_anndata(write, tmp_path):
    part = make_parts()[0]
    part.obs["text"] = [f"t{i % 3}" for i in range(part.n_obs)]
    part.obs["grade"] = pd.Categorical(
        np.array(["low", "mid", "high"])[part.obs["number"] % 3],
        ["low", "mid", "high"],
        ordered=True,
    )
    part.obs.iloc[3, part.obs.columns.get_loc("grade")] = np.nan
    path = write(tmp_path / "old.h5ad", part)
    adata = oracle(path)
    columns = [name for name in adata.obs if name != "text"]
    check_all(scd.open(path, obs=columns), adata.X, adata.obs)
    source = scd.open(path, obs=["text", "grade"])
    cells = source.read(np.arange(len(source)))
    assert spoken(source, cells, "text") == adata.obs["text"].astype(str).tolist()
    assert cells["obs"]["grade"][3] == -1
    if write is write_before_07:
        check_all(scd.open(path, x="raw/X"), adata.raw.X, adata.obs)
        source = scd.open(path, x="obsm/X_pca", genes=["X_pca3", "X_pca1"])
        check_all(source, adata.obsm["X_pca"][:, [2, 0]], adata.obs)


def test_one_category_of_the_oldest_files_is_a_scalar(tmp_path):
    part = make_parts()[0]
    part.obs["plate"] = pd.Categorical(["only"] * part.n_obs)
    path = write_before_07(tmp_path / "old.h5ad", part)
    with h5py.File(path, "r+") as file:
        del file["uns/plate_categories"]
        file["uns/plate_categories"] = "only"
    assert scd.open(path, obs=["plate"]).categories == {"plate": ["only"]}


def test_categories_without_a_value_are_none(tmp_path):
    part = make_parts()[0]
    part.obs["plate"] = pd.Categorical([None] * part.n_obs, ["only"])
    part.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        del file["obs/plate/categories"]
        file["obs/plate/categories"] = h5py.Empty(h5py.string_dtype())
    source = scd.open(tmp_path / "a.h5ad", obs=["plate"])
    assert source.categories == {"plate": []}
    assert source.obs["plate"].tolist() == [-1] * part.n_obs


def test_categories_that_the_file_cannot_hold_are_an_error(tmp_path):
    part = make_parts()[0]
    part.obs["plate"] = pd.Categorical(["only"] * part.n_obs)
    path = write_before_07(tmp_path / "old.h5ad", part)
    with h5py.File(path, "r+") as file:
        del file["uns/plate_categories"]
        file.create_dataset("uns/plate_categories", (1 << 46,), "S1", chunks=(1 << 30,))
    with pytest.raises(scd.CorruptFileError, match=r"old\.h5ad: .*plate_categories cl"):
        scd.open(path, obs=["plate"])


def test_categories_of_a_gene_column_are_not_those_of_cells(tmp_path):
    part = make_parts()[0]
    path = write_before_07(tmp_path / "old.h5ad", part)
    with h5py.File(path, "r+") as file:
        file["uns/number_categories"] = np.array([b"x", b"y"])
    source = scd.open(path, obs=["number"])
    assert source.categories == {}
    np.testing.assert_array_equal(source.obs["number"], np.arange(part.n_obs))


def test_raw_and_obsm_of_todays_layout(tmp_path):
    part = make_parts()[0]
    rng = np.random.default_rng(0)
    part.obsm["X_pca"] = rng.random((part.n_obs, 5))
    part.obsm["codes"] = sp.random_array((part.n_obs, 6), density=0.3, format="csr")
    more = part.copy()
    part.raw = more
    part = part[:, ::2].copy()
    part.write_h5ad(tmp_path / "a.h5ad")
    raw = scd.open(tmp_path / "a.h5ad", x="raw/X")
    check_all(raw, more.X, part.obs)
    assert raw.var_names.tolist() == more.var_names.tolist()
    check_all(scd.open(tmp_path / "a.h5ad", x="obsm/X_pca"), part.obsm["X_pca"], None)
    check_all(scd.open(tmp_path / "a.h5ad", x="obsm/codes"), part.obsm["codes"], None)


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "<i4", ">i8", "f2", ">f4", "f8"])
@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
def test_values_of_any_numeric_type(dtype, dense, tmp_path):
    part = make_parts()[0]
    part.write_h5ad(tmp_path / "a.h5ad")
    want = part.X.toarray().astype(dtype)
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        if dense:
            del file["X"]
            file["X"] = want
        else:
            values = file["X/data"][()].astype(dtype)
            del file["X/data"]
            file["X/data"] = values
    source = scd.open(tmp_path / "a.h5ad")
    native = np.dtype(dtype).newbyteorder("=")
    assert source.dtype == native
    rows = np.arange(len(source))
    with ReadContext(1) as context:
        for output in ("csr", "dense", "padded"):
            form = Form(output, width=11 if output == "padded" else None)
            bounds = np.array([0, len(rows)])
            (cells,) = source.read_batches(rows, rows, bounds, form, context)
            x = cells["X"]
            got = (x["values"] if output == "padded" else x).dtype
            half = output == "csr" and native == np.float16
            assert got == (np.float32 if half else native)
            np.testing.assert_array_equal(dense_of(x), want)


def test_an_open_file_and_one_in_memory(tmp_path):
    part = make_parts()[0]
    part.write_h5ad(tmp_path / "a.h5ad")
    want = part.X
    with h5py.File(tmp_path / "a.h5ad", "r") as file:
        check_all(scd.open(file, obs=["line", "score"]), want, part.obs)
    image = (tmp_path / "a.h5ad").read_bytes()
    memory: Any = h5py.File("memory", "w", driver="core", backing_store=False)
    with h5py.File.in_memory(image) if hasattr(h5py.File, "in_memory") else memory as f:
        if "X" not in f:
            with h5py.File(tmp_path / "a.h5ad", "r") as file:
                for key in file:
                    file.copy(key, f)
        check_all(scd.open(f, obs=["line", "score"]), want, part.obs)


def test_backed_anndata_is_read_from_its_file(tmp_path):
    part = make_parts()[0]
    part.write_h5ad(tmp_path / "a.h5ad")
    adata = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    adata.obs["more"] = np.arange(adata.n_obs) * 2
    source = scd.open(adata, obs=["line", "more"])
    assert source.files == (str(tmp_path / "a.h5ad"),)
    check_all(source, part.X, adata.obs)
    adata.file.close()


def test_storage_blocks_are_the_rows_that_start_inside_a_chunk(tmp_path):
    part = make_parts()[0]
    part.write_h5ad(tmp_path / "a.h5ad", compression="gzip")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        values = file["X/data"][()]
        del file["X/data"]
        file.create_dataset("X/data", data=values, chunks=(9,))
        starts = file["X/indptr"][:-1]
    source = scd.open([tmp_path / "a.h5ad", tmp_path / "a.h5ad"])
    chunk = starts // 9
    firsts = np.flatnonzero(np.diff(chunk, prepend=-1))
    want = np.concatenate([firsts, firsts + part.n_obs])
    np.testing.assert_array_equal(source.block_starts, want)
    assert source.natural_block == max(1, round(9 / source.mean_stored))


def test_giant_chunks_are_told(tmp_path):
    part = make_parts()[0]
    part.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        del file["X"]
        shape = (part.n_obs, part.n_vars)
        X = file.create_dataset("X", shape, "f8", maxshape=(None, None))
        del file["X"]
        big = (1 << 20, part.n_vars)
        X = file.create_dataset(
            "X", shape, "f8", chunks=big, maxshape=(None, None), compression="gzip"
        )
        X[:] = part.X.toarray()
    source = scd.open(tmp_path / "a.h5ad")
    assert "giant chunks of 88 MiB" in repr(source)
    check_all(source, part.X.astype(np.float64), part.obs)
