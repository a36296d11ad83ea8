"""`verify` names every damaged chunk, and nothing that is sound."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.fetch_memory import RowMemory
from scdataset_core.tools import verification, verify

ad = pytest.importorskip("anndata")


@pytest.fixture
def file(plates, tmp_path):
    path = tmp_path / "cells.h5ad"
    adata = ad.read_h5ad(plates / "plate1.h5ad")
    adata.layers["dense"] = adata.X.toarray()
    adata.raw = adata
    adata.write_h5ad(path, compression="gzip")
    return path


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
    paths = [tmp_path / f"copy{number:03}.h5ad" for number in range(300)]
    for path in paths:
        shutil.copy(file, path)
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
