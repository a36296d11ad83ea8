"""`rewrite` gives a file with the same cells, that AnnData reads, or none at all."""

import json
import os
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.tools import rewrite, rewritten_file
from scdataset_core.tools.safe_file import unfinished_start
from tests.tools.killing import kill_run

ad = pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def written(plates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for number in (1, 2):
        adata = ad.read_h5ad(plates / f"plate{number}.h5ad")
        adata.layers["dense"] = adata.X.toarray()
        adata.write_h5ad(folder / f"plate{number}.h5ad", compression="gzip")
    return folder


@pytest.fixture
def files(written, tmp_path):
    """Return copies, which a test may change."""
    return [Path(shutil.copy(path, tmp_path)) for path in sorted(written.iterdir())]


def rows(x):
    return x.toarray() if sp.issparse(x) else np.asarray(x)


def joined(files):
    return ad.concat([ad.read_h5ad(path) for path in files], merge="same")


def test_the_file_has_the_same_cells_in_narrow_types(files, tmp_path):
    out = tmp_path / "new" / "cells.h5ad"
    report = rewrite(files, out, x=["X", "layers/dense", "obsm/X_pca"], memory="1MB")
    json.dumps(report)
    expected, found = joined(files), ad.read_h5ad(out)
    assert (report["cells"], report["genes"]) == found.shape == (800, 300)
    assert (found.X.dtype, found.X.indices.dtype) == (np.uint8, np.uint16)
    np.testing.assert_array_equal(rows(found.X), rows(expected.X))
    np.testing.assert_array_equal(rows(found.layers["dense"]), rows(expected.X))
    np.testing.assert_array_equal(found.obsm["X_pca"], expected.obsm["X_pca"])
    assert found.obsm["X_pca"].dtype == np.float32
    assert found.obs_names.tolist() == expected.obs_names.tolist()
    for column in expected.obs:
        assert (found.obs[column] == expected.obs[column]).all()
    assert found.var.equals(expected.var)
    source = scd.open(out, obs=True)
    np.testing.assert_array_equal(
        source.read(np.arange(800))["X"].toarray(), rows(expected.X)
    )
    assert not list(out.parent.glob("*.partial"))


@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_piece_is_cut_to_what_memory_holds(tmp_path, kind, compression):
    values = np.random.default_rng(0).random((300, 500))
    x = np.where(values < 0.2, values, 0)
    path, out = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    adata = ad.AnnData(sp.csr_matrix(x) if kind == "sparse" else x)
    adata.write_h5ad(path, compression=compression)
    turned = adata.var_names[::-1].tolist()  # takes memory to read, as joins do
    for genes, expected in ((None, x), (turned, x[:, ::-1])):
        for memory in ("50kB", "300kB"):
            rewrite(path, out, genes=genes, memory=memory, overwrite=True)
            np.testing.assert_array_equal(rows(ad.read_h5ad(out).X), expected)


def test_values_that_a_sample_does_not_show_are_kept_too(tmp_path, monkeypatch):
    from scdataset_core.tools import rewritten_file

    monkeypatch.setattr(rewritten_file, "SAMPLED_ROWS", 2)
    x = sp.csr_matrix(np.eye(500, 400, dtype=np.float32))
    for special, dtype in ((300.0, np.uint16), (0.5, np.float32)):
        x.data[:] = 1
        x.data[250] = special
        ad.AnnData(x).write_h5ad(tmp_path / "in.h5ad")
        rewrite(tmp_path / "in.h5ad", tmp_path / "out.h5ad", overwrite=True)
        found = ad.read_h5ad(tmp_path / "out.h5ad").X
        assert found.dtype == dtype
        assert (found != x).nnz == 0


def test_labels_that_are_ordered_stay_so(plates, tmp_path):
    adata = ad.read_h5ad(plates / "plate1.h5ad")[:60].copy()
    adata.obs["stage"] = pd.Categorical(
        np.arange(60) % 3, categories=[2, 0, 1], ordered=True
    ).rename_categories(["late", "early", "mid"])
    adata.write_h5ad(tmp_path / "in.h5ad")
    rewrite(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    found = ad.read_h5ad(tmp_path / "out.h5ad").obs["stage"]
    assert found.dtype == adata.obs["stage"].dtype


def test_matrices_of_other_genes_do_not_go_into_one_file(plates, tmp_path):
    whole = ad.read_h5ad(plates / "plate1.h5ad")[:60].copy()
    adata = whole[:, :20].copy()
    adata.raw = whole
    adata.write_h5ad(tmp_path / "in.h5ad")
    with pytest.raises(ValueError, match=r"in\.h5ad: raw/X has other genes than X"):
        rewrite(tmp_path / "in.h5ad", tmp_path / "out.h5ad", x=["X", "raw/X"])


def test_genes_are_those_of_x_wherever_it_is_named(files, tmp_path):
    report = rewrite(files[0], tmp_path / "out.h5ad", x=["obsm/X_pca", "X"])
    expected, found = ad.read_h5ad(files[0]), ad.read_h5ad(tmp_path / "out.h5ad")
    assert report["genes"] == 300
    assert found.var.equals(expected.var)
    np.testing.assert_array_equal(rows(found.X), rows(expected.X))
    np.testing.assert_array_equal(found.obsm["X_pca"], expected.obsm["X_pca"])


def test_the_report_names_what_is_left_out(files, tmp_path):
    out = tmp_path / "out.h5ad"
    matrices = ["layers/counts", "layers/dense", "obsm/X_pca"]
    assert rewrite(files, out)["left_out"] == matrices
    found = rewrite(files, out, x="layers/dense", overwrite=True)["left_out"]
    assert found == ["X", "layers/counts", "obsm/X_pca"]
    source = scd.open(files, obs=["plate", "drug"])
    columns = [f"obs/{name}" for name in scd.open(files, obs=True).obs_columns]
    with pytest.warns(UserWarning, match="named by their rows"):
        found = rewrite(source, out, overwrite=True)["left_out"]
    kept = {"obs/plate", "obs/drug"}
    assert found == [
        *matrices,
        *(name for name in columns if name not in kept),
        "obs_names",
    ]


def test_a_table_of_genes_that_cannot_be_read_is_not_left_out(files, tmp_path):
    with h5py.File(files[0], "r+") as file:
        names = file["var"].attrs["column-order"]
        del file["var"][names[0]]
    with pytest.raises((scd.ScdatasetError, KeyError, OSError), match=names[0]):
        rewrite(files[0], tmp_path / "out.h5ad")
    assert not (tmp_path / "out.h5ad").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"x": "layers/dense"}, "x="),
        ({"x": ["X", "layers/dense"]}, "x="),
        ({"genes": ["gene1"], "join": "inner"}, "join= and genes="),
    ],
)
def test_options_that_an_open_source_ignores_are_refused(
    files, tmp_path, options, named
):
    source = scd.open(files, obs=True, obs_names=True)
    with pytest.raises(ValueError, match=f"{named} would be ignored"):
        rewrite(source, tmp_path / "out.h5ad", **options)


