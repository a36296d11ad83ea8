"""The terminal: what is printed is what was meant, whatever rich reads into it."""

import json

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
ad = pytest.importorskip("anndata")
testing = pytest.importorskip("typer.testing")
commands = pytest.importorskip("scdataset_core.tools.commands")
terminal = pytest.importorskip("scdataset_core.tools.terminal")

NAME = "run:warning:[red]1"  # an emoji and a colour to rich


@pytest.fixture
def file(plates, tmp_path):
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "cells.h5ad").symlink_to(plates / "plate1.h5ad")
    return folder / "cells.h5ad"


def run(*arguments):
    done = testing.CliRunner().invoke(commands.app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_json_and_text_name_a_file_as_it_is_called(file):
    given = str(file).replace("[", "[[]")  # commands take globs
    assert json.loads(run("inspect", given, "--json"))["files"][0]["file"] == str(file)
    assert NAME in run("inspect", given)


def test_notes_and_stages_are_shown_as_they_are(capsys, monkeypatch):
    terminal.note(f"{NAME} is there")
    assert NAME in capsys.readouterr().err
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal._errors, "_force_terminal", True)
    monkeypatch.setattr(terminal._errors, "is_interactive", True)
    with terminal.progress() as report:
        report(NAME, 1, 2)
    assert NAME in capsys.readouterr().err
