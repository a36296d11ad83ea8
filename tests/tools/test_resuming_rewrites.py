"""A run of `rewrite` that was killed is gone on with, or done anew: never mixed."""

import json
import os
import signal
import warnings
from functools import partial

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.tools import (
    narrow_file,
    resumable_file,
    rewrite,
    rewriting,
    rewritten_file,
)
from scdataset_core.tools.safe_file import name_unfinished
from tests.tools.killing import kill_run

ad = pytest.importorskip("anndata")
h5py = pytest.importorskip("h5py")

slow = partial(pytest.param, marks=pytest.mark.slow)
MATRICES = ["X", "layers/dense", "obsm/X_pca"]
DEAD = 2**30  # no process has this number


@pytest.fixture(scope="module")
def files(plates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    paths = []
    for number in (1, 2):
        adata = ad.read_h5ad(plates / f"plate{number}.h5ad")[:, :90].copy()
        adata.layers["dense"] = adata.X.toarray()
        paths.append(folder / f"plate{number}.h5ad")
        adata.write_h5ad(paths[-1])
    return paths


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(rewritten_file, "PIECE_ROWS", 100)
    monkeypatch.setattr(resumable_file, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(narrow_file, "PLAIN_ELEMENTS", 1 << 10)
    # What costs time here; the files are compared with those of whole runs.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(rewriting, "verify", lambda *_, **__: {"ok": True})


class Killed(BaseException):
    pass


def kill(monkeypatch, at, files, out, **options):
    """Do as if a run were killed; HDF5 writes what it holds as it closes the file."""

    def progress(_, done, total):
        if done >= at:
            raise Killed("killed")

    remove = resumable_file._remove
    monkeypatch.setattr(resumable_file, "_remove", lambda path: None)
    with pytest.raises(Killed, match="killed"):
        rewrite(files, out, progress=progress, **options)
    monkeypatch.setattr(resumable_file, "_remove", remove)
    ours = name_unfinished(out).name
    for path in list(out.parent.iterdir()):
        if path.name.startswith(ours):
            path.rename(out.parent / path.name.replace(f".{os.getpid()}.", f".{DEAD}."))
    return out.with_name(ours.replace(f".{os.getpid()}.", f".{DEAD}."))


def content(path):
    adata = ad.read_h5ad(path)
    layers = {name: adata.layers[name].tobytes() for name in adata.layers}
    return (
        [adata.X.toarray().tobytes(), adata.X.dtype, layers, adata.obsm["X_pca"]],
        [adata.obs, adata.var],
    )


def check_equal(path, expected):
    (x, tables), (wanted, wanted_tables) = content(path), content(expected)
    assert x[:3] == wanted[:3]
    np.testing.assert_array_equal(x[3], wanted[3])
    assert all(a.equals(b) for a, b in zip(tables, wanted_tables, strict=True))
    with h5py.File(path) as file:
        names = {"X", "layers", "obs", "obsm", "obsp", "uns", "var", "varm", "varp"}
        assert set(file) == names
        assert set(file["X"]) == {"data", "indices", "indptr"}


@pytest.mark.parametrize(
    ("at", "options"),
    [
        (700, {"shuffle": True, "seed": 3}),
        slow(300, {}),
        slow(400, {"compression": "gzip"}),
        slow(200, {"where": {"drug": ["DMSO", "Afatinib"]}}),
    ],
)
def test_a_run_goes_on_where_one_was_killed(files, tmp_path, monkeypatch, at, options):
    options = {"x": MATRICES, **options}
    out, whole = tmp_path / "out.h5ad", tmp_path / "whole.h5ad"
    partial = kill(monkeypatch, at, files, out, **options)
    assert partial.exists()
    told = []
    report = rewrite(files, out, progress=lambda _, n, of: told.append(n), **options)
    json.dumps(report)
    assert report["resumed"] == at - 100  # the last piece was not noted down
    assert told[0] == at
    assert rewrite(files, whole, **options)["resumed"] == 0
    check_equal(out, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, whole.name]


@pytest.mark.slow
def test_a_run_may_be_killed_again_and_again(files, tmp_path, monkeypatch):
    out, whole = tmp_path / "out.h5ad", tmp_path / "whole.h5ad"
    for at in (200, 400, 500):
        kill(monkeypatch, at, files, out, x=MATRICES)
    assert rewrite(files, out, x=MATRICES)["resumed"] == 400
    rewrite(files, whole, x=MATRICES)
    check_equal(out, whole)


def test_a_run_that_was_killed_at_the_end_writes_no_cell_twice(
    files, tmp_path, monkeypatch
):
    def die(source, rows):
        raise Killed("killed")

    out, whole = tmp_path / "out.h5ad", tmp_path / "whole.h5ad"
    with monkeypatch.context() as patch:
        patch.setattr(rewritten_file, "make_obs", die)
        kill(patch, 10_000, files, out, x=MATRICES)
    assert rewrite(files, out, x=MATRICES)["resumed"] == 800
    rewrite(files, whole, x=MATRICES)
    check_equal(out, whole)


def cut_state(partial):
    state = partial.with_name(f"{partial.name}.state")
    state.write_text(state.read_text()[:-20])


def cut_file(partial):
    os.truncate(partial, 1000)


def remove_log(partial):
    for path in partial.parent.glob("*.log*"):
        path.unlink()


@pytest.mark.parametrize("damage", [cut_state, slow(cut_file), slow(remove_log)])
def test_what_is_of_no_use_is_removed(files, tmp_path, monkeypatch, damage):
    out, whole = tmp_path / "out.h5ad", tmp_path / "whole.h5ad"
    damage(kill(monkeypatch, 400, files, out, x=MATRICES))
    assert rewrite(files, out, x=MATRICES)["resumed"] == 0
    rewrite(files, whole, x=MATRICES)
    check_equal(out, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, whole.name]


def test_a_log_that_was_cut_off_is_used_so_far_as_it_goes(files, tmp_path, monkeypatch):
    out, whole = tmp_path / "out.h5ad", tmp_path / "whole.h5ad"
    kill(monkeypatch, 400, files, out, x=MATRICES)
    state = json.loads(next(tmp_path.glob("*.state")).read_text())
    with next(tmp_path.glob(f"*.log{state['turn']}")).open("ab") as log:
        log.write(bytes(8) + b"\xff" * 3)
    assert rewrite(files, out, x=MATRICES)["resumed"] == 300
    rewrite(files, whole, x=MATRICES)
    check_equal(out, whole)


@pytest.mark.parametrize(
    "options",
    [
        {"x": "X"},
        slow({"x": MATRICES, "seed": 1, "shuffle": True}),
        slow({"x": MATRICES, "compression": "gzip"}),
        {"x": MATRICES, "where": {"drug": "DMSO"}},
        slow({"x": MATRICES, "genes": 80}),
    ],
)
def test_another_request_starts_anew(files, tmp_path, monkeypatch, options):
    out = tmp_path / "out.h5ad"
    partial = kill(monkeypatch, 400, files, out, x=MATRICES)
    if "genes" in options:
        options = {**options, "genes": np.arange(options["genes"])}
    assert rewrite(files, out, **options)["resumed"] == 0
    assert not partial.exists()
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_files_that_changed_are_read_anew(files, tmp_path, monkeypatch):
    out = tmp_path / "out.h5ad"
    kill(monkeypatch, 400, files, out)
    now = files[0].stat()
    os.utime(files[0], ns=(now.st_atime_ns, now.st_mtime_ns + 1))
    assert rewrite(files, out)["resumed"] == 0


def make_cells():
    rng = np.random.default_rng(0)
    x = rng.integers(1, 9, (500, 3)).astype(np.float32)
    adata = ad.AnnData(x, layers={"twice": 2 * x})
    adata.obs["number"] = np.arange(500)
    return adata


def other_values(adata):
    adata.X *= 3
    return adata


def other_order(adata):
    return adata[np.random.default_rng(1).permutation(500)].copy()


def other_matrix(adata):
    return scd.open(adata, obs=True, obs_names=True, x="layers/twice")


def whole(adata):
    return scd.concat([scd.open(adata, obs=True, obs_names=True)])


@pytest.mark.parametrize("change", [other_values, other_order, other_matrix, whole])
def test_of_an_object_each_run_begins_anew(tmp_path, monkeypatch, change):
    adata, out = make_cells(), tmp_path / "out.h5ad"
    partial = kill(monkeypatch, 300, whole(adata) if change is whole else adata, out)
    assert not partial.with_name(f"{partial.name}.state").exists()
    given = change(adata)
    assert rewrite(given, out)["resumed"] == 0
    cells = scd.open(out, obs=["number"]).read(np.arange(500))
    source = given if isinstance(given, scd.Source) else scd.open(given, obs=["number"])
    expected = source.read(np.arange(500))
    np.testing.assert_array_equal(cells["X"], expected["X"])
    np.testing.assert_array_equal(cells["obs"]["number"], expected["obs"]["number"])
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_of_a_backed_object_whose_labels_may_differ_each_run_begins_anew(
    tmp_path, monkeypatch
):
    make_cells().write_h5ad(tmp_path / "in.h5ad")
    adata = ad.read_h5ad(tmp_path / "in.h5ad", backed="r")
    kill(monkeypatch, 300, adata, tmp_path / "out.h5ad")
    assert rewrite(adata, tmp_path / "out.h5ad")["resumed"] == 0


def test_of_a_folder_each_run_begins_anew(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of AnnData and zarr, on versions
        make_cells().write_zarr(tmp_path / "in.zarr")
    kill(monkeypatch, 300, tmp_path / "in.zarr", tmp_path / "out.h5ad")
    assert rewrite(tmp_path / "in.zarr", tmp_path / "out.h5ad")["resumed"] == 0


def test_of_what_lies_in_a_store_each_run_begins_anew(tmp_path, monkeypatch):
    obstore = pytest.importorskip("obstore")
    make_cells().write_h5ad(tmp_path / "in.h5ad")
    data = (obstore.store.LocalStore(tmp_path), "in.h5ad")
    kill(monkeypatch, 300, data, tmp_path / "out.h5ad")
    assert rewrite(data, tmp_path / "out.h5ad")["resumed"] == 0


def test_other_columns_of_a_table_start_anew(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    x = np.random.default_rng(0).integers(1, 9, (500, 3)).astype(np.float32)
    table = {"a": list(x), "b": list(2 * x), "number": np.arange(500)}
    parquet.write_table(arrow.table(table), tmp_path / "in.parquet")
    a, b = (
        scd.open(tmp_path / "in.parquet", columns=name, obs=["number"]) for name in "ab"
    )
    out = tmp_path / "out.h5ad"
    kill(monkeypatch, 300, a, out)
    assert rewrite(b, out)["resumed"] == 0
    np.testing.assert_array_equal(ad.read_h5ad(out).X, 2 * x)
    kill(monkeypatch, 300, a, out, overwrite=True)
    assert rewrite(a, out, overwrite=True)["resumed"] == 200


def test_a_value_that_does_not_fit_starts_anew(tmp_path, monkeypatch):
    x = np.ones((500, 3), np.float32)
    x[450] = 300
    ad.AnnData(x).write_h5ad(tmp_path / "in.h5ad")
    monkeypatch.setattr(rewritten_file, "SAMPLED_ROWS", 2)
    kill(monkeypatch, 300, tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    rewrite(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    found = ad.read_h5ad(tmp_path / "out.h5ad").X
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, x)


def test_the_command_says_what_an_interrupted_run_leaves(files, tmp_path, monkeypatch):
    pytest.importorskip("rich")
    testing = pytest.importorskip("typer.testing")
    commands = pytest.importorskip("scdataset_core.tools.commands")
    from scdataset_core.tools import rewrite_command

    def write(*_, **__):
        name_unfinished(tmp_path / "out.h5ad").touch()
        raise SystemExit(130)

    monkeypatch.setattr(rewrite_command, "rewrite", write)
    arguments = ["rewrite", *map(str, files), str(tmp_path / "out.h5ad")]
    done = testing.CliRunner().invoke(commands.app, arguments)
    assert done.exit_code == 130
    assert ".partial holds what was written; the same command" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_runs_that_are_killed_at_any_moment_are_gone_on_with(
    files, tmp_path, monkeypatch, number
):
    out, whole = tmp_path / "out" / "out.h5ad", tmp_path / "whole.h5ad"
    rng = np.random.default_rng(0)
    resumed = []

    def run(tell):
        checkpoint = resumable_file.ResumableFile.checkpoint

        def checkpoint_and_tell(*arguments):
            checkpoint(*arguments)
            tell()

        monkeypatch.undo()  # in this process
        rewritten_file.PIECE_ROWS, resumable_file.CHECKPOINT_S = 20, 0.0
        resumable_file.ResumableFile.checkpoint = checkpoint_and_tell
        rewrite(files, out, x=MATRICES, overwrite=True)

    monkeypatch.setattr(rewritten_file, "PIECE_ROWS", 20)
    for _ in range(4):
        for _ in range(2):
            kill_run(run, number, rng.uniform(0, 0.3))
        resumed.append(rewrite(files, out, x=MATRICES, overwrite=True)["resumed"])
        rewrite(files, whole, x=MATRICES, overwrite=True)
        check_equal(out, whole)
        assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert max(resumed) > 0
    assert len(scd.open(out)) == 800
