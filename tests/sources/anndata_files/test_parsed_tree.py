"""What is parsed of a file is what HDF5 says of it, or HDF5 is asked."""

import pickle

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.errors import CorruptFileError
from scdataset_core.sources.anndata_files.cell_files import locate_cells
from scdataset_core.sources.anndata_files.hdf5_tree import Hdf5Tree, open_checked
from scdataset_core.sources.anndata_files.parsed_tree import ask_parsed
from scdataset_core.sources.anndata_files.recording import Pool, record_file
from scdataset_core.sources.options import OpenOptions
from tests.sources.anndata_files.old_layouts import write_07, write_before_07
from tests.sources.small_cells import make_parts


def make_cells(n=60, n_genes=40):
    """Return cells with matrices and columns of every kind."""
    rng = np.random.default_rng(n)
    x = sp.random(n, n_genes, 0.3, "csr", np.float32, rng)
    whole = pd.array(rng.integers(0, 9, n), "Int64")
    whole[3] = pd.NA
    labels = [f"line {i}" for i in range(30)] + ["", "Zellen aus Köln"]
    obs = pd.DataFrame(
        {
            "line": pd.Categorical(rng.choice(labels, n), labels),
            "grade": pd.Categorical(rng.choice(["a", "b"], n), ["a", "b"], True),
            "year": pd.Categorical(rng.choice([2001, 2004], n)),
            "dose": rng.random(n).astype(np.float32),
            "whole": whole,
            "passed": rng.random(n) < 0.5,
            "text": rng.choice(["x", "yy", ""], n).astype(object),
        },
        index=[f"cell {i}" for i in range(n)],
    )
    cells = ad.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))
    cells.obsm["X_pca"] = rng.random((n, 3))
    cells.obsm["frame"] = pd.DataFrame({"a": rng.random(n)}, index=obs.index)
    cells.layers["whole"] = sp.csr_matrix(x.astype(np.int64))
    cells.layers["dense"] = x.toarray().astype(np.float16)
    cells.raw = cells[:, :30].copy()
    return cells


def dense(cells):
    cells.X = cells.X.toarray().astype(np.uint8)


def filter_values(path):
    """Write the values of X again, through three filters."""
    with h5py.File(path, "a") as file:
        values = file["X/data"][()]
        del file["X/data"]
        filters = {"compression": 3, "shuffle": True, "fletcher32": True}
        file.create_dataset("X/data", data=values, chunks=(64,), **filters)


def ask_hdf5(path, question):
    with open_checked(str(path)) as root:
        return question(Hdf5Tree(root, str(path), allow_external=False))


def record(tree):
    """Return all that an index would hold of a file."""
    pool = Pool()
    return (*record_file(tree, pool), pool.lists)


@pytest.mark.parametrize(
    ("change", "compression", "after"),
    [
        pytest.param(None, None, None, id="as_written"),
        pytest.param(None, "gzip", None, id="gzip"),
        pytest.param(None, "lzf", filter_values, id="three_filters"),
        pytest.param(dense, "gzip", None, id="dense"),
    ],
)
def test_what_is_parsed_is_what_hdf5_says(tmp_path, change, compression, after):
    cells, path = make_cells(), tmp_path / "a.h5ad"
    if change is not None:
        change(cells)
    cells.write_h5ad(path, compression=compression)
    if after is not None:
        after(path)
    parsed = ask_parsed(str(path), record)
    assert parsed is not None
    assert parsed == ask_hdf5(path, record)


