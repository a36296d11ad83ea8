"""HDF5 files: handles, locks, and the ways in which text attributes come."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd
from tests.sources.anndata_files.marked_files import GENES, N, total, values, write


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the file in question, and the canary it must not read."""
    write(tmp_path / "mine.h5ad", 1)
    write(tmp_path / "other.h5ad", 100, "xy")
    return tmp_path


def read_first(source, queue):
    try:
        queue.put(source.read([3])["X"].sum())
    except Exception as error:
        queue.put(error)


def in_a_fork(source):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=read_first, args=(source, queue))
    process.start()
    got = queue.get()
    process.join()
    return got


class TestHandles:
    @pytest.fixture
    def over_object(self, folder):
        with (
            (folder / "mine.h5ad").open("rb") as raw,
            h5py.File(raw, "r") as handle,
        ):
            yield handle

    def test_over_a_file_object_reads_in_its_own_process(self, over_object):
        got = scd.open(over_object).read(np.arange(N))["X"].data
        np.testing.assert_array_equal(got, values(1).data)

    def test_over_a_file_object_is_refused_in_a_fork(self, over_object):
        error = in_a_fork(scd.open(over_object))
        assert isinstance(error, TypeError)
        assert "in this process only" in str(error)

    def test_over_a_file_object_does_not_pickle(self, over_object):
        with pytest.raises(TypeError, match="in this process only"):
            pickle.dumps(scd.open(over_object))

    def test_over_a_file_object_is_refused_as_it_is(self, over_object):
        with pytest.raises(TypeError, match=r"only this process can read; .*open\("):
            scd.Loader(over_object["obsm/X_pca"], scd.BlockShuffling(4), batch_size=2)

    def test_of_a_file_is_read_anywhere(self, folder):
        with h5py.File(folder / "mine.h5ad") as handle:
            source = scd.open(handle, obs=["line"])
            assert in_a_fork(source) == values(1)[3].sum()
        assert pickle.loads(pickle.dumps(source)).read([3])["X"].sum() == (
            values(1)[3].sum()
        )

    def test_of_a_backed_anndata_is_read_anywhere(self, folder):
        adata = ad.read_h5ad(folder / "mine.h5ad", backed="r")
        source = scd.open(adata, obs=["line"])
        assert in_a_fork(source) == values(1)[3].sum()
        assert total(pickle.loads(pickle.dumps(source))) == values(1).sum()
        adata.file.close()

    def test_closed_is_an_error_that_says_so(self, folder):
        with h5py.File(folder / "mine.h5ad") as handle:
            group = handle["obs"]
        for closed in (handle, group):
            with pytest.raises(ValueError, match=r"closed.*open it again.*path"):
                scd.open(closed)

    def test_closed_after_it_was_opened(self, folder):
        with (folder / "mine.h5ad").open("rb") as raw:
            with h5py.File(raw, "r") as handle:
                source = scd.open(handle)
            with pytest.raises(scd.CorruptFileError, match="was closed since"):
                source.read([0])

    def test_of_a_relative_path_after_a_change_of_directory(self, folder, monkeypatch):
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        write(elsewhere / "mine.h5ad", 100)
        monkeypatch.chdir(folder)
        with h5py.File("mine.h5ad") as handle:
            monkeypatch.chdir(elsewhere)
            with pytest.raises(scd.FileChangedError, match="directory was changed"):
                scd.open(handle)

    def test_a_data_set_is_dense_rows(self, folder):
        with h5py.File(folder / "mine.h5ad") as handle:
            source = scd.open(handle["obsm/X_pca"])
            assert source.read([0, 1])["X"].tolist() == [[1, 1], [1, 1]]
            assert list(source.var_names) == ["0", "1"]
            with pytest.raises(ValueError, match="has no obs"):
                scd.open(handle["obsm/X_pca"], obs=["line"])
            with pytest.raises(scd.FileFormatError, match="expected numbers of shape"):
                scd.open(handle["X/data"])
        assert in_a_fork(source) == 2


