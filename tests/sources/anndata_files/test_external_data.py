"""Links and data that lead out of an HDF5 file are refused, unless they are allowed."""

import multiprocessing
import os
import pickle

import h5py
import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.anndata_files.marked_files import N, total, values, write


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

    def test_links_that_lead_to_ever_more_links(self, folder):
        path = relink(folder, "X", h5py.SoftLink("/link0/layers/counts"))
        with h5py.File(path, "r+") as file:
            for i in range(12):  # 4096 ways to the last one, which is the root
                file[f"link{i}"] = h5py.SoftLink(f"/link{i + 1}/link{i + 1}")
            file["link12"] = h5py.SoftLink("/")
        with pytest.raises(scd.FileFormatError, match="or to too many others"):
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
