"""Experiments that changed, are damaged or cannot be read: errors name them."""

import pickle
import shutil
import sys
from typing import Any

import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.small_cells import make_parts
from tests.sources.soma.small_experiments import write

pa = pytest.importorskip("pyarrow")
tiledbsoma = pytest.importorskip("tiledbsoma")
soma_io = pytest.importorskip("tiledbsoma.io")


def test_what_is_not_there_is_named(path):
    with pytest.raises(ValueError, match=r'ms/RNA/X called "count".*"counts"'):
        scd.open(path, x="layers/count")
    with pytest.raises(ValueError, match=r'ms/RNA/obsm called "umap".*X_pca'):
        scd.open(path, x="obsm/umap")
    with pytest.raises(ValueError, match=r'no obs column "lines".*"line"'):
        scd.open(path, obs=["lines"])


def test_x_of_a_measurement_goes_with_soma_alone():
    with pytest.raises(ValueError, match='x="ms/RNA/X" goes with TileDB-SOMA'):
        scd.open(np.zeros((2, 2)), x="ms/RNA/X")
    with pytest.raises(ValueError, match="vocabulary goes with tables"):
        scd.open(make_parts()[0], vocabulary=["a"])


def test_what_is_written_later_is_not_seen(path, whole, tmp_path):
    where = str(tmp_path / "e.soma")
    shutil.copytree(path, where)
    source: Any = scd.open(where, obs=["number"])
    fresh = pickle.dumps(source)
    x = whole.X.toarray()
    with tiledbsoma.open(f"{where}/ms/RNA/X/data", "w") as array:
        new = {"soma_dim_0": [5], "soma_dim_1": [0], "soma_data": np.float32([-1])}
        array.write(pa.table(new))
    assert scd.open(where).read([5])["X"][0, 0] == -1
    for each in (source, pickle.loads(fresh)):
        np.testing.assert_array_equal(each.read([5])["X"].toarray(), x[[5]])
    again = scd.open(
        tiledbsoma.open(where, tiledb_timestamp=source._xs[0].array.store.timestamp)
    )
    np.testing.assert_array_equal(again.read([5])["X"].toarray(), x[[5]])


def test_a_store_that_was_replaced_is_an_error(path, tmp_path):
    where = tmp_path / "e.soma"
    shutil.copytree(path, where)
    source = scd.open(where, obs=["number"])
    fresh = pickle.dumps(source)
    shutil.rmtree(where)
    for make in (lambda: source, lambda: pickle.loads(fresh)):
        with pytest.raises(scd.FileChangedError, match=r"e\.soma: .*changed since"):
            make().read([5])
    write(where, make_parts()[0])
    for make in (lambda: source, lambda: pickle.loads(fresh)):
        with pytest.raises(scd.FileChangedError, match=r"e\.soma: .*changed since"):
            make().read([5])


def test_damaged_stores_are_named(path, tmp_path):
    where = tmp_path / "e.soma"
    shutil.copytree(path, where)
    (values,) = (where / "ms/RNA/X/data/__fragments").glob("*/a0.tdb")
    values.write_bytes(values.read_bytes()[:-40] + bytes(40))
    with pytest.raises(OSError, match=r"e\.soma: ms/RNA/X/data cannot be read for the"):
        scd.open(where).read([0, 99])
    values.unlink()
    with pytest.raises(OSError, match=r"e\.soma: ms/RNA/X/data cannot be read for the"):
        scd.open(where).read([0, 99])
    shutil.rmtree(where / "ms/RNA/var")
    with pytest.raises(OSError, match=r"e\.soma.*copied whole"):
        scd.open(where)
    shutil.rmtree(where / "__meta")
    with pytest.raises(scd.FileFormatError, match=r"e\.soma: tiledbsoma cannot open"):
        scd.open(where)


def test_fragments_without_a_commit_are_told_of(path, tmp_path):
    where = tmp_path / "e.soma"
    shutil.copytree(path, where)
    source = scd.open(where)
    (commit,) = (where / "ms/RNA/X/data/__commits").iterdir()
    name = commit.stem
    commit.unlink()
    with pytest.warns(UserWarning, match="X/data has 1 fragments without a commit"):
        scd.open(where)
    with pytest.raises(scd.FileChangedError, match="changed since it was opened"):
        pickle.loads(pickle.dumps(source)).read([0])
    # As TileDB's own consolidation of commits leaves them.
    listed = where / "ms/RNA/X/data/__commits" / f"{name}.con"
    listed.write_text(f"__commits/{name}.wrt\n")
    assert scd.open(where).read([0])["X"].nnz > 0