def test_options_that_a_source_was_opened_with_go_with_it(files, tmp_path):
    names = ["X", "layers/dense"]
    for x in (names, "layers/dense"):
        source = scd.open(files, obs=True, obs_names=True, x=x)
        rewrite(source, tmp_path / "out.h5ad", x=x, overwrite=True)


def test_cells_can_be_chosen_joined_and_shuffled(files, tmp_path):
    source = scd.open(files, obs=True, obs_names=True)
    chosen = source.where(drug="DMSO")
    rewrite(source, tmp_path / "a.h5ad", where={"drug": "DMSO"})
    found = ad.read_h5ad(tmp_path / "a.h5ad")
    expected = joined(files)[chosen.to_numpy()]
    assert found.obs_names.tolist() == expected.obs_names.tolist()
    np.testing.assert_array_equal(rows(found.X), rows(expected.X))
    rewrite(files, tmp_path / "b.h5ad", shuffle=True, seed=3, compression="gzip")
    found = ad.read_h5ad(tmp_path / "b.h5ad")
    expected = joined(files)
    assert found.obs_names.tolist() != expected.obs_names.tolist()
    assert sorted(found.obs_names) == sorted(expected.obs_names)
    again = found[expected.obs_names]
    np.testing.assert_array_equal(rows(again.X), rows(expected.X))
    assert (again.obs["drug"] == expected.obs["drug"]).all()


