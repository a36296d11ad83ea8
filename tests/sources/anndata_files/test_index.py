"""What an index opens is what its files open as, and damage and change are named."""

import hashlib
import multiprocessing
import shutil
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.errors import (
    CorruptFileError,
    FileChangedError,
    FileFormatError,
    GeneMismatchError,
    MissingNameError,
)
from scdataset_core.sources.anndata_files import index_files
from tests.sources.anndata_files.old_layouts import write_07, write_before_07
from tests.sources.contract import SourceContract
from tests.storage.cache.plates import digest, write_plate

rng = np.random.default_rng(0)


class TestSavedIndex(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            part.write_h5ad(folder / f"{i}.h5ad", compression="gzip")
        scd.Index.build(str(folder / "*.h5ad")).save(folder / "all.scdindex")
        return folder / "all.scdindex"


class TestIndexOf07(SourceContract):
    @classmethod
    def write(cls, folder, parts):
        paths = [write_07(folder / f"{i}.h5ad", part) for i, part in enumerate(parts)]
        scd.Index.build(paths).save(folder / "all.scdindex")
        return folder / "all.scdindex"


class TestDenseIndex(SourceContract):
    sparse = False

    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            dense = part.copy()
            dense.X = part.X.toarray()
            dense.write_h5ad(folder / f"{i}.h5ad")
        scd.Index.build(folder / "*.h5ad").save(folder / "all.scdindex")
        return folder / "all.scdindex"


def cells(n, genes, labels, seed):
    """Return cells with columns of every kind."""
    draw = np.random.default_rng(seed)
    x = sp.random(n, len(genes), 0.4, "csr", np.float32, draw)
    whole = pd.array(draw.integers(0, 9, n), "Int64")
    if seed % 2 and n:
        whole[0] = pd.NA
    obs = pd.DataFrame(
        {
            "drug": pd.Categorical(draw.choice(labels, n) if n else []),
            "dose": draw.random(n),
            "whole": whole,
            "passed": draw.random(n) < 0.5,
            "text": draw.choice(["x", "y", *labels], n) if n else [],
            "grade": pd.Categorical(
                draw.choice(["low", "high"], n) if n else [], ["low", "high"], True
            ),
        },
        index=[f"c{seed}_{i}" for i in range(n)],
    )
    obs["text"] = obs["text"].astype(object if n else str)
    made = ad.AnnData(x, obs, pd.DataFrame(index=genes))
    made.obsm["X_pca"] = draw.random((n, 3))
    made.layers["counts"] = x * 2
    made.raw = made
    return made


GENES = [f"g{i}" for i in range(12)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Files whose genes and labels differ; one has no cells."""
    folder = tmp_path_factory.mktemp("mixed")
    kinds = [
        (30, GENES, ["a", "b"]),
        (20, GENES[::-1], ["b", "c"]),
        (0, GENES, ["a"]),
        (25, [*GENES[3:], "new"], ["d"]),
        (9, GENES, ["a", "b"]),
    ]
    paths = []
    for i, (n, genes, labels) in enumerate(kinds):
        paths.append(str(folder / f"{i}.h5ad"))
        made = cells(n, genes, labels, i)
        options = {} if i % 2 else {"compression": "gzip"}
        made.write_h5ad(paths[-1], convert_strings_to_categoricals=False, **options)
    return paths


@pytest.fixture(scope="module")
def saved(mixed, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "mixed.scdindex"
    scd.Index.build(mixed).save(path)
    return path


def check_same(found, expected):
    assert found.shape == expected.shape
    assert found.files == expected.files
    assert found.var_names.tolist() == expected.var_names.tolist()
    assert found.categories == expected.categories
    assert found.fingerprint == expected.fingerprint
    assert found.info.ordered == expected.info.ordered
    assert found.genes_report == expected.genes_report
    assert found.dtype == expected.dtype
    assert found.natural_block == expected.natural_block
    assert found.block_starts.tolist() == expected.block_starts.tolist()
    assert found.obs_columns == expected.obs_columns
    rows = np.sort(rng.integers(0, len(expected), 40))
    mine, other = found.read(rows), expected.read(rows)
    x, y = mine["X"], other["X"]
    assert ((x != y).nnz == 0) if sp.issparse(x) else np.array_equal(x, y)
    for name in expected.obs_columns:
        assert mine["obs"][name].dtype == other["obs"][name].dtype
        assert np.array_equal(
            mine["obs"][name],
            other["obs"][name],
            equal_nan=other["obs"][name].dtype.kind == "f",
        )


COLUMNS = ["drug", "dose", "whole", "passed", "text", "grade"]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"join": "outer", "obs": COLUMNS}, id="outer_all_columns"),
        pytest.param({"join": "inner", "obs": ["drug"]}, id="inner"),
        pytest.param({"join": "outer", "x": "layers/counts"}, id="layer"),
        pytest.param({"join": "outer", "x": "raw/X", "obs": ["text"]}, id="raw"),
        pytest.param({"x": "obsm/X_pca", "obs": ["whole"]}, id="obsm"),
        pytest.param({"join": "outer", "genes": ["new", "g5"]}, id="genes"),
        pytest.param(
            {"join": "inner", "obs": ["drug"], "categories": {"drug": [*"dcba"]}},
            id="saved_vocabulary",
        ),
        pytest.param({"join": "inner", "obs_names": True}, id="names_of_cells"),
    ],
)
def test_an_index_opens_as_its_files_do(mixed, saved, options):
    found, expected = scd.open(saved, **options), scd.open(mixed, **options)
    check_same(found, expected)
    if options.get("obs_names"):
        rows = np.arange(0, len(found), 7)
        assert np.array_equal(found.read_names(rows), expected.read_names(rows))


def test_several_arrays_and_all_columns(mixed, saved):
    options = {"x": ["X", "obsm/X_pca"], "join": "outer", "obs": True}
    found, expected = scd.open(saved, **options), scd.open(mixed, **options)
    rows = np.arange(0, len(expected), 5)
    mine, other = found.read(rows), expected.read(rows)
    assert (mine["X"]["X"] != other["X"]["X"]).nnz == 0
    assert np.array_equal(mine["X"]["obsm/X_pca"], other["X"]["obsm/X_pca"])
    assert found.obs_columns == expected.obs_columns


def test_decoded_chunks_are_kept(mixed, saved, tmp_path):
    options = {"join": "outer", "obs": ["drug"]}
    found = scd.open(saved, cache=tmp_path, **options)
    check_same(found, scd.open(mixed, **options))
    assert found.fill_cache() == 1.0
    assert scd.open(mixed, cache=tmp_path, **options).cached == 1.0
    check_same(scd.open(saved, cache=tmp_path, **options), scd.open(mixed, **options))


def test_long_lists_of_labels_are_read_from_the_file(mixed, monkeypatch):
    for module in ("recording", "facts"):
        name = f"scdataset_core.sources.anndata_files.{module}.MOST_LABELS"
        monkeypatch.setattr(name, 1)
    index = scd.Index.build(mixed)
    options = {"join": "outer", "obs": ["drug", "text"]}
    check_same(scd.open(index, **options), scd.open(mixed, **options))


def test_errors_are_those_of_the_files(saved):
    with pytest.raises(GeneMismatchError, match=r"0\.h5ad and .*1\.h5ad have"):
        scd.open(saved)
    with pytest.raises(MissingNameError, match=r'there is no obs column "drugs".*drug'):
        scd.open(saved, join="outer", obs=["drugs"])
    with pytest.raises(MissingNameError, match=r'there is no "layers/count"'):
        scd.open(saved, join="outer", x="layers/count")


def test_columns_that_are_not_carried_and_var_are_read(mixed, saved):
    found = scd.open(saved, join="outer")
    expected = scd.open(mixed, join="outer")
    assert found.where(drug="b") == expected.where(drug="b")
    assert found.contents == expected.contents
    assert found.var.index.tolist() == expected.var.index.tolist()
    parts = {"train": 0.5, "test": 0.5}
    split = scd.split(found, parts, by="drug", seed=1)
    assert split["test"] == scd.split(expected, parts, by="drug", seed=1)["test"]


def test_nothing_is_touched_before_it_is_read(mixed, tmp_path):
    paths = [shutil.copy(path, tmp_path) for path in mixed]
    index = scd.Index.build(paths)
    for path in paths[1:]:
        Path(path).unlink()
    source = scd.open(index, join="outer", obs=COLUMNS)
    assert source.read([0, 29])["X"].shape == (2, 13)
    with pytest.raises(FileChangedError, match=r"1\.h5ad is not there any more"):
        source.read([30])


def test_a_changed_file_is_named_and_update_reads_it(mixed, tmp_path):
    paths = [shutil.copy(path, tmp_path) for path in mixed]
    index = scd.Index.build(paths)
    cells(33, GENES, ["z"], 7).write_h5ad(paths[1])
    with pytest.raises(FileChangedError, match=r"1\.h5ad changed since"):
        scd.open(index, join="outer").read([31])
    Path(paths[4]).rename(tmp_path / "5.h5ad")
    assert index.update() == ((paths[1],), (), (paths[4],))
    assert index.files == tuple(map(str, paths[:4]))
    changes = index.update(str(tmp_path / "*.h5ad"))
    assert changes == ((), (str(tmp_path / "5.h5ad"),), ())
    index.save(tmp_path / "x.scdindex")
    now = str(tmp_path / "*.h5ad")
    options = {"join": "outer", "obs": ["drug", "dose"]}
    check_same(scd.open(tmp_path / "x.scdindex", **options), scd.open(now, **options))
    check_same(scd.open(index, **options), scd.open(now, **options))
    assert index.update() == ((), (), ())


@pytest.mark.slow
def test_every_flipped_byte_is_found(mixed, tmp_path):
    path = tmp_path / "x.scdindex"
    scd.Index.build(mixed[:1]).save(path)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(
            content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
        )
        with pytest.raises((CorruptFileError, FileFormatError), match=r"x\.scdindex"):
            scd.Index.load(path)
    for n in (0, 10, 40, len(content) - 1):
        path.write_bytes(content[:n])
        with pytest.raises((CorruptFileError, FileFormatError), match=r"x\.scdindex"):
            scd.Index.load(path)


@pytest.mark.parametrize("where", ["files", "skeletons"])
def test_text_that_is_nested_deep_is_damage(tmp_path, where):
    deep = b"[" * 100_000 + b"]" * 100_000
    parts = {"files": b"[]", "skeletons": b"[]", "lists": b"[]"}
    parts[where] = deep if where == "files" else b'["' + deep + b'"]'
    text = b"{" + b",".join(b'"%s":%s' % (k.encode(), v) for k, v in parts.items())
    text += b"}" + b" " * (-(len(text) + 1) % 8)
    version = index_files._VERSION
    head = np.array([version, len(text), 0], "<u8").tobytes()
    whole = index_files.MAGIC + head + text
    path = tmp_path / "deep.scdindex"
    path.write_bytes(whole + hashlib.sha256(whole).digest())
    with pytest.raises(CorruptFileError, match="index is damaged"):
        scd.Index.load(path)


@pytest.mark.parametrize(
    ("outside", "chunk"),
    [(False, 256), (True, 256), (False, 1 << 20)],
    ids=["inside", "outside", "one_chunk"],
)
def test_files_that_were_touched_since_have_what_is_kept_of_them(
    tmp_path, outside, chunk
):
    path = write_plate(tmp_path / "plate.h5ad", chunk=chunk)
    if outside:
        with h5py.File(tmp_path / "other.h5ad", "w") as file:
            with h5py.File(path) as plate:
                for name in ("obs", "var"):
                    plate.copy(name, file)
            file["X"] = h5py.ExternalLink("plate.h5ad", "/X")
        index = scd.Index.build(tmp_path / "other.h5ad", allow_external=True)
    else:
        index = scd.Index.build(path)
    path.chmod(0o600)
    options = {"cache": tmp_path / "cache", "allow_external": outside}
    plain = scd.open(path, cache=tmp_path / "cache")
    assert plain.fill_cache() == 1.0
    source = scd.open(index, **options)
    assert source.cached == 1.0
    assert digest(source) == digest(plain)
    assert len(scd.Cache(tmp_path / "cache").entries()) == 2
    (tmp_path / "link").hardlink_to(path)
    assert scd.open(index, **options).fill_cache() == 1.0
    assert scd.open(path, cache=tmp_path / "cache").cached == 1.0


def test_what_an_index_does_not_hold_is_refused(tmp_path, mixed):
    old = write_before_07(tmp_path / "old.h5ad", ad.read_h5ad(mixed[0]))
    with pytest.raises(FileFormatError, match="table of records"):
        scd.Index.build(old)
    (tmp_path / "text.h5ad").write_text("no HDF5")
    with pytest.raises(FileFormatError, match=r"text\.h5ad"):
        scd.Index.build(tmp_path / "text.h5ad")
    with pytest.raises(FileNotFoundError, match=r"none\.h5ad"):
        scd.Index.build(tmp_path / "none.h5ad")
    with pytest.raises(ValueError, match="named twice"):
        scd.Index.build([mixed[0], mixed[0]])
    with pytest.raises(FileFormatError, match="no index"):
        scd.Index.load(mixed[0])


def test_links_to_other_files_are_followed_only_where_allowed(mixed, tmp_path):
    mine = shutil.copy(mixed[0], tmp_path / "mine.h5ad")
    with h5py.File(mine, "r+") as file:
        del file["layers/counts"]
        file["layers/counts"] = h5py.ExternalLink(mixed[0], "/X")
    with pytest.raises(FileFormatError, match="allow_external=True"):
        scd.Index.build(mine)
    index = scd.Index.build(mine, allow_external=True)
    with pytest.raises(FileFormatError, match="allow_external=True"):
        scd.open(index, x="layers/counts")
    options = {"x": "layers/counts", "allow_external": True}
    check_same(scd.open(index, **options), scd.open(mine, **options))


def test_progress_counts_the_files(mixed):
    told = []
    scd.Index.build(mixed, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 5) for i in range(1, 6)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_other_processes_read(saved, method):
    source = scd.open(saved, join="outer", obs=["drug"])
    rows = np.arange(len(source))
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.apply(source.read, (rows,))
    assert (found["X"] != source.read(rows)["X"]).nnz == 0


def test_where_small_arrays_lie_is_in_the_index(tmp_path, monkeypatch):
    made = cells(30, GENES, ["a", "b"], 1)
    made.write_h5ad(tmp_path / "a.h5ad")
    index, options = scd.Index.build(tmp_path / "a.h5ad"), {"obs": ["drug", "dose"]}
    expected = scd.open(tmp_path / "a.h5ad", **options).read([0, 3, 29])

    def look_up(*arguments):
        raise AssertionError("an array of one chunk was looked up")

    name = "scdataset_core.storage.formats.hdf5_libraries.read_chunk_table"
    monkeypatch.setattr(name, look_up)
    found = scd.open(index, **options).read([0, 3, 29])
    assert (found["X"] != expected["X"]).nnz == 0
    assert found["obs"]["drug"].tolist() == expected["obs"]["drug"].tolist()
