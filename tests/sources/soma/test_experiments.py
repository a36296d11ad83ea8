"""TileDB-SOMA experiments written by tiledbsoma, whose own reader is the oracle."""

import os
import pickle
import shutil
import subprocess
import sys
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.sources.soma.obs_columns import SomaKept
from tests.sources.contract import SourceContract
from tests.sources.small_cells import make_parts
from tests.sources.soma.small_experiments import joined, oracle, rich, write

pa = pytest.importorskip("pyarrow")
tiledbsoma = pytest.importorskip("tiledbsoma")
soma_io = pytest.importorskip("tiledbsoma.io")


class SomaContract(SourceContract):
    """What every source must do, in forks that do not end as TileDB ends them."""

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
    def test_reads_in_a_forked_process(self, source, whole):
        source.read([0, 99])
        here, there = os.pipe()
        child = os.fork()
        if not child:
            try:
                with os.fdopen(there, "wb") as pipe:
                    pickle.dump(source.read([0, 40, 99]), pipe)
            finally:
                os._exit(0)  # TileDB's own end waits for the parent's threads
        os.close(there)
        with os.fdopen(here, "rb") as pipe:
            cells = pickle.load(pipe)
        os.waitpid(child, 0)
        self.check(source, whole, cells)


@pytest.mark.slow
class TestSeveralExperiments(SomaContract):
    knows_lengths = False

    @classmethod
    def write(cls, folder, parts):
        return [write(folder / f"{i}.soma", part) for i, part in enumerate(parts)]


class TestOneExperiment(SomaContract):
    knows_lengths = False
    one_file = True

    @classmethod
    def write(cls, folder, parts):
        return write(folder / "e.soma", joined(parts))


class TestOpenExperiment(TestOneExperiment):
    @classmethod
    def write(cls, folder, parts):
        return tiledbsoma.open(super().write(folder, parts))


class TestQuery(TestOneExperiment):
    """A query of cells and genes whose ids have gaps."""

    @classmethod
    def write(cls, folder, parts):
        whole = joined(parts)
        rows = np.r_[:3, :60, :7, 60:100]
        obs = whole.obs.iloc[rows].copy()
        obs["wanted"] = np.r_[[False] * 3, [True] * 60, [False] * 7, [True] * 40]
        obs.index = np.where(obs["wanted"], obs.index, [f"no{i}" for i in range(110)])
        X = sp.csr_matrix(np.insert(whole.X.toarray()[rows], 4, 5, axis=1))
        names = [*whole.var_names[:4], "other", *whole.var_names[4:]]
        around = ad.AnnData(X, obs=obs, var=pd.DataFrame(index=names))
        experiment = tiledbsoma.open(write(folder / "e.soma", around))
        return experiment.axis_query(
            "RNA",
            obs_query=tiledbsoma.AxisQuery(value_filter="wanted == True"),
            var_query=tiledbsoma.AxisQuery(value_filter="var_id != 'other'"),
        )

    def test_all_columns_are_those_that_can_be_carried(self, data):
        columns = set(self.open(data, obs=True).obs_columns)
        assert columns == {"line", "number", "score", "passed", "wanted"}

    def test_fingerprint_is_of_contents_not_of_paths(self, source, data, tmp_path):
        again = self.open(self.write(tmp_path, make_parts()), obs=["line"])
        assert again.fingerprint == source.fingerprint
        query = tiledbsoma.AxisQuery(coords=(slice(2, 101),))
        others = data.experiment.axis_query("RNA", obs_query=query)
        assert self.open(others).fingerprint != source.fingerprint

    def test_longest_row_and_mean(self, source, whole):
        assert source.longest_row() == max(np.diff(whole.X.indptr))
        # Of the whole experiment: a query's own count is not known without reading.
        stored = source._xs[0].array.handle.nnz
        assert source.mean_stored == pytest.approx(stored / 110)


class TestDense(TestOneExperiment):
    sparse = False

    @classmethod
    def write(cls, folder, parts):
        whole = joined(parts)
        whole.X = whole.X.toarray()
        path = folder / "e.soma"
        return write(path, whole, X_kind=tiledbsoma.DenseNDArray)


