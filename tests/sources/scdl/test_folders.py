"""SCDL folders: those of bionemo-scdl that are kept here, and some of every kind."""

import json
import pickle
import shutil
import struct

import anndata as ad
import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.small_cells import N_CELLS, N_GENES, make_parts, spoken

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
from tests.sources.scdl.scdl_contract import ScdlContract, extract  # noqa: E402
from tests.sources.scdl.scdl_writer import (  # noqa: E402  # needs pyarrow
    write_folder,
    write_index,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return extract(tmp_path_factory.mktemp("written"))


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "cells", make_parts()[0])


def values_of(adata):
    return adata.X.toarray()


class TestFolders(ScdlContract):
    @classmethod
    def write(cls, folder, parts):
        return [write_folder(folder / str(i), part) for i, part in enumerate(parts)]


class TestCollection(ScdlContract):
    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            write_folder(folder / str(i), part)
        (folder / "version.json").write_text('"0.1.3"')
        return folder


@pytest.mark.parametrize("name", ["collection", "flat"])
def test_folders_of_the_package_hold_the_cells(written, name):
    whole = ad.concat(make_parts())
    source = scd.open(written / name, obs=True)
    cells = source.read(np.arange(100))
    np.testing.assert_array_equal(cells["X"].toarray(), values_of(whole))
    assert spoken(source, cells, "line") == whole.obs["line"].tolist()
    for column in ("number", "score", "passed"):
        np.testing.assert_array_equal(cells["obs"][column], whole.obs[column])
    assert source.var_names.tolist() == [f"gene{i}" for i in range(N_GENES)]


def test_writer_of_these_tests_writes_what_the_package_does(written, tmp_path):
    for i, part in enumerate(make_parts()):
        theirs = written / "collection" / str(i)
        ours = write_folder(tmp_path / str(i), part, label=f"parts/{i}.h5ad")
        names = [path.relative_to(theirs) for path in theirs.rglob("*.*")]
        assert {path.relative_to(ours) for path in ours.rglob("*.*")} == set(names)
        for name in names:
            if name.suffix == ".parquet":
                assert pq.read_table(ours / name) == pq.read_table(theirs / name)
            else:
                assert (ours / name).read_bytes() == (theirs / name).read_bytes()


class TestBlocks:
    """One folder whose genes and obs columns change from block to block."""

    def test_genes_are_joined(self, written):
        first, second, third = make_parts()
        outer = scd.open(written / "ragged", join="outer")
        assert outer.var_names.tolist() == [f"name of gene{i}" for i in range(N_GENES)]
        second_x = values_of(second)
        second_x[:, 9:] = 0
        want = np.concatenate([values_of(first), second_x, values_of(third)])
        rows = np.arange(100)
        np.testing.assert_array_equal(outer.read(rows)["X"].toarray(), want)
        inner = scd.open(written / "ragged", join="inner")
        np.testing.assert_array_equal(inner.read(rows)["X"].toarray(), want[:, :9])
        assert inner.mean_stored == outer.mean_stored

    def test_differing_genes_are_refused_otherwise(self, written):
        with pytest.raises(ValueError, match=r"have 11 and 9 genes.*gene9"):
            scd.open(written / "ragged")

    def test_each_block_is_a_file_of_the_source(self, written):
        source = scd.open(written / "ragged", join="inner")
        assert source.file_starts.tolist() == [0, 37, 87, 100]
        assert source.files[1].endswith("ragged (rows 37 to 87)")
        assert set(source.file_starts[:-1]) <= set(source.block_starts)

    def test_column_of_some_blocks_cannot_be_carried(self, written):
        options = {"join": "inner"}
        with pytest.raises(ValueError, match='there is no obs column "score"'):
            scd.open(written / "ragged", obs=["score"], **options)
        with pytest.warns(UserWarning, match="leaves out 1 of 4 columns.*score"):
            source = scd.open(written / "ragged", obs=True, **options)
        assert source.obs["number"].tolist() == list(range(100))

    def test_pickles_and_reads_again(self, written):
        source = scd.open(written / "ragged", join="inner", obs=["line"])
        want = source.read(np.arange(100))
        got = pickle.loads(pickle.dumps(source)).read(np.arange(100))
        np.testing.assert_array_equal(got["X"].toarray(), want["X"].toarray())
        np.testing.assert_array_equal(got["obs"]["line"], want["obs"]["line"])

    def test_pointer_beyond_the_data_is_found(self, written, tmp_path):
        path = shutil.copytree(written / "ragged", tmp_path / "ragged")
        pointers = np.fromfile(path / "row_ptr.npy", np.uint16)
        pointers[50] = 60_000
        (path / "row_ptr.npy").write_bytes(pointers.tobytes())
        source = scd.open(path, join="inner")
        with pytest.raises(OSError, match=r"row_ptr.npy.* is wrong: row 1[23]"):
            source.read(np.arange(100))


