"""The option `--ray [ADDRESS]` of the commands."""

import json

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
testing = pytest.importorskip("typer.testing")
commands = pytest.importorskip("scdataset_core.tools.commands")
from scdataset_core.tools import ray_option, rewrite_command, verify_command  # noqa: E402


@pytest.fixture
def given(monkeypatch):
    """What the functions of the tools are called with."""
    calls = []

    def verify(paths, **options):
        calls.append((paths, options["ray"]))
        return {
            "ok": True,
            "damaged": [],
            "notices": [],
            "n_files": 1,
            "n_bytes": 0,
        } | {
            "n_chunks": 0,
            "seconds": 1.0,
        }

    monkeypatch.setattr(verify_command, "verify", verify)
    return calls


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        pytest.param(["FILE"], None, id="without"),
        pytest.param(["FILE", "--ray"], True, id="last"),
        pytest.param(["--ray", "FILE"], True, id="before_a_file"),
        pytest.param(["FILE", "--ray", "--json"], True, id="before_an_option"),
        pytest.param(["--ray", "--", "FILE"], True, id="before_dashes"),
        pytest.param(["FILE", "--ray", "auto"], "auto", id="auto"),
        pytest.param(["--ray", "local", "FILE"], "local", id="local"),
        pytest.param(
            ["--ray", "head-1.lab:6379", "FILE"], "head-1.lab:6379", id="port"
        ),
        pytest.param(["--ray", "ray://h:10001", "FILE"], "ray://h:10001", id="client"),
        pytest.param(["--ray=10.0.0.1:6379", "FILE"], "10.0.0.1:6379", id="equals"),
        pytest.param(["--ray", "[::1]:6379", "FILE"], "[::1]:6379", id="version_6"),
    ],
)
def test_an_address_may_follow(arguments, address, given, plates):
    file = str(plates / "plate1.h5ad")
    arguments = [file if argument == "FILE" else argument for argument in arguments]
    done = testing.CliRunner().invoke(commands.app, ["verify", *arguments])
    assert done.exit_code == 0, done.output
    assert given == [([file], address)]


def test_what_comes_after_dashes_is_left_alone():
    assert ray_option._complete(["--ray", "--", "--ray"]) == [
        "--ray",
        "",
        "--",
        "--ray",
    ]


def test_each_file_that_was_rewritten_skipped_or_failed_is_named(
    monkeypatch, plates, tmp_path
):
    found = {"ok": False, "folder": "out", "cells": 3, "genes": 2, "bytes": 9} | {
        "seconds": 1.0,
        "files": [{}],
        "skipped": [{"file": "b.h5ad", "reason": "none of its cells is chosen"}],
        "failed": [{"file": "c.h5ad", "error": "c.h5ad: it is damaged"}],
    }
    monkeypatch.setattr(rewrite_command, "rewrite", lambda *args, **options: found)
    arguments = ["rewrite", str(plates / "plate1.h5ad"), str(tmp_path), "--ray"]
    done = testing.CliRunner().invoke(commands.app, arguments)
    assert done.exit_code == 1
    assert "b.h5ad  skipped: none of its cells is chosen" in done.output
    assert "c.h5ad  failed: it is damaged" in done.output
    assert "1 files written, 3 cells x 2 genes" in done.output
    done = testing.CliRunner().invoke(commands.app, [*arguments, "--json"])
    assert done.exit_code == 1
    assert json.loads(done.output) == found
