"""`verify` names every damaged chunk, and nothing that is sound."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.fetch_memory import RowMemory
from scdataset_core.tools import verification, verify

ad = pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def written(plates, tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "cells.h5ad"
    adata = ad.read_h5ad(plates / "plate1.h5ad")
    adata.layers["dense"] = adata.X.toarray()
    adata.raw = adata
    adata.write_h5ad(path, compression="gzip")
    return path


@pytest.fixture
def file(written, tmp_path):
    """Return a copy, which a test may damage."""
    return Path(shutil.copy(written, tmp_path))


def flip(path, name, chunk):
    """Flip a byte in the middle of a stored chunk."""
    with h5py.File(path) as file:
        info = file[name].id.get_chunk_info(chunk)
    with path.open("r+b") as file:
        file.seek(info.byte_offset + info.size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 255]))


def test_sound_files_are_sound(file, plates):
    told = []
    report = verify(
        [file, *sorted(plates.glob("*.h5ad"))],
        progress=lambda *now: told.append(now),
        threads=2,
    )
    assert report["ok"]
    assert report["damaged"] == []
    assert report["n_files"] == 4
    assert {path for path, _, _ in told} >= {str(file)}
    assert all(done <= total for _, done, total in told)
    json.dumps(report)


def test_every_damaged_chunk_is_named(file):
    places = {("X/data", 1), ("layers/dense", 2), ("raw/X/indices", 0)}
    for name, chunk in places:
        flip(file, name, chunk)
    report = verify(file)
    assert not report["ok"]
    found = {(d["dataset"].strip("/"), d["chunk"]) for d in report["damaged"]}
    assert found == places
    assert {damage["file"] for damage in report["damaged"]} == {str(file)}


@pytest.mark.slow
def test_of_many_files_exactly_the_damaged_are_named(file, tmp_path):
    small = tmp_path / "small.h5ad"
    ad.AnnData(np.ones((3, 2), np.float32)).write_h5ad(small)
    paths = [tmp_path / f"copy{number:03}.h5ad" for number in range(300)]
    for number, path in enumerate(paths):
        is_large = number % 10 == 0 or number in (7, 299)
        shutil.copy(file if is_large else small, path)
    places = {
        (str(paths[7]), "X/data", 1),
        (str(paths[150]), "layers/dense", 2),
        (str(paths[299]), "raw/X/indices", 0),
    }
    for path, name, chunk in places:
        flip(Path(path), name, chunk)
    report = verify(tmp_path / "copy*.h5ad")
    assert report["n_files"] == 300
    assert {
        (damage["file"], damage["dataset"].strip("/"), damage["chunk"])
        for damage in report["damaged"]
    } == places


@pytest.mark.parametrize("shape", [7, "wide", [[1, 2], [3, 4]]])
def test_what_else_groups_say_of_themselves_is_no_damage(tmp_path, shape):
    path = tmp_path / "cells.h5ad"
    ad.AnnData(np.ones((3, 2), np.float32)).write_h5ad(path)
    with h5py.File(path, "r+") as handle:
        attrs = handle.create_group("uns/own").attrs
        attrs.update({"shape": shape, "column-order": 7, "_index": 7})
    assert verify(path)["damaged"] == []


def test_columns_that_are_not_there_are_found(file):
    with h5py.File(file, "r+") as handle:
        handle["X/indices"][7000] = 300
    (damage,) = verify(file)["damaged"]
    assert damage["dataset"] == "/X/indices"
    assert "has the column 300, and there are 300" in damage["error"]


def test_row_pointers_that_do_not_fit_are_found(file):
    with h5py.File(file, "r+") as handle:
        handle["X/indptr"][5] = 10**6
    (damage,) = verify(file)["damaged"]
    assert "indptr" in damage["error"]


def set_one(name, place, value):
    def change(handle):
        values = handle[name][...]
        values[place] = value
        handle[name][...] = values

    return change


def cut(name):
    def change(handle):
        values, attrs = handle[name][:-1], dict(handle[name].attrs)
        del handle[name]
        handle.create_dataset(name, data=values).attrs.update(attrs)

    return change


def state_rows(handle):
    handle["layers/sparse"].attrs["shape"] = np.array([41, 30])


@pytest.fixture(scope="module")
def fitting_file(tmp_path_factory):
    x = sp.random(40, 30, 0.2, format="csr", random_state=0, dtype=np.float32)
    kinds = ["a", "b"]
    adata = ad.AnnData(
        x,
        obs=pd.DataFrame(
            {
                "kind": pd.Categorical(kinds * 20),
                "n": np.arange(40),
                "missing": pd.array([1, None] * 20, dtype="Int64"),
            },
            index=[f"cell{i}" for i in range(40)],
        ),
        var=pd.DataFrame(
            {"kind": pd.Categorical(kinds * 15)}, index=[f"gene{i}" for i in range(30)]
        ),
        layers={"dense": x.toarray(), "sparse": x.copy(), "columns": x.tocsc()},
        obsm={"pca": np.ones((40, 2))},
        varm={"loadings": np.ones((30, 2))},
        obsp={"near": sp.eye(40, format="csr")},
        uns={"table": pd.DataFrame({"n": [1, 2]})},
    )
    adata.raw = adata
    path = tmp_path_factory.mktemp("fitting") / "cells.h5ad"
    adata.write_h5ad(path)
    assert verify(path)["ok"]
    return path


@pytest.mark.parametrize(
    ("change", "dataset", "error"),
    [
        (set_one("layers/sparse/indptr", 3, 9**9), "/layers/sparse/indptr", "pointer"),
        (set_one("raw/X/indptr", 3, 0), "/raw/X/indptr", "row 2 ends before"),
        (set_one("obsp/near/indptr", 0, 1), "/obsp/near/indptr", "row 0 starts at 1"),
        (set_one("obs/kind/codes", 7, 2), "/obs/kind/codes", "code 2, and there are 2"),
        (set_one("var/kind/codes", 7, -2), "/var/kind/codes", "the code -2"),
        (cut("obs/n"), "/obs/n", "39 values, and obs has 40 rows"),
        (cut("obs/missing/mask"), "/obs/missing", "40 values and a mask of 39"),
        (cut("layers/dense"), "/layers/dense", "39 rows, and there are 40 cells"),
        (cut("obsm/pca"), "/obsm/pca", "39 rows, and there are 40 cells"),
        (cut("varm/loadings"), "/varm/loadings", "29 rows, and there are 30 genes"),
        (cut("layers/sparse/data"), "/layers/sparse", "values and"),
        (state_rows, "/layers/sparse", "41 row pointers, and 42 belong"),
    ],
)
def test_parts_that_do_not_fit_are_found_outside_of_x_too(
    fitting_file, tmp_path, change, dataset, error
):
    path = tmp_path / "cells.h5ad"
    shutil.copy(fitting_file, path)
    with h5py.File(path, "r+") as handle:
        change(handle)
    damage = verify(path)["damaged"][0]
    assert damage["dataset"] == dataset
    assert error in damage["error"]
    assert damage["error"].startswith(f"{path}:")


def test_files_that_cannot_be_opened_are_damaged_too(file, plates, tmp_path):
    cut = tmp_path / "cut.h5ad"
    cut.write_bytes(file.read_bytes()[:5000])
    empty = tmp_path / "empty.h5ad"
    empty.touch()
    report = verify([cut, plates / "plate1.h5ad", empty])
    assert {damage["file"] for damage in report["damaged"]} == {str(cut), str(empty)}
    with pytest.raises(FileNotFoundError, match="no such file"):
        verify(tmp_path / "missing.h5ad")
    with pytest.raises(TypeError, match="paths of files"):
        verify(np.eye(3))


@pytest.mark.filterwarnings("ignore:.*zarr")
def test_zarr_stores_are_verified(file, tmp_path):
    pytest.importorskip("zarr")
    store = tmp_path / "cells.zarr"
    ad.read_h5ad(file).write_zarr(store)
    assert verify(store)["ok"]
    chunk = max((store / "X" / "data").rglob("0"), key=lambda path: path.stat().st_size)
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    chunk.write_bytes(data)
    (damage,) = verify(store)["damaged"]
    assert damage["dataset"].strip("/") == "X/data"


@pytest.mark.filterwarnings("ignore:.*zarr")
def test_files_of_a_store_that_may_be_lost_are_named(file, tmp_path):
    pytest.importorskip("zarr")
    testing = pytest.importorskip("typer.testing")
    commands = pytest.importorskip("scdataset_core.tools.commands")
    store = tmp_path / "cells.zarr"
    ad.read_h5ad(file).write_zarr(store)
    assert verify(store)["notices"] == []
    min((store / "X" / "data").rglob("0")).unlink()
    report = verify(store)
    assert report["ok"]  # zarr leaves out chunks that hold 0 only
    (notice,) = report["notices"]
    assert notice["file"] == str(store)
    assert "files of chunks are not there" in notice["what"]
    assert "X/data" in notice["what"]
    done = testing.CliRunner().invoke(commands.app, ["verify", str(store)])
    assert done.exit_code == 0
    assert f"! {store}: {notice['what']}" in done.output


def test_other_formats_are_read_in_file_order(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"X": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32()))})
    path = tmp_path / "cells.parquet"
    pq.write_table(table, path)
    assert verify(path)["ok"]
    data = bytearray(path.read_bytes())
    data[8:24] = bytes(16)
    path.write_bytes(data)
    assert not verify(path)["ok"]


def test_rows_that_a_loader_reads_take_bounded_memory(tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    rows = np.arange(3000, dtype=np.float32).reshape(300, 10).tolist()
    path = tmp_path / "cells.parquet"
    pq.write_table(pa.table({"X": pa.array(rows, pa.list_(pa.float32()))}), path)
    source = scd.open(path)
    row = RowMemory.of(source, source.stored_form).total
    told: list[int] = []
    for memory, n_rows in ((1, 1), (int(50 * row), 50), (10**9, 300)):
        monkeypatch.setattr(verification, "READ_BYTES", memory)
        told.clear()
        assert verify(path, progress=lambda *now: told.append(now[1]))["ok"]
        assert np.diff(told, prepend=0).max() == n_rows


def test_the_command_names_the_damage_and_exits_with_1(file, plates):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    testing = pytest.importorskip("typer.testing")
    commands = pytest.importorskip("scdataset_core.tools.commands")

    def run(*arguments):
        return testing.CliRunner().invoke(
            commands.app, ["verify", *map(str, arguments)]
        )

    done = run(plates / "*.h5ad")
    assert done.exit_code == 0
    assert "3 files, 0 damaged" in done.output
    flip(file, "X/data", 1)
    done = run(file, plates / "plate2.h5ad")
    assert done.exit_code == 1
    assert "/X/data" in done.output
    assert "2 files, 1 damaged" in done.output
    report = json.loads(run("--json", file).output)
    assert report["damaged"][0]["chunk"] == 1
