"""The commands that look at, fill and clear a cache."""

import json

import pytest

import scdataset_core as scd
from scdataset_core import tools

pytest.importorskip("typer")
pytest.importorskip("rich")
ad = pytest.importorskip("anndata")
testing = pytest.importorskip("typer.testing")
commands = pytest.importorskip("scdataset_core.tools.commands")


def run(*arguments, code=0, **env):
    done = testing.CliRunner().invoke(
        commands.app, ["cache", *map(str, arguments)], env=env
    )
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def file(plates, tmp_path):
    path = tmp_path / "cells.h5ad"
    ad.read_h5ad(plates / "plate1.h5ad").write_h5ad(path, compression="gzip")
    return path


def test_a_cache_is_filled_listed_and_cleared(file, plates, tmp_path):
    folder = tmp_path / "cache"
    plain = plates / "plate2.h5ad"
    out = run("fill", file, plain, "--folder", folder, "--limit", "1GiB")
    assert "100.0% kept" in out
    assert "plate2.h5ad  is not compressed, and needs no cache" in out
    assert scd.open(file, cache=folder).cached == 1.0
    listed = json.loads(run("ls", "--json", SCDATASET_CACHE=str(folder)))
    assert {entry["array"] for entry in listed} == {"/X/data", "/X/indices"}
    assert all(entry["share"] == 1.0 for entry in listed)
    shown = run("ls", "--folder", folder)
    assert "100%" in shown
    assert "2 arrays" in shown
    run("clear", plain, "--folder", folder)
    assert "2 arrays" in run("ls", "--folder", folder)
    file.unlink()
    run("clear", file, "--folder", folder)
    assert "0 arrays" in run("ls", "--folder", folder)


def test_functions_return_what_json_prints(file, tmp_path, monkeypatch):
    monkeypatch.setenv("SCDATASET_CACHE", str(tmp_path / "cache"))
    filled = json.loads(run("fill", file, "--json"))
    assert filled["ok"]
    assert [one["share"] for one in filled["files"]] == [1.0]
    assert json.loads(run("ls", "--json")) == tools.cache(tmp_path / "cache")
    found = json.loads(run("clear", tmp_path / "*.h5ad", "--json"))
    assert found["freed"] > 0
    assert tools.clear_cache(tmp_path / "cache")["freed"] == 0
    assert tools.cache(tmp_path / "cache") == []


def test_what_is_wrong_is_said_plainly(file, tmp_path):
    for command in ("ls", "clear"):
        assert "no such cache" in run(command, "--folder", tmp_path / "no", code=1)
    assert "limit must" in run(
        "fill", file, "--folder", tmp_path / "cache", "--limit", "lots", code=1
    )
    full = run("fill", file, "--folder", tmp_path / "cache", "--limit", "20kB", code=1)
    assert "0.0% kept" in full
