"""The command's entry point, with and without the packages it needs."""

import subprocess
import sys
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
    assert "demo" in done.stdout
    assert "make-data" in done.stdout


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


def test_missing_matplotlib_shows_before_the_work(tmp_path):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    done = run_main("demo", "--folder", str(tmp_path), blocked="matplotlib")
    assert done.returncode == 1
    assert "the figure needs matplotlib; install it with" in done.stderr
    assert list(tmp_path.iterdir()) == []
