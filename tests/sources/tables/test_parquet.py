"""Parquet and Arrow files as sources, written by pyarrow."""

import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.sources.ranged.row_arrays import KeptArrays
from scdataset_core.sources.tables.files import ParquetFiles
from tests.sources.contract import SourceContract
from tests.sources.small_cells import LINES, N_GENES

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
feather = pytest.importorskip("pyarrow.feather")

GENES = [f"gene{i}" for i in range(N_GENES)]


def obs_of(part):
    """Return a part's obs as columns; the labels keep the order of their list."""
    codes = pa.array(part.obs["line"].cat.codes.to_numpy(np.int8))
    return {
        "line": pa.DictionaryArray.from_arrays(codes, LINES),
        "number": part.obs["number"].to_numpy(),
        "score": part.obs["score"].to_numpy(),
        "passed": part.obs["passed"].to_numpy(),
        "cell_id": part.obs_names.tolist(),
    }


def dense_table(part, fixed=True):
    """Return a part as scTab's and Merlin's files hold cells."""
    flat = part.X.toarray().reshape(-1)
    if fixed:
        X = pa.FixedSizeListArray.from_arrays(flat, N_GENES)
    else:
        X = pa.ListArray.from_arrays(np.arange(part.n_obs + 1) * N_GENES, flat)
    return pa.table({"X": X, **obs_of(part)})


def sparse_table(part):
    """Return a part as lists of gene ids and values."""
    X = part.X.tocsr()
    lists = pa.LargeListArray if part.n_obs % 2 else pa.ListArray
    return pa.table(
        {
            "indices": lists.from_arrays(X.indptr, X.indices.astype(np.int64)),
            "values": lists.from_arrays(X.indptr, X.data),
            **obs_of(part),
        }
    )


class ParquetContract(SourceContract):
    """Parquet keeps labels, and not the order of their list."""

    knows_lengths = False

    @classmethod
    def open(cls, data, **options):
        return scd.open(data, vocabulary=GENES, **options)

    def test_a_list_of_labels_keeps_its_order(self, source):
        assert source.categories == {"line": sorted(LINES)}

    def test_saved_vocabulary_encodes_alike(self, data):
        with pytest.warns(UserWarning, match="1 labels are not in the saved"):
            source = self.open(
                data, obs=["line"], categories={"line": ["HCT15", "new", "A549"]}
            )
        want = np.array([2, 0, -1])[self.open(data, obs=["line"]).obs["line"]]
        np.testing.assert_array_equal(source.obs["line"], want)


class TestDense(ParquetContract):
    sparse = False

    @classmethod
    def write(cls, folder, parts):
        for number, part in enumerate(parts):
            pq.write_table(
                dense_table(part), folder / f"{number}.parquet", row_group_size=8
            )
        return str(folder / "*.parquet")


class TestDenseOfAnyLength(TestDense):
    one_file = True

    @classmethod
    def write(cls, folder, parts):
        whole = pa.concat_tables([dense_table(part, fixed=False) for part in parts])
        (folder / "cells").mkdir()
        pq.write_table(whole, folder / "cells" / "a.parquet", compression="zstd")
        return str(folder / "cells")


class TestSparse(ParquetContract):
    @classmethod
    def write(cls, folder, parts):
        out = []
        for number, part in enumerate(parts):
            kept = sparse_table(part).cast(sparse_table(parts[0]).schema)
            out.append(str(folder / f"{number}.parquet"))
            pq.write_table(kept, out[-1], row_group_size=10)
        return out


class TestFeather(SourceContract):
    knows_lengths = False

    @classmethod
    def write(cls, folder, parts):
        out = []
        for number, part in enumerate(parts):
            kept = sparse_table(part).cast(sparse_table(parts[0]).schema)
            out.append(str(folder / f"{number}.feather"))
            feather.write_feather(kept, out[-1], compression="lz4", chunksize=9)
        return out

    @classmethod
    def open(cls, data, **options):
        return scd.open(data, vocabulary=GENES, **options)


