"""HDF5 files: links, handles, locks, and the ways in which text attributes come."""

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
import scipy.sparse as sp

import scdataset_core as scd

N, GENES = 20, 6


def values(scale):
    """Return a matrix whose values tell which file and layer they come from."""
    matrix = sp.random(N, GENES, 0.4, format="csr", dtype=np.float32, random_state=0)
    matrix.data = (np.arange(1, matrix.nnz + 1) * scale).astype(np.float32)
    return matrix


def labels(letters):
    return pd.DataFrame(
        {"line": pd.Categorical([letters[i % 2] for i in range(N)])},
        index=[f"c{i}" for i in range(N)],
    )


def write(path, scale, letters="uv"):
    matrix = values(scale)
    ad.AnnData(
        matrix,
        obs=labels(letters),
        layers={"counts": matrix * 2},
        obsm={"X_pca": np.full((N, 2), scale, np.float32)},
    ).write_h5ad(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the file in question, and the canary it must not read."""
    write(tmp_path / "mine.h5ad", 1)
    write(tmp_path / "other.h5ad", 100, "xy")
    return tmp_path


def relink(folder, name, link):
    """Put a link at `name`; ``/ext`` is the other file."""
    with h5py.File(folder / "mine.h5ad", "r+") as file:
        file["ext"] = h5py.ExternalLink("other.h5ad", "/")
        if name in file:
            del file[name]
        file[name] = link
    return folder / "mine.h5ad"


def external(path):
    return h5py.ExternalLink("other.h5ad", path)


# What is put where, how it is asked for, and what the file is then read as.
WAYS_OUT = [
    pytest.param("X", h5py.SoftLink("/ext/X"), "X", id="soft_x"),
    pytest.param("X", external("/X"), "X", id="external_x"),
    pytest.param("X/data", h5py.SoftLink("/ext/X/data"), "X", id="soft_data"),
    pytest.param("X/indices", h5py.SoftLink("/ext/X/indices"), "X", id="soft_ids"),
    pytest.param("X/indptr", external("/X/indptr"), "X", id="external_pointers"),
    pytest.param("X", h5py.SoftLink("ext/./layers//counts"), "X", id="soft_relative"),
    pytest.param("obs", h5py.SoftLink("/ext/obs"), "X", id="soft_obs"),
    pytest.param("obs/line", h5py.SoftLink("/ext/obs/line"), "X", id="soft_column"),
    pytest.param(
        "obs/line/categories",
        h5py.SoftLink("/ext/obs/line/categories"),
        "X",
        id="soft_categories",
    ),
    pytest.param("obs/_index", external("/obs/_index"), "X", id="external_names"),
    pytest.param("var", h5py.SoftLink("/ext/var"), "X", id="soft_var"),
    pytest.param("var/_index", external("/var/_index"), "X", id="external_genes"),
    pytest.param("layers", h5py.SoftLink("/ext/layers"), "layers/counts", id="layers"),
    pytest.param(
        "layers/counts", h5py.SoftLink("/ext/X"), "layers/counts", id="soft_layer"
    ),
    pytest.param("obsm", external("/obsm"), "obsm/X_pca", id="external_obsm"),
    pytest.param(
        "obsm/X_pca", h5py.SoftLink("/ext/obsm/X_pca"), "obsm/X_pca", id="soft_obsm"
    ),
    pytest.param("raw", h5py.SoftLink("/ext"), "raw/X", id="soft_raw"),
]


class TestLinks:
    @pytest.mark.parametrize(("name", "link", "x"), WAYS_OUT)
    def test_no_way_leads_out_of_the_file_by_default(self, folder, name, link, x):
        path = relink(folder, name, link)
        with pytest.raises(
            scd.FileFormatError, match=r"mine\.h5ad: .*allow_external=True"
        ):
            scd.open(path, x=x, obs=["line"], obs_names=True)

    @pytest.mark.parametrize(("name", "link", "x"), WAYS_OUT)
    def test_what_was_asked_for_is_read_when_allowed(
        self, folder, name, link, x, monkeypatch
    ):
        path = relink(folder, name, link)
        with h5py.File(path) as file:  # what HDF5 itself gives
            group = file[x]
            want = group[()] if isinstance(group, h5py.Dataset) else group["data"][()]
            column = file["obs/line"]
            spoken = column["categories"].asstr()[()][column["codes"][()]].tolist()
        source = scd.open(path, x=x, obs=["line"], allow_external=True)
        other = folder / "elsewhere"
        other.mkdir()
        monkeypatch.chdir(other)
        for one in (source, pickle.loads(pickle.dumps(source))):
            cells = one.read(np.arange(N))
            X = cells["X"]
            got = X if isinstance(X, np.ndarray) else X.data
            np.testing.assert_array_equal(got, want)
            names = one.categories["line"]
            assert [names[code] for code in cells["obs"]["line"]] == spoken

    @pytest.mark.slow
    def test_another_process_reads_the_same(self, folder):
        path = relink(folder, "X", h5py.SoftLink("/ext/layers/counts"))
        source = scd.open(path, allow_external=True)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            got = pool.apply(total, (source,))
        assert got == values(200).sum()

    def test_a_path_that_an_attribute_names_stays_in_the_file(self, folder):
        path = relink(folder, "unused", h5py.SoftLink("/ext/obs/line/categories"))
        with h5py.File(path, "r+") as file:
            codes = file["obs/line/codes"][()]
            del file["obs/line"]
            file["obs/line"] = codes
            file["obs/line"].attrs["categories"] = "/ext/obs/line/categories"
        with pytest.raises(scd.FileFormatError, match=r"line.*allow_external=True"):
            scd.open(path, obs=["line"])
        source = scd.open(path, obs=["line"], allow_external=True)
        assert source.categories["line"] == ["x", "y"]

    def test_links_within_the_file_are_followed(self, folder):
        with h5py.File(folder / "mine.h5ad", "r+") as file:
            file.move("X", "deep/er/matrix")
            file["deep/link"] = h5py.SoftLink("er/matrix")
            file["X"] = h5py.SoftLink("deep/link")
        got = scd.open(folder / "mine.h5ad").read(np.arange(N))["X"]
        np.testing.assert_array_equal(got.data, values(1).data)

    @pytest.mark.parametrize(
        ("target", "match"),
        [
            ("/X", "a link that leads to itself"),
            ("/nowhere", "a link to /nowhere, and nothing is there"),
        ],
    )
    def test_links_that_lead_nowhere(self, folder, target, match):
        path = relink(folder, "X", h5py.SoftLink(target))
        with pytest.raises(scd.FileFormatError, match=match):
            scd.open(path)

    def test_a_link_into_a_third_file_is_refused(self, folder):
        write(folder / "third.h5ad", 10_000)
        with h5py.File(folder / "other.h5ad", "r+") as file:
            file["on"] = h5py.ExternalLink("third.h5ad", "/")
            del file["X"]
            file["X"] = h5py.SoftLink("/on/layers/counts")
        path = relink(folder, "X", external("/X"))
        with pytest.raises(scd.FileFormatError, match="leads on to another file"):
            scd.open(path, allow_external=True)

    def test_a_modality_behind_a_link(self, folder):
        with (
            h5py.File(folder / "mine.h5ad", "r") as mine,
            h5py.File(folder / "m.h5mu", "w") as file,
        ):
            mine.copy("obs", file)
            file["mod/rna"] = external("/")
        with pytest.raises(scd.FileFormatError, match="allow_external=True"):
            scd.open(folder / "m.h5mu")
        source = scd.open(folder / "m.h5mu", allow_external=True)
        got = source.read(np.arange(N))["X"]["rna"].data
        np.testing.assert_array_equal(got, values(100).data)

    def test_all_modalities_behind_a_link(self, folder):
        with h5py.File(folder / "mine.h5ad", "r") as mine:
            with h5py.File(folder / "inner.h5", "w") as file:
                mine.copy("/", file, "mod/rna")
            with h5py.File(folder / "m.h5mu", "w") as file:
                mine.copy("obs", file)
                file["mod"] = h5py.ExternalLink("inner.h5", "/mod")
        with pytest.raises(scd.FileFormatError, match=r"mod .*allow_external=True"):
            scd.open(folder / "m.h5mu")
        assert len(scd.open(folder / "m.h5mu", allow_external=True)) == N

    def test_a_handle_that_was_reached_by_a_link(self, folder):
        path = relink(folder, "aside", h5py.SoftLink("/ext"))
        with h5py.File(path) as file:
            with pytest.raises(scd.FileFormatError, match="open this file itself"):
                scd.open(file["aside"])
            got = scd.open(file["ext"]).read(np.arange(N))["X"].data
        np.testing.assert_array_equal(got, values(100).data)


def total(source):
    return source.read(np.arange(len(source)))["X"].sum()


class TestOtherFilesOfBytes:
    """Virtual data sets, and those that keep their bytes in a file beside."""

    @pytest.fixture(params=["X/data", "obs/line/codes", "layers/counts/indices"])
    def name(self, request):
        return request.param

    def move_out(self, folder, name, raw):
        with h5py.File(folder / "mine.h5ad", "r+") as file:
            stored = file[name][()]
            del file[name]
            (folder / raw.name).write_bytes(stored.tobytes())
            parts = [(str(raw), 0, stored.nbytes)]
            file.create_dataset(name, stored.shape, stored.dtype, external=parts)
        return folder / "mine.h5ad"

    def make_virtual(self, folder, name, source):
        with h5py.File(folder / "mine.h5ad", "r+") as file:
            stored = file[name][()]
            del file[name]
            with h5py.File(folder / "parts.h5", "w") as parts:
                parts["deep/values"] = stored
            layout = h5py.VirtualLayout(stored.shape, stored.dtype)
            layout[:] = h5py.VirtualSource(source, "/deep/values", stored.shape)
            file.create_virtual_dataset(name, layout)
        return folder / "mine.h5ad"

    def check(self, path, name):
        options = {
            "x": "layers/counts" if name.startswith("layers") else "X",
            "obs": ["line"],
        }
        with pytest.raises(scd.FileFormatError, match="allow_external=True"):
            scd.open(path, **options)
        return scd.open(path, **options, allow_external=True)

    def test_raw_bytes_by_a_relative_name(self, folder, name, monkeypatch):
        monkeypatch.chdir(folder)
        source = self.check(self.move_out(folder, name, folder / "raw"), name)
        scale = 2 if name.startswith("layers") else 1
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "raw").write_bytes(b"\x01" * 10_000)  # another of that name
        monkeypatch.chdir(elsewhere)
        cells = pickle.loads(pickle.dumps(source)).read(np.arange(N))
        np.testing.assert_array_equal(cells["X"].toarray(), values(scale).toarray())
        np.testing.assert_array_equal(cells["obs"]["line"], np.arange(N) % 2)

    @pytest.mark.parametrize("n_bytes", [None, 10])
    def test_raw_bytes_that_lack(self, folder, n_bytes):
        raw = folder / "raw"
        path = self.move_out(folder, "X/data", raw)
        raw.unlink() if n_bytes is None else os.truncate(raw, n_bytes)
        with pytest.raises(scd.FileFormatError, match=r"X/data .*raw, which is "):
            scd.open(path, allow_external=True)

    def test_virtual(self, folder, name, monkeypatch):
        source = self.check(self.make_virtual(folder, name, "parts.h5"), name)
        monkeypatch.chdir("/")
        cells = pickle.loads(pickle.dumps(source)).read(np.arange(N))
        scale = 2 if name.startswith("layers") else 1
        np.testing.assert_array_equal(cells["X"].toarray(), values(scale).toarray())

    @pytest.mark.parametrize("gone", ["parts.h5", "deep/values"])
    def test_virtual_whose_parts_are_not_there(self, folder, gone):
        path = self.make_virtual(folder, "X/data", "parts.h5")
        if gone == "parts.h5":
            (folder / gone).unlink()
        else:
            with h5py.File(folder / "parts.h5", "r+") as file:
                del file[gone]
        with pytest.raises(scd.FileFormatError, match="fill values"):
            scd.open(path, allow_external=True)

    def test_virtual_whose_parts_changed_since(self, folder):
        path = self.make_virtual(folder, "X/data", "parts.h5")
        source = scd.open(path, allow_external=True)
        with h5py.File(folder / "parts.h5", "r+") as file:
            file["more"] = np.arange(100)
        with pytest.raises(scd.CorruptFileError, match=r"parts\.h5 changed"):
            source.read([0])


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
