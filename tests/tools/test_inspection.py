"""`inspect` says what is in files of every kind, and what is wrong with them."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.tools import inspect, rewrite

ad = pytest.importorskip("anndata")


@pytest.fixture
def adata(plates):
    return ad.read_h5ad(plates / "plate1.h5ad")


def wrongs(report):
    return [problem["what"] for problem in report["problems"]]


def test_a_sound_file_is_described(plates):
    report = inspect(plates / "plate1.h5ad")
    json.dumps(report)
    assert (report["cells"], report["genes"]) == (400, 300)
    (file,) = report["files"]
    assert file["format"] == ".h5ad file"
    names = [matrix["name"] for matrix in file["matrices"]]
    assert names == ["X", "layers/counts", "obsm/X_pca"]
    x = file["matrices"][0]
    assert (x["kind"], x["dtype"], x["cells"], x["columns"]) == (
        "sparse",
        "float32",
        400,
        300,
    )
    assert [array["name"] for array in x["arrays"]] == ["/X/data", "/X/indices"]
    assert set(x["decoded_per_used"].values()) == {1.0}
    obs = {column["name"]: column for column in file["obs"]}
    assert (obs["drug"]["n_labels"], obs["drug"]["n_missing"]) == (3, 0)
    assert obs["total_counts"]["kind"] == "float32"
    assert report["problems"] == []


@pytest.mark.slow
def test_the_cost_of_blocks_is_what_the_loader_decodes(adata, tmp_path):
    path = tmp_path / "cells.h5ad"
    ad.AnnData(sp.vstack([adata.X] * 10).tocsr()).write_h5ad(path, compression="gzip")
    (matrix,) = [m for m in inspect(path)["files"][0]["matrices"] if m["name"] == "X"]
    for block_size, expected in matrix["decoded_per_used"].items():
        if block_size > 64:
            continue
        # Fetches of one block, each read by itself: nothing else shares its chunks.
        loader = scd.Loader(
            scd.open(path),
            scd.BlockShuffling(block_size),
            batch_size=block_size,
            fetch_factor=1,
            read_ahead=0,
        )
        for _ in loader:
            pass
        stats = loader.stats.to_dict()
        sizes = {a["chunk"][0] * 4 for a in matrix["arrays"]}
        n_values = 2 * 4 * matrix["stored_per_cell"] * 4000
        measured = stats["chunks_decoded"] * np.mean(list(sizes)) / n_values
        assert measured == pytest.approx(expected, rel=0.15)


def test_what_is_wrong_is_named_with_what_mends_it(adata, tmp_path):
    adata.X = adata.X.astype(np.float64)
    adata.X.indices = adata.X.indices[::-1].copy()
    adata.obs["drug"] = adata.obs["drug"].cat.remove_categories(["DMSO"])
    names = adata.var_names.to_list()
    names[7] = names[3]
    adata.var_names = names
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        ids = file["X/indices"][:].astype(np.int64)
        attrs = dict(file["X/indices"].attrs)
        del file["X/indices"]
        file["X/indices"] = ids
        file["X/indices"].attrs.update(attrs)
    report = inspect(path)
    mends = {problem["what"]: problem["mends"] for problem in report["problems"]}
    for what in (
        "X is float64",
        "64-bit column ids",
        "names of genes occur more than once (gene3)",
        "missing labels",
        "not in order",
    ):
        (mend,) = [mends[known] for known in mends if what in known]
        assert mend


def test_names_of_cells_that_cannot_be_read_leave_the_rest_of_the_report(
    adata, tmp_path
):
    path = tmp_path / "names.h5ad"
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        attributes = dict(file["obs/_index"].attrs)
        n = len(file["obs/_index"])
        del file["obs/_index"]
        names = np.array([b"\xff"] * n, object)
        file.create_dataset("obs/_index", data=names, dtype=h5py.string_dtype("ascii"))
        file["obs/_index"].attrs.update(attributes)
    found = inspect([str(path)])
    assert found["files"][0]["cells"] == n
    assert "obs/_index" in str(found["problems"])


def test_columns_that_cannot_be_read_leave_the_rest_of_the_report(adata, tmp_path):
    path = tmp_path / "codes.h5ad"
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["obs/drug/codes"][3] = 100
    found = inspect([str(path), str(path)])
    assert found["cells"] == 2 * adata.n_obs
    obs = [column["name"] for column in found["files"][0]["obs"]]
    assert obs == [name for name in adata.obs.columns if name != "drug"]
    assert wrongs(found) == [
        "/obs/drug/codes holds the code 100 in row 3, and there are 3 categories"
    ]


def test_repeated_names_of_cells_and_odd_columns_are_named(adata, tmp_path):
    names = adata.obs_names.to_list()
    adata.obs_names = [names[1], *names[1:]]
    adata.obs["cell line"] = np.where(np.arange(adata.n_obs) < 5, np.nan, 1.0)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    report = inspect(tmp_path / "cells.h5ad")
    mends = {problem["what"]: problem["mends"] for problem in report["problems"]}
    repeated = f"1 names of cells occur more than once ({names[1]})"
    assert mends.pop(repeated) == "adata.obs_names_make_unique()"
    (mend,) = mends.values()
    source = scd.open(tmp_path / "cells.h5ad")
    found: dict[str, Any] = {"source": source}
    exec(mend, found)
    assert found["rows"].to_numpy().tolist() == [0, 1, 2, 3, 4]


def test_files_that_differ_or_do_not_open_are_named(adata, plates, tmp_path):
    other = tmp_path / "other.h5ad"
    adata[:, :200].write_h5ad(other)
    cut = tmp_path / "cut.h5ad"
    cut.write_bytes((plates / "plate1.h5ad").read_bytes()[:3000])
    columns = tmp_path / "columns.h5ad"
    adata.X = sp.csc_matrix(adata.X)
    adata.write_h5ad(columns)
    report = inspect([plates / "plate1.h5ad", other, cut, columns])
    assert report["cells"] == 800
    problems = {problem["file"]: problem for problem in report["problems"]}
    assert "100 are missing, 0 more" in problems[str(other)]["what"]
    assert "join=" in problems[str(other)]["mends"]
    assert problems[str(cut)]["mends"]
    assert "column" in problems[str(columns)]["what"]


def test_giant_chunks_are_named(tmp_path):
    path = tmp_path / "cells.h5ad"
    ad.AnnData(np.zeros((5, 4), np.float32)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        attrs = dict(file["X"].attrs)
        del file["X"]
        file.create_dataset(
            "X", (5, 4), "f4", chunks=(5_000_000, 4), maxshape=(None, 4), compression=1
        )
        file["X"].attrs.update(attrs)
    (problem,) = [p for p in inspect(path)["problems"] if "chunks of" in p["what"]]
    assert "chunks of 76 MiB" in problem["what"]
    assert problem["mends"] == f"scdataset rewrite {path} new.h5ad"
    rewrite(path, tmp_path / "new.h5ad")  # does what it says
    assert wrongs(inspect(tmp_path / "new.h5ad")) == []


def test_a_10x_file_comes_with_the_line_that_converts_it(tmp_path):
    path = tmp_path / "filtered.h5"
    with h5py.File(path, "w") as file:
        file["matrix/barcodes"] = np.array([b"AAAC"])
        file["matrix/data"] = np.array([1])
    (problem,) = inspect(path)["problems"]
    assert "10x" in problem["what"] + problem["mends"]
    assert "read_10x_h5" in problem["what"] + problem["mends"]


@pytest.mark.filterwarnings("ignore:.*zarr")
def test_stores_and_tables_are_described(adata, tmp_path):
    pytest.importorskip("zarr")
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    adata.write_zarr(tmp_path / "cells.zarr")
    (file,) = inspect(tmp_path / "cells.zarr")["files"]
    assert file["format"] == "zarr store"
    assert file["bytes"] > 1000
    assert file["matrices"][0]["arrays"][0]["codec"] != "none"
    table = pa.table({"X": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "cells.parquet")
    (file,) = inspect(tmp_path / "cells.parquet")["files"]
    assert (file["cells"], file["genes"]) == (3, 2)


def test_modalities_are_matrices(adata, tmp_path):
    mu = pytest.importorskip("mudata")
    protein = ad.AnnData(np.ones((400, 7), np.float32), obs=adata.obs[[]])
    protein.var_names = [f"protein{i}" for i in range(7)]
    with mu.set_options(pull_on_update=False):
        mu.MuData({"rna": adata, "protein": protein}).write_h5mu(tmp_path / "c.h5mu")
    (file,) = inspect(tmp_path / "c.h5mu")["files"]
    assert [matrix["name"] for matrix in file["matrices"]] == ["rna", "protein"]


@pytest.mark.skipif(find_spec("scanpy") is None, reason="scanpy carries the file")
def test_a_real_file_of_an_old_layout_is_described():
    spec = find_spec("scanpy")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "datasets"
    report = inspect(folder / "10x_pbmc68k_reduced.h5ad")
    assert (report["cells"], report["genes"]) == (700, 765)
    matrices = {m["name"]: m for m in report["files"][0]["matrices"]}
    assert matrices.keys() == {"X", "raw/X", "obsm/X_pca", "obsm/X_umap"}
    assert matrices["raw/X"]["kind"] == "sparse"
    assert wrongs(report) == ["obsm/X_umap is float64, twice the bytes of float32"]


def test_the_command_fits_80_columns(plates, tmp_path, monkeypatch):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    testing = pytest.importorskip("typer.testing")
    commands = pytest.importorskip("scdataset_core.tools.commands")
    monkeypatch.chdir(plates.parent)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        return testing.CliRunner().invoke(commands.app, ["inspect", *arguments])

    done = run("plates/*.h5ad")
    assert done.exit_code == 0
    assert "3 files, each an .h5ad file: 1,200 cells x 300 genes" in done.output
    assert "Nothing is wrong." in done.output
    assert max(map(len, done.output.splitlines()[3:])) <= 80
    assert json.loads(run("--json", "plates/plate1.h5ad").output)["cells"] == 400
    (tmp_path / "empty.h5ad").touch()
    assert run(str(tmp_path / "empty.h5ad")).exit_code == 1
