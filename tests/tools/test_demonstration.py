"""The demo and its plates as functions."""

import json

import pytest

from scdataset_core.tools import demo, make_data

anndata = pytest.importorskip("anndata")


def test_make_data_and_demo_return_plain_data(tmp_path):
    small = {"cells": 60, "plates": 2, "genes": 200}
    made = make_data(tmp_path, **small)
    paths = [str(tmp_path / name) for name in ("plate1.h5ad", "plate2.h5ad")]
    assert [file["file"] for file in made["files"]] == paths
    assert (made["cells"], made["genes"]) == (120, 200)
    found = demo(paths, label="plate", batch_size=4, block_size=2, fetch_factor=1)
    assert json.loads(json.dumps(found)) == found
    assert found["label"] == "plate"
    names = [outcome["name"] for outcome in found["outcomes"]]
    assert names == ["file order", "block sampling", "true random"]
    assert found["outcomes"][2]["seconds_to_target"] > 0
    with pytest.raises(FileExistsError, match=r"plate1\.h5ad and 1 more"):
        make_data(tmp_path, **small)


def test_the_commands_print_the_same_as_json(tmp_path, monkeypatch):
    pytest.importorskip("rich")
    testing = pytest.importorskip("typer.testing")
    from scdataset_core.tools.commands import app

    def run(*arguments):
        done = testing.CliRunner().invoke(app, [*map(str, arguments), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    monkeypatch.chdir(tmp_path)
    small = ("--cells", 60, "--plates", 2, "--genes", 200)
    assert len(run("make-data", tmp_path / "made", *small)["files"]) == 2
    found = run("demo", *small, "--folder", tmp_path / "kept")
    assert found["too_few"].startswith("too few fetches")
    assert found["outcomes"][0]["seconds_to_target"] is None
    assert not (tmp_path / "scdataset-demo.png").exists()