def test_reading_a_shuffled_file_in_order_mixes_as_block_shuffling(files, tmp_path):
    from scdataset_core.metrics import measure_sampling

    source = scd.open(files, obs=["plate"])
    rewrite(files, tmp_path / "b.h5ad", shuffle=True)
    shuffled = scd.open(tmp_path / "b.h5ad", obs=["plate"])

    def entropy(source, strategy):
        loader = scd.Loader(source, strategy, batch_size=32, fetch_factor=16)
        return measure_sampling(loader, "plate", x=False).measured.entropy

    assert entropy(source, scd.Streaming()) < 0.1
    blocks = entropy(source, scd.BlockShuffling(16))
    assert entropy(shuffled, scd.Streaming()) == pytest.approx(blocks, abs=0.05)


def test_bad_requests_leave_what_is_there(files, tmp_path):
    out = tmp_path / "out.h5ad"
    out.write_text("mine")
    with pytest.raises(FileExistsError, match="there already"):
        rewrite(files, out)
    assert out.read_text() == "mine"
    with pytest.raises(FileExistsError, match="one of those that are read"):
        rewrite(files, files[0], overwrite=True)
    before = files[0].read_bytes()
    (tmp_path / "link").symlink_to(files[0].parent)
    with pytest.raises(FileExistsError, match="one of those that are read"):
        rewrite(files, tmp_path / "link" / files[0].name, overwrite=True)
    assert files[0].read_bytes() == before
    with pytest.raises(ValueError, match="no cell is chosen"):
        rewrite(files, tmp_path / "none.h5ad", rows=np.zeros(800, bool))
    with pytest.raises(ValueError, match="compression must be"):
        rewrite(files, tmp_path / "none.h5ad", compression="zip")
    with pytest.raises(ValueError, match=r"none\.zarr: rewrite writes an \.h5ad file"):
        rewrite(files, tmp_path / "none.zarr")
    damaged = bytearray(files[0].read_bytes())
    damaged[len(damaged) // 2 :] = bytes(len(damaged) - len(damaged) // 2)
    files[0].write_bytes(damaged)
    with pytest.raises(scd.ScdatasetError, match="plate1"):
        rewrite(files, tmp_path / "none.h5ad")
    assert not (tmp_path / "none.h5ad").exists()
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_file_and_the_next_one_starts_clean(
    files, tmp_path
):
    out = tmp_path / "out" / "cells.h5ad"
    rng = np.random.default_rng(0)

    def run(tell):
        rewritten_file.PIECE_ROWS = 8
        tell()
        rewrite(files, out, overwrite=True)

    for _ in range(12):
        kill_run(run, signal.SIGKILL, rng.uniform(0.0, 0.4))
        if out.exists():
            assert ad.read_h5ad(out).n_obs == 800
    rewrite(files, out, overwrite=True)
    assert [path.name for path in out.parent.iterdir()] == ["cells.h5ad"]
    np.testing.assert_array_equal(rows(ad.read_h5ad(out).X), rows(joined(files).X))


def test_unfinished_files_of_living_runs_are_left_alone(files, tmp_path):
    start = unfinished_start(tmp_path / "out.h5ad")
    mine = tmp_path / f"{start}{os.getppid()}.partial"
    mine.touch()
    rewrite(files, tmp_path / "out.h5ad")
    assert mine.exists()


def test_the_command_writes_a_part_of_a_split(files, tmp_path):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    testing = pytest.importorskip("typer.testing")
    commands = pytest.importorskip("scdataset_core.tools.commands")
    source = scd.open(files)
    split = scd.split(source, {"train": 0.75, "test": 0.25})
    split.save(tmp_path / "split.json")
    out = tmp_path / "test.h5ad"
    arguments = [*files, out, "--split", tmp_path / "split.json", "--part", "test"]
    done = testing.CliRunner().invoke(commands.app, ["rewrite", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    assert "200 cells x 300 genes" in done.output
    assert "X: uint8, uint16 column ids" in done.output
    assert ad.read_h5ad(out).n_obs == 200


def test_the_command_refuses_a_part_of_no_split(files, tmp_path):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    testing = pytest.importorskip("typer.testing")
    commands = pytest.importorskip("scdataset_core.tools.commands")
    arguments = ["rewrite", *map(str, files), str(tmp_path / "x"), "--part", "test"]
    done = testing.CliRunner().invoke(commands.app, arguments)
    assert done.exit_code == 1
    assert "give --split FILE too" in done.output