class TestLocks:
    @pytest.fixture
    def lock(self, folder):
        """Return what holds the file as a writer in another process does."""
        fcntl = pytest.importorskip("fcntl")
        held = os.open(folder / "mine.h5ad", os.O_RDWR)
        yield lambda: fcntl.flock(held, fcntl.LOCK_EX)
        os.close(held)

    def test_a_file_that_another_program_locked_is_read(self, folder, lock):
        lock()
        source = scd.open(folder / "mine.h5ad", obs=["line"], obs_names=True)
        cells = source.read(np.arange(N))
        np.testing.assert_array_equal(cells["X"].data, values(1).data)

    def test_a_file_locked_after_it_was_opened_is_read(self, folder, lock):
        source = scd.open(folder / "mine.h5ad")
        lock()
        assert source.read([3])["X"].sum() == values(1)[3].sum()

    def test_one_that_is_open_without_locks_in_this_process(self, folder):
        with h5py.File(folder / "mine.h5ad", locking=False):
            assert len(scd.open(folder / "mine.h5ad")) == N

    @pytest.mark.slow
    def test_a_writer_that_has_not_finished(self, tmp_path):
        path = tmp_path / "a.h5ad"
        program = (
            "import h5py, os\n"
            f"file = h5py.File({str(path)!r}, 'w', libver='latest')\n"
            "file['x'] = 1\n"
            "file.flush()\n"
            "os._exit(0)\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True)
        with pytest.raises(scd.FileFormatError, match="a program writes to it"):
            scd.open(path)


def attribute(file, path, name, text, kind):
    """Write an attribute as Julia (a scalar) or R (an array of one) does."""
    data: Any = np.array(
        text, h5py.string_dtype("utf-8" if kind == "utf8" else "ascii", 32)
    )
    if kind == "array":
        data = np.array([text], "S32")
    elif kind == "bytes":
        data = np.bytes_(text)
    file[path].attrs[name] = data


@pytest.mark.parametrize("kind", ["ascii", "utf8", "array", "bytes"])
def test_attributes_of_fixed_length(folder, kind):
    path = folder / "mine.h5ad"
    with h5py.File(path, "r+") as file:
        paths = ["X", "obs", "obs/line", "var"]
        for one in paths:
            attribute(
                file, one, "encoding-type", file[one].attrs["encoding-type"], kind
            )
        for table in ("obs", "var"):
            attribute(file, table, "_index", "_index", kind)
        dtype = h5py.string_dtype("utf-8", 8) if kind == "utf8" else "S8"
        file["obs"].attrs["column-order"] = np.array([b"line"], dtype)
        file["var"].attrs["column-order"] = h5py.Empty("S8")
        names = file["obs/_index"][()]
        del file["obs/_index"]
        file["obs/_index"] = names.astype("S8")
        file["X"].attrs["shape"] = np.array([N, GENES], np.float64)
    source = scd.open(path, obs=True, obs_names=True)
    assert source.obs_columns == ("line",)
    assert source.categories == {"line": ["u", "v"]}
    np.testing.assert_array_equal(source.read(np.arange(N))["X"].data, values(1).data)


@pytest.mark.parametrize("kind", ["ascii", "array"])
def test_a_path_to_categories_of_fixed_length(folder, kind):
    path = folder / "mine.h5ad"
    with h5py.File(path, "r+") as file:
        codes, names = file["obs/line/codes"][()], file["obs/line/categories"][()]
        del file["obs/line"]
        file["obs/line"] = codes
        file["obs/__categories/line"] = names
        attribute(file, "obs/line", "categories", "__categories/line", kind)
    assert scd.open(path, obs=["line"]).categories["line"] == ["u", "v"]


@pytest.mark.parametrize(
    ("categories", "match"),
    [
        (lambda file: h5py.Reference(), "categories of /obs/line are not there"),
        (lambda file: file["obs"].ref, "categories of /obs/line are no data set"),
        (lambda file: file["obsm/X_pca"].ref, r"have the shape \(20, 2\), expected a"),
        (lambda file: "nowhere", "categories of /obs/line are no data set"),
    ],
)
def test_categories_that_are_none(folder, categories, match):
    path = folder / "mine.h5ad"
    with h5py.File(path, "r+") as file:
        codes = file["obs/line/codes"][()]
        del file["obs/line"]
        file["obs/line"] = codes
        file["obs/line"].attrs["categories"] = categories(file)
    with pytest.raises(scd.FileFormatError, match=match):
        scd.open(path, obs=["line"])


SLASHES = ["a/b", "CD4+/CD8-", "sample/", "a//b", "./x", "n/./a"]


@pytest.mark.parametrize("name", SLASHES)
def test_names_with_slashes(tmp_path, name):
    path = tmp_path / "a.h5ad"
    column = pd.Categorical(list("uvuv"))
    adata = ad.AnnData(
        np.ones((4, 2), np.float32),
        obs=pd.DataFrame({name: column}, index=list("abcd")),
        var=pd.DataFrame(index=[name, "g"]),
        layers={name: np.full((4, 2), 2, np.float32)},
        obsm={name: np.full((4, 3), 3, np.float32)},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # anndata's, of such names
        adata.write_h5ad(path)
    for obs in ([name], True):
        source = scd.open(path, obs=obs, genes=[name])
        assert source.categories == {name: ["u", "v"]}
        assert source.obs[name].tolist() == [0, 1, 0, 1]
        assert source.shape == (4, 1)
    assert scd.open(path, x=f"layers/{name}").read([0])["X"].tolist() == [[2, 2]]
    assert scd.open(path, x=f"obsm/{name}").read([0])["X"].tolist() == [[3, 3, 3]]