def test_all_members_of_large_groups_are_found(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for i in range(300):  # more than a node of the group's tree holds
            file.create_group(f"column {i}")
        names = list(file)
    assert ask_parsed(str(path), lambda tree: list(tree.root)) == names


def test_hdf5_is_asked_of_references(tmp_path):
    path = str(write_07(tmp_path / "a.h5ad", make_parts()[0]))
    labels = OpenOptions(obs=("line",))
    assert ask_parsed(path, lambda tree: locate_cells(tree, labels)) is None
    assert scd.open(path, obs=["line"]).shape == make_parts()[0].shape


@pytest.mark.parametrize(
    "make",
    [
        pytest.param({"libver": "latest"}, id="headers_of_version_2"),
        pytest.param({"userblock_size": 512}, id="user_block"),
        pytest.param({"track_order": True}, id="members_in_the_order_of_writing"),
    ],
)
def test_hdf5_is_asked_of_other_layouts(tmp_path, make):
    path = tmp_path / "a.h5ad"
    make_cells().write_h5ad(tmp_path / "b.h5ad")
    with h5py.File(path, "w", **make) as file:
        ad.io.write_elem(file, "/", make_cells())  # copies would keep their headers
    labels = OpenOptions(obs=("line",))
    assert ask_parsed(str(path), lambda tree: locate_cells(tree, labels)) is None
    source = scd.open(path, obs=["line"])
    expected = scd.open(tmp_path / "b.h5ad", obs=["line"])
    rows = np.arange(60)
    assert (source.read(rows)["X"] != expected.read(rows)["X"]).nnz == 0
    assert np.array_equal(
        source.read(rows)["obs"]["line"], expected.read(rows)["obs"]["line"]
    )


def test_hdf5_is_asked_of_tables_of_records_and_links(tmp_path):
    old = str(write_before_07(tmp_path / "a.h5ad", make_parts()[0]))
    assert ask_parsed(old, lambda tree: locate_cells(tree, OpenOptions())) is None
    linked = tmp_path / "b.h5ad"
    make_cells().write_h5ad(linked)
    with h5py.File(linked, "a") as file:
        file.move("X", "counts")
        file["X"] = h5py.SoftLink("/counts")
    assert ask_parsed(str(linked), lambda tree: tree.find("X")) is None
    assert scd.open(linked).shape == (60, 40)


def test_links_to_other_files_are_followed_where_that_is_allowed(tmp_path):
    cells = make_cells()
    cells.write_h5ad(tmp_path / "b.h5ad")
    cells.raw = cells.copy()
    cells.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        del file["raw/X"]
        file["raw/X"] = h5py.ExternalLink("b.h5ad", "/X")
    source = scd.open(tmp_path / "a.h5ad", allow_external=True)
    assert source.contents is not None
    assert source.contents.has_raw


def test_hdf5_is_asked_of_text_that_is_not_there(tmp_path):
    path = tmp_path / "a.h5ad"
    make_cells().write_h5ad(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"GCOL")
    data[at + 16 : at + 400] = bytes(384)
    path.write_bytes(data)
    labels = OpenOptions(obs=("line",))
    assert ask_parsed(str(path), lambda tree: locate_cells(tree, labels)) is None
    with pytest.raises(CorruptFileError, match="heap"):
        scd.open(path, obs=["line"])


def test_hdf5_is_asked_of_headers_that_are_cut(tmp_path):
    path = tmp_path / "a.h5ad"
    make_cells().write_h5ad(path)
    with h5py.File(path) as file:
        at = h5py.h5o.get_info(file["obs"].id).addr
    sound = path.read_bytes()
    data = bytearray(sound)
    data[at + 18 : at + 20] = b"\xf8\xff"  # the size of its first message
    path.write_bytes(data)
    assert ask_parsed(str(path), lambda tree: tree.find("obs")) is None


def test_hdf5_is_asked_while_this_process_writes(tmp_path):
    path = str(tmp_path / "a.h5ad")
    make_cells().write_h5ad(path)
    with h5py.File(path, "a"):
        assert ask_parsed(path, lambda tree: tree.file) is None
    assert ask_parsed(path, lambda tree: tree.file) == path


def test_parsed_files_say_more_when_they_are_asked_later(tmp_path):
    path = tmp_path / "a.h5ad"
    make_cells().write_h5ad(path)
    source = pickle.loads(pickle.dumps(scd.open(path)))
    assert source.contents.obsm == ("X_pca", "frame")
    assert list(source.var.index) == [f"g{i}" for i in range(40)]


@pytest.mark.parametrize("n_bytes", [1, 8])
def test_no_bytes_make_more_of_a_file_than_hdf5_does_or_an_error(tmp_path, n_bytes):
    path = tmp_path / "a.h5ad"
    make_cells(20, 10).write_h5ad(path)
    sound = path.read_bytes()
    options = OpenOptions(obs=("line", "dose", "whole"))
    rng = np.random.default_rng(n_bytes)
    for _ in range(60):
        at = int(rng.integers(0, len(sound) - n_bytes))
        wrong = bytes([0] * n_bytes) if rng.random() < 0.3 else rng.bytes(n_bytes)
        path.write_bytes(sound[:at] + wrong + sound[at + n_bytes :])
        found = ask_parsed(str(path), lambda tree: locate_cells(tree, options))
        if found is not None:
            assert found.x.n_obs == 20
            assert list(found.obs) == ["line", "dose", "whole"]


def test_the_file_is_closed_once_it_was_asked(tmp_path):
    path = str(tmp_path / "a.h5ad")
    make_cells().write_h5ad(path)
    tree = ask_parsed(path, lambda tree: tree)
    assert tree is not None
    assert tree.root is None
    with tree.reopen() as again:
        assert again.group("obsm") is not None