@pytest.mark.parametrize(
    ("x", "measurement", "layer"),
    [
        ("X", "RNA", "data"),
        ("layers/counts", "RNA", "counts"),
        ("raw/X", "raw", "data"),
        ("ms/RNA", "RNA", "data"),
        ("ms/RNA/X", "RNA", "data"),
        ("ms/RNA/X/counts", "RNA", "counts"),
        ("ms/RNA/layers/counts", "RNA", "counts"),
        ("ms/raw/X/data", "raw", "data"),
    ],
)
def test_every_matrix_is_found(path, x, measurement, layer):
    want = oracle(path, measurement, X_layer_name=layer).X.toarray()
    rows = np.array([0, 3, 3, 50, 99])
    source = scd.open(path, x=x)
    np.testing.assert_array_equal(source.read(rows)["X"].toarray(), want[rows])


@pytest.mark.parametrize("x", ["obsm/X_pca", "ms/RNA/obsm/X_pca"])
def test_obsm_comes_as_dense_rows(path, x):
    source = scd.open(path, x=x)
    assert not source.sparse
    assert source.var_names.tolist() == [f"X_pca{i}" for i in range(1, 6)]
    want = oracle(path).obsm["X_pca"]
    rows = np.array([1, 7, 7, 80])
    np.testing.assert_array_equal(source.read(rows)["X"], want[rows])


def test_every_kind_of_column(path, whole):
    wanted = ["line", "stage", "text", "dose", "flag", "plate", "passed", "soma_joinid"]
    source: Any = scd.open(path, obs=wanted)
    want = oracle(path).obs
    for kept in (source._obs._kept, SomaKept([])):
        source._obs._kept = kept
        rows = np.array([0, 0, 2, 5, 5, 33, 99])
        obs = source.read(rows, np.array([3, 1, 0, 2, 6, 5, 4]))["obs"]
        rows = np.array([2, 0, 5, 0, 99, 33, 5])
        for name in ("line", "stage", "text", "plate"):
            labels = np.array([*source.categories[name], None], object)
            told = want[name].iloc[rows].astype(object)
            expected = told.where(told.notna(), None).tolist()
            assert labels[obs[name]].tolist() == expected
        for name in ("dose", "flag"):
            assert obs[name].dtype == np.float64
            expected = want[name].iloc[rows].astype("Float64").to_numpy(float, np.nan)
            np.testing.assert_array_equal(obs[name], expected)
        assert obs["passed"].dtype == np.bool_
        assert obs["soma_joinid"].tolist() == rows.tolist()
    assert source.categories["line"] == ["MCF7", "A549", "HCT15"]
    assert source.categories["text"] == ["s0", "s1", "s2", "s3"]
    assert source.categories["plate"] == [7, 8, 9]
    assert source.info.ordered == {"stage"}


def test_a_column_of_dates_is_left_out_with_its_reason(tmp_path):
    adata = make_parts()[0]
    adata.obs["day"] = pd.Timestamp("2024-01-01")
    path = write(tmp_path / "e.soma", adata)
    with pytest.warns(
        UserWarning, match=r'obs=True leaves out 1 of 5.*"day".*timestamp'
    ):
        source = scd.open(path, obs=True)
    assert "day" not in source.obs_columns


def test_cells_that_were_deleted_are_no_rows(path, tmp_path):
    shutil.copytree(path, tmp_path / "e.soma")
    if not hasattr(tiledbsoma.Experiment, "obs_axis_delete"):
        pytest.skip("this tiledbsoma cannot delete cells")
    with tiledbsoma.open(str(tmp_path / "e.soma"), "d") as experiment:
        experiment.obs_axis_delete(([0, 3, 4, 60],))
    source: Any = scd.open(tmp_path / "e.soma", obs=["number"], obs_names=True)
    cells = source.read(np.arange(96))
    want = np.delete(np.arange(100), [0, 3, 4, 60])
    assert cells["obs"]["number"].tolist() == want.tolist()
    np.testing.assert_array_equal(cells["X"][:, [0]].toarray().ravel(), want + 1)
    assert list(cells.names) == [f"cell{i}" for i in want]
    assert source.block_starts[0] == 0