class TestOldHeaders:
    def test_counts_left_behind_are_passed_with_a_warning(self, written):
        with pytest.warns(UserWarning, match=r"counts less than there is \(data.npy"):
            source = scd.open(written / "outgrown")
        parts = make_parts()
        want = np.concatenate([values_of(parts[2]), values_of(parts[0])])
        np.testing.assert_array_equal(source.read(np.arange(50))["X"].toarray(), want)

    def test_types_left_behind_are_an_error(self, written):
        with pytest.raises(ValueError, match=r"row_ptr.npy \(uint8\) goes from 0 to 1"):
            scd.open(written / "joined")

    def test_folders_without_a_header_have_the_types_of_their_time(self, folder):
        for name, old, new in (
            ("row_ptr.npy", np.uint8, np.uint64),
            ("col_ptr.npy", np.uint8, np.uint32),
        ):
            values = np.fromfile(folder / name, old).astype(new)
            (folder / name).write_bytes(values.tobytes())
        (folder / "header.sch").unlink()
        (folder / "var_features").rename(folder / "features")
        x = scd.open(folder).read(np.arange(N_CELLS[0]))["X"]
        np.testing.assert_array_equal(x.toarray(), values_of(make_parts()[0]))


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "uint64", "float16", "float64"]
)
def test_every_type_of_values_is_read(tmp_path, dtype):
    part = make_parts()[0]
    source = scd.open(write_folder(tmp_path / "cells", part, data_dtype=dtype))
    assert source.dtype == dtype
    x = source.read(np.arange(N_CELLS[0]))["X"]
    np.testing.assert_array_equal(x.toarray(), values_of(part))


@pytest.mark.parametrize("n_genes", [300, 70_000], ids=["uint16", "uint32"])
@pytest.mark.parametrize("output", ["csr", "padded"])
def test_every_type_of_columns_is_read(tmp_path, n_genes, output):
    part = make_parts()[0]
    wide = ad.AnnData(part.X.copy())
    wide.X.indices = wide.X.indices + (n_genes - N_GENES)
    wide.X.resize(part.n_obs, n_genes)
    wide = ad.AnnData(wide.X, obs=part.obs)
    source = scd.open(write_folder(tmp_path / "cells", wide))
    batch = next(iter(scd.Loader(source, scd.Streaming(), output=output)))
    if output == "csr":
        x = batch["X"].toarray()[:, n_genes - N_GENES :]
        np.testing.assert_array_equal(x, values_of(part))
    else:
        assert batch["X"]["indices"].dtype == np.int32
        assert batch["X"]["indices"][0, 0] == n_genes - N_GENES