def test_a_part_of_an_experiment_is_refused(path):
    with pytest.raises(scd.FileFormatError, match="is a SOMAMeasurement, expected"):
        scd.open(f"{path}/ms/RNA")
    with pytest.raises(scd.FileFormatError, match="is a SOMASparseNDArray, expected"):
        scd.open(f"{path}/ms/RNA/X/data")


def test_experiments_that_cannot_be_read_are_refused(path):
    experiment = tiledbsoma.open(path)
    query = experiment.axis_query(
        "RNA", obs_query=tiledbsoma.AxisQuery(value_filter="line == 'none'")
    )
    with pytest.raises(scd.FileFormatError, match="the query gives 0 cells"):
        scd.open(query)
    experiment.close()
    with pytest.raises(scd.FileFormatError, match="the experiment is closed"):
        scd.open(experiment)


def test_a_gene_that_no_table_lists_is_an_error(path, tmp_path):
    where = str(tmp_path / "e.soma")
    shutil.copytree(path, where)
    with tiledbsoma.open(f"{where}/ms/RNA/X/data", "w") as array:
        array.resize((100, 20))
    with tiledbsoma.open(f"{where}/ms/RNA/X/data", "w") as array:
        new = {"soma_dim_0": [5], "soma_dim_1": [15], "soma_data": np.float32([1])}
        array.write(pa.table(new))
    source = scd.open(where)
    source.read([4])
    with pytest.raises(
        scd.CorruptFileError, match="the cell 5 for the gene 15, and no"
    ):
        source.read([4, 5])


def test_cells_found_by_something_else_are_refused(tmp_path):
    where = str(tmp_path / "e.soma")
    obs = {"soma_joinid": pa.array([0, 1], pa.int64()), "line": ["a", "b"]}
    schema = pa.schema({"soma_joinid": pa.int64(), "line": pa.large_string()})
    with tiledbsoma.Experiment.create(where) as experiment:
        experiment.add_new_dataframe(
            "obs", schema=schema, index_column_names=["line"], domain=[None]
        ).write(pa.table(obs, schema=schema))
    with pytest.raises(scd.FileFormatError, match="obs is indexed by line, expected"):
        scd.open(where)


def test_an_experiment_without_cells_or_matrices_is_refused(tmp_path):
    where = str(tmp_path / "e.soma")
    with tiledbsoma.Experiment.create(where):
        pass
    with pytest.raises(scd.FileFormatError, match=r"e\.soma has no obs"):
        scd.open(where)
    schema = pa.schema({"soma_joinid": pa.int64()})
    with tiledbsoma.open(where, "w") as experiment:
        obs = experiment.add_new_dataframe("obs", schema=schema, domain=[(0, 9)])
    with pytest.raises(scd.FileFormatError, match="obs has no cells"):
        scd.open(where)
    with tiledbsoma.open(f"{where}/obs", "w") as obs:
        obs.write(pa.table({"soma_joinid": pa.array([0, 1], pa.int64())}))
    with pytest.raises(
        ValueError, match=r'no measurement called "RNA"; there are none'
    ):
        scd.open(where)


def test_a_uri_is_opened_by_tiledbsoma(path):
    uri = f"file://{path}"
    with pytest.raises(ValueError, match=r"open\(tiledbsoma\.open\(uri\)\)"):
        scd.open(uri)
    with tiledbsoma.open(uri) as experiment:
        source = scd.open(experiment)
    assert source.files == (path,)
    assert source.read([3])["X"][0, 0] == 4


def test_a_missing_package_names_the_extra(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tiledbsoma", None)
    with pytest.raises(ModuleNotFoundError, match=r"scdataset-core\[soma\]"):
        scd.open(path)


def test_a_package_that_is_too_old_is_refused(path, monkeypatch):
    monkeypatch.setattr(tiledbsoma, "__version__", "1.14.5")
    with pytest.raises(ImportError, match=r"1\.15 or later, and 1\.14\.5 is installed"):
        scd.open(path)