def test_measurements(path, tmp_path):
    where = str(tmp_path / "e.soma")
    shutil.copytree(path, where)
    protein = rich()[:, :4].copy()
    protein.var_names = [f"protein{i}" for i in range(4)]
    with tiledbsoma.open(where, "w") as experiment:
        ms = experiment.ms.add_new_collection("protein", tiledbsoma.Measurement)
        table = pa.table(
            {
                "soma_joinid": pa.array(range(4), pa.int64()),
                "var_id": pa.array(protein.var_names.tolist(), pa.large_string()),
            }
        )
        var = ms.add_new_dataframe("var", schema=table.schema, domain=[(0, 3)])
        var.write(table)
        coo = protein.X.tocoo()
        xs = ms.add_new_collection("X")
        array = xs.add_new_sparse_ndarray("data", type=pa.float32(), shape=(100, 4))
        array.write(
            pa.table(
                {
                    "soma_dim_0": coo.row.astype(np.int64),
                    "soma_dim_1": coo.col.astype(np.int64),
                    "soma_data": coo.data,
                }
            )
        )
    assert scd.open(where).shape == (100, 11)
    both = scd.open(where, x=["X", "ms/protein/X"], obs=["number"])
    batch = next(iter(scd.Loader(both, scd.BlockShuffling(4), batch_size=8)))
    assert [x.shape for x in batch["X"].values()] == [(8, 11), (8, 4)]
    np.testing.assert_array_equal(
        batch["X"]["ms/protein/X"].toarray(), batch["X"]["X"].toarray()[:, :4]
    )
    with tiledbsoma.open(where) as experiment:
        query = tiledbsoma.AxisQuery(value_filter="line == 'A549'")
        source = scd.open(experiment.axis_query("protein", obs_query=query))
        assert source.shape == (int((protein.obs["line"] == "A549").sum()), 4)
        assert source.var_names.tolist() == protein.var_names.tolist()
    with pytest.raises(ValueError, match="genes selects in X, raw/X and layers"):
        scd.open(where, x=["ms/RNA/X", "ms/protein/X"], genes=["gene1"])
    with pytest.raises(ValueError, match=r'no measurement called "protien".*"protein"'):
        scd.open(where, x="ms/protien/X")


def test_several_measurements_without_rna_must_be_named(tmp_path):
    where = write(tmp_path / "e.soma", make_parts()[0], "ATAC")
    assert scd.open(where).shape == (37, 11)
    with tiledbsoma.open(where, "w") as experiment:
        experiment.ms.add_new_collection("other", tiledbsoma.Measurement)
    with pytest.raises(ValueError, match=r'ATAC, other.*open\(..., x="ms/ATAC/X"\)'):
        scd.open(where)
    assert scd.open(where, x="ms/ATAC/X").shape == (37, 11)


def test_blocks_lie_in_the_bands_of_the_array(tmp_path):
    rng = np.random.default_rng(0)
    X = sp.random(5000, 300, 0.3, format="csr", dtype=np.float32, random_state=rng)
    names = pd.Index([str(i) for i in range(5000)])
    path = write(tmp_path / "e", ad.AnnData(X, obs=pd.DataFrame(index=names)))
    source: Any = scd.open(path)
    # Bands of 2,048 cells; 100,000 elements a data tile, of about 1,111 cells.
    assert source.natural_block == 2048
    assert source.block_starts.tolist() == [0, 2048, 4096]
    loader = scd.Loader(source, scd.BlockShuffling("storage"), batch_size=64)
    seen = np.concatenate([batch["index"] for batch in loader])
    np.testing.assert_array_equal(np.sort(seen), np.arange(5000))


def test_genes_join_over_experiments(tmp_path):
    parts = make_parts()
    other = parts[1][:, [3, 1, 5]].copy()
    paths = [write(tmp_path / "a", parts[0]), write(tmp_path / "b", other)]
    with pytest.raises(scd.GeneMismatchError, match="11 and 3 genes"):
        scd.open(paths)
    source = scd.open(paths, join="inner")
    assert source.var_names.tolist() == ["gene1", "gene3", "gene5"]
    want = np.concatenate([p.X.toarray()[:, [1, 3, 5]] for p in parts[:2]])
    np.testing.assert_array_equal(source.read(np.arange(87))["X"].toarray(), want)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_reads_and_drops_what_its_parent_opened(path):
    code = f"""
import os, scdataset_core as scd
source = scd.open({path!r}, obs=["number"])
source.read([1, 5])
child = os.fork()
cells = source.read([1, 5])
assert cells["obs"]["number"].tolist() == [1, 5]
del source, cells
if child:
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os._exit(0)  # TileDB's own end of a process waits for the parent's threads
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, timeout=200, check=False)
    assert done.returncode == 0