class TestTriples(ParquetContract):
    one_file = True

    @classmethod
    def write(cls, folder, parts):
        x = sp.vstack([part.X for part in parts]).tocoo()
        triples = {
            "cell_integer_id": x.row.astype(np.uint32),
            "gene_integer_id": x.col.astype(np.uint16),
            "value": x.data,
        }
        pq.write_table(
            pa.table(triples), folder / "expression.parquet", row_group_size=37
        )
        cells = pa.concat_tables([pa.table(obs_of(part)) for part in parts])
        pq.write_table(cells, folder / "cells.parquet", row_group_size=30)
        genes = {"gene_id": GENES, "gene_integer_id": range(N_GENES)}
        pq.write_table(pa.table(genes), folder / "genes.parquet")
        return str(folder)

    @classmethod
    def open(cls, data, **options):
        return scd.open(data, **options)


def test_only_the_row_groups_wanted_are_read_and_each_once(tmp_path, monkeypatch):
    X = pa.FixedSizeListArray.from_arrays(np.arange(400.0), 4)
    table = pa.table({"X": X, "line": ["a", "b"] * 50, "other": range(100)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=10)
    source = scd.open(tmp_path / "x.parquet")
    read, real = [], ParquetFiles._read

    def noted(self, file, group, columns):
        read.append((group, tuple(columns)))
        return real(self, file, group, columns)

    monkeypatch.setattr(ParquetFiles, "_read", noted)
    rows = np.array([3, 3, 4, 30, 39, 90])
    x = source.read(rows, [5, 1, 0, 2, 4, 3])["X"]
    assert sorted(read) == [(0, ("X",)), (3, ("X",)), (9, ("X",))]
    np.testing.assert_array_equal(x[:, 0] // 4, [4, 3, 30, 90, 39, 3])
    assert source.natural_block == 10
    np.testing.assert_array_equal(source.block_starts, range(0, 100, 10))


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "by_range"])
def test_obs_with_nulls(tmp_path, monkeypatch, is_kept):
    X = pa.FixedSizeListArray.from_arrays(np.arange(4000.0), 1)
    lines = pa.array([None, "b", "c", "a"] * 1000)
    doses = pa.array([1, 2, None, 4] * 1000)
    table = pa.table({"X": X, "line": lines, "dose": doses})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=1000)
    source: Any = scd.open(tmp_path / "x.parquet", obs=True)
    if not is_kept:
        monkeypatch.setattr(vars(source)["_obs"], "_kept", KeptArrays([]))
    rows = np.array([0, 1, 2, 999, 1000, 1700, 3999])
    obs = source.read(rows)["obs"]
    assert obs["line"].tolist() == [-1, 1, 2, 0, -1, -1, 0]
    np.testing.assert_array_equal(obs["dose"], [1, 2, np.nan, 4, 1, 1, 4])


def test_uncompressed_arrow_files_of_dense_rows(tmp_path):
    X = pa.FixedSizeListArray.from_arrays(np.arange(40.0), 4)
    feather.write_feather(
        pa.table({"X": X}), tmp_path / "x.arrow", compression="uncompressed"
    )
    source = scd.open(tmp_path / "x.arrow")
    assert source.var_names.tolist() == ["0", "1", "2", "3"]
    np.testing.assert_array_equal(
        source.read([2, 9])["X"], np.arange(40.0).reshape(10, 4)[[2, 9]]
    )


