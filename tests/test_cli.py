"""The command's entry point, with and without the packages it needs."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import scdataset_core

ROOT = Path(scdataset_core.__file__).parent.parent


RUN = """
import sys

root, blocked, *arguments = sys.argv[1:]
sys.path.insert(0, root)
sys.argv = ["scdataset", *arguments]


class Blocked:
    def find_spec(name, path=None, target=None):
        if name in blocked.split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocked)
from scdataset_core.cli import main

main()
"""


def run_main(*arguments, blocked=""):
    return subprocess.run(
        [sys.executable, "-c", RUN, str(ROOT), blocked, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_the_commands():
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    done = run_main("--help")
    assert done.returncode == 0
    groups = re.findall(r"^(\w.*):\n  (\w+)", done.stdout, re.MULTILINE)
    assert groups == [
        ("Look at files", "inspect"),
        ("Choose settings", "suggest"),
        ("Prepare data", "split"),
        ("Try it without data", "make"),
        ("Begin with these", "scdataset"),
    ]
    whole = done.stdout.replace("[ARGS]...", "").replace("plate2.h5ad, ...", "")
    assert "..." not in whole  # no sentence is cut
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "More:" not in done.stdout  # every command is in a group


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_missing_package_is_named_with_its_extra(missing):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    done = run_main("--help", blocked=missing)
    assert done.returncode == 1
    assert f"needs {missing}; install it with `pip install 'scdataset-core[cli]'`" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_matplotlib_there_is_no_figure(tmp_path):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    small = (
        "--cells",
        "30",
        "--genes",
        "100",
        "--plates",
        "2",
        "--folder",
        str(tmp_path),
    )
    done = run_main("demo", *small, blocked="matplotlib")
    assert done.returncode == 0, done.stderr
    assert "true random" in done.stdout
    assert "no figure: the figure needs matplotlib; install it with" in done.stderr


def test_missing_matplotlib_shows_before_the_work_where_a_figure_is_asked_for(tmp_path):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    options = ("--folder", str(tmp_path), "--figure", str(tmp_path / "figure.png"))
    done = run_main("demo", *options, blocked="matplotlib")
    assert done.returncode == 1
    assert done.stderr.startswith("scdataset: the figure needs matplotlib; install")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_package_runs_as_the_command():
    pytest.importorskip("typer")
    done = subprocess.run(
        [sys.executable, "-m", "scdataset_core", "make-data", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("Usage: scdataset make-data"), done.stderr


def test_version_is_that_of_the_distribution():
    pytest.importorskip("typer")
    done = run_main("--version")
    assert done.returncode == 0
    assert done.stdout == f"scdataset-core {version('scdataset-core')}\n"


def test_wrong_option_ends_with_2():
    pytest.importorskip("typer")
    done = run_main("demo", "--cell", "3")
    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert "Traceback" not in done.stderr