class TestGeneNames:
    def rename(self, folder, **columns):
        write_index(folder / "var_features", [columns], [N_CELLS[0]])

    def test_first_text_without_repeats_names_them(self, folder):
        names = [f"ENSG{i}" for i in range(N_GENES)]
        twice = ["same"] * N_GENES
        self.rename(folder, length=np.arange(N_GENES), symbol=twice, gene_id=names)
        assert scd.open(folder).var_names.tolist() == names

    def test_positions_name_them_where_nothing_else_does(self, folder):
        self.rename(folder, length=np.ones(N_GENES))
        assert scd.open(folder).var_names.tolist() == [*map(str, range(N_GENES))]

    def test_folders_that_differ_need_names(self, folder, tmp_path):
        other = write_folder(tmp_path / "other", make_parts()[1])
        self.rename(folder, length=np.ones(N_GENES))
        with pytest.raises(ValueError, match="name their genes in no column of text"):
            scd.open([folder, other])


class TestObs:
    def rewrite(self, folder, **columns):
        write_index(folder / "obs_features", [columns], [N_CELLS[0]])

    def test_missing_values(self, folder):
        n = N_CELLS[0]
        text = np.array(["b", None, *["a"] * (n - 2)], object)
        numbers = np.array([1.5, np.nan, *range(n - 2)])
        self.rewrite(folder, text=text, numbers=numbers)
        source = scd.open(folder, obs=True)
        assert source.categories == {"text": ["a", "b"]}
        assert source.obs["text"][:3].tolist() == [1, -1, 0]
        np.testing.assert_array_equal(source.obs["numbers"], numbers)

    def test_column_of_another_type_is_left_out_with_a_reason(self, folder):
        times = np.full(N_CELLS[0], np.datetime64("2020-01-01", "s"))
        self.rewrite(folder, times=times, number=np.arange(N_CELLS[0]))
        with pytest.warns(UserWarning, match=r'"times": .* it is timestamp'):
            assert scd.open(folder, obs=True).obs_columns == ("number",)

    def test_names_of_cells_are_there_where_obs_had_no_columns(self, tmp_path):
        part = make_parts()[0]
        part.obs = part.obs[[]]
        source = scd.open(write_folder(tmp_path / "cells", part), obs_names=True)
        adata = source.read([2, 36]).to_anndata()
        assert adata.obs_names.tolist() == ["cell2", "cell36"]

    def test_a_column_that_changed_is_found(self, folder):
        source = pickle.loads(pickle.dumps(scd.open(folder, obs=["line"])))
        self.rewrite(folder, line=np.array(["other"] * N_CELLS[0]))
        with pytest.raises(OSError, match=r"dataframe_0.parquet changed since it was"):
            source.obs["line"]

    def test_folder_without_obs_says_so(self, folder):
        shutil.rmtree(folder / "obs_features")
        assert len(scd.open(folder)) == N_CELLS[0]
        with pytest.raises(ValueError, match=r"obs of 37 cells is asked for.* none"):
            scd.open(folder, obs=["line"])


def test_only_x_is_there(folder):
    with pytest.raises(ValueError, match="hold one matrix, x=\"X\", got 'raw/X'"):
        scd.open(folder, x="raw/X")


def test_folder_of_something_else_is_not_taken_for_one(tmp_path):
    (tmp_path / "version.json").write_text(json.dumps("0.1.3"))
    with pytest.raises(ValueError, match="a BioNeMo-SCDL folder"):
        scd.open(tmp_path)


def test_extra_is_named_where_pyarrow_is_missing(folder, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="pyarrow")

    monkeypatch.setattr("scdataset_core.optional.import_module", absent)
    with pytest.raises(ModuleNotFoundError, match=r"scdataset-core\[parquet\]"):
        scd.open(folder)


def test_header_says_how_long_it_is(folder):
    """A count of arrays that is too large ends behind the file."""
    data = bytearray((folder / "header.sch").read_bytes())
    data[12:16] = struct.pack(">I", 1 << 30)
    (folder / "header.sch").write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"in the middle of|is of type"):
        scd.open(folder)