def test_files_that_differ_in_their_columns_are_refused(tmp_path):
    for name, dtype in (("a", "f4"), ("b", "f8")):
        X = pa.FixedSizeListArray.from_arrays(np.zeros(4, dtype), 2)
        pq.write_table(pa.table({"X": X}), tmp_path / f"{name}.parquet")
    with pytest.raises(scd.FileFormatError, match=r'"X" is .*float.* in the first and'):
        scd.open(tmp_path / "*.parquet")


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_names_of_columns_with_dots(tmp_path, ending):
    """The paths of Parquet's leaves have dots too."""
    table = pa.table(
        {
            "genes.list": [[7, 7, 7], [7]],
            "genes": [[0, 1], [1]],
            "expressions": [[1.0, 2.0], [3.0]],
            "n": pa.array([{"genes": 9}, {"genes": 9}]),
            "n.genes": [5, None],
            "m.x": pa.array([{1: 2}, {1: 2}], pa.map_(pa.int8(), pa.int8())),
            "m": [6, 7],
        }
    )
    path = str(tmp_path / f"x.{ending}")
    write = pq.write_table if ending == "parquet" else feather.write_feather
    write(table, path)
    source = scd.open(path, vocabulary=["a", "b"], obs=["n.genes", "m"])
    cells = source.read([0, 1])
    assert cells["X"].toarray().tolist() == [[1.0, 2.0], [0.0, 3.0]]
    np.testing.assert_array_equal(cells["obs"]["n.genes"], [5, np.nan])
    assert cells["obs"]["m"].tolist() == [6, 7]
    assert source.mean_stored == 1.5
    write(pa.table({"x.genes": [[0, 1], [1]], "x.y": [[1, 2], [3]]}), path)
    source = scd.open(path, vocabulary=["a", "b"], columns=("x.genes", "x.y"))
    assert source.read([1, 1])["X"].toarray().tolist() == [[0, 3], [0, 3]]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_columns_of_one_name(tmp_path, ending):
    columns = [[[0]], [[1.0]], [1], [2]]
    table = pa.table(columns, ["genes", "expressions", "number", "number"])
    path = str(tmp_path / f"x.{ending}")
    write = pq.write_table if ending == "parquet" else feather.write_feather
    write(table, path)
    with pytest.raises(scd.FileFormatError, match=r'"number".*2 columns of this name'):
        scd.open(path, vocabulary=["a"], obs=["number"])
    assert scd.open(path, vocabulary=["a"]).read([0])["X"].toarray() == [[1.0]]
    write(table.rename_columns(["genes", "expressions", "genes", "number"]), path)
    with pytest.raises(scd.FileFormatError, match='has 2 columns called "genes"'):
        scd.open(path, vocabulary=["a"])


def test_damaged_and_changed_files_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    X = pa.FixedSizeListArray.from_arrays(np.random.default_rng(0).random(4000), 4)
    pq.write_table(pa.table({"X": X}), path, write_page_checksum=True)
    whole = path.read_bytes()
    (tmp_path / "short.parquet").write_bytes(whole[:-100])
    with pytest.raises(scd.FileFormatError, match=r"short\.parquet cannot be read"):
        scd.open(tmp_path / "short.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(whole[:100] + bytes(2000) + whole[2100:])
    with pytest.raises(scd.CorruptFileError, match=r"broken\.parquet: row group 0"):
        scd.open(broken).read([0])
    source = scd.open(path)
    path.write_bytes(whole + b"PAR1")
    with pytest.raises(scd.FileChangedError, match="changed since it was opened"):
        source.read([0])


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"X": [[1.0], [2.0]]}), path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"scdataset-core\[parquet\]"):
        scd.open(path, vocabulary=["a"])


def test_a_package_that_is_too_old_names_the_extra(tmp_path, monkeypatch):
    pq.write_table(pa.table({"X": [[1.0, 2.0]]}), tmp_path / "x.parquet")
    monkeypatch.setattr(pa, "__version__", "14.0.2")
    with pytest.raises(
        ImportError, match=r"need pyarrow 15\.0 or later, and 14\.0\.2.*\[parquet\]"
    ):
        scd.open(tmp_path / "x.parquet")


@pytest.mark.parametrize("kind", ["null", "missing text", "nan"])
def test_a_column_that_is_all_the_same_takes_few_bytes_and_is_read(tmp_path, kind):
    n = 5_000_000  # rows, for which a file has less than a byte per thousand
    column = pa.nulls(n, {"null": "null", "missing text": "string"}.get(kind, "float"))
    if kind == "nan":
        column = pa.array(np.full(n, np.nan, np.float32))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": column}), path, row_group_size=n)
    assert path.stat().st_size < n / 250
    (found,) = ParquetFiles([str(path)]).read(0, ["a"])
    assert len(found) == n
    assert found.null_count == (0 if kind == "nan" else n)


def test_a_column_that_is_called_as_the_mask_of_another(tmp_path):
    table = pa.table(
        {
            "X": [[1.0], [2.0], [3.0]],
            "age": [1, None, 3],
            "age (missing)": [7, 8, 9],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    source = scd.open(tmp_path / "x.parquet", obs=["age", "age (missing)"])
    obs = source.read([0, 1, 2])["obs"]
    np.testing.assert_array_equal(obs["age"], [1, np.nan, 3])
    assert obs["age (missing)"].tolist() == [7, 8, 9]
