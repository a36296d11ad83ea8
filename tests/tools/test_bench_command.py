"""`scdataset bench` prints tables of 80 columns, and writes a page and a picture."""

import json

import pytest

pytest.importorskip("anndata")
pytest.importorskip("rich")
pytest.importorskip("typer")
testing = pytest.importorskip("typer.testing")
commands = pytest.importorskip("scdataset_core.tools.commands")
rivals = pytest.importorskip("scdataset_core.tools.rivals")

QUICK = ["--quick", "--seconds", "0.2", "--batch-size", "16"]


@pytest.fixture
def run(plates, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def invoke(*arguments):
        return testing.CliRunner().invoke(
            commands.app, ["bench", str(plates / "*.h5ad"), *QUICK, *arguments]
        )

    return invoke


def test_tables_fit_80_columns_and_files_are_written(run, tmp_path):
    pytest.importorskip("matplotlib")
    done = run("--label", "plate")
    assert done.exit_code == 0, done.output
    for text in ("Cells a second", "b=16", "f=64", "Entropy of plate", "threads"):
        assert text in done.output
    lines = done.output.splitlines()
    assert max(len(line) for line in lines if "scd.Loader" not in line) <= 80
    assert "\x1b" not in done.output
    assert (tmp_path / "scdataset-bench.html").read_text("utf-8").endswith("</html>\n")
    assert (tmp_path / "scdataset-bench.png").read_bytes()[:4] == b"\x89PNG"


def test_json_is_the_report_and_writes_what_is_asked_for(run, tmp_path):
    done = run("--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["batch_size"] == 16
    assert list(tmp_path.iterdir()) == []
    pytest.importorskip("matplotlib")
    done = run("--json", "--html", "out/report.html", "--png", "out/figure.svg")
    assert json.loads(done.output)["grid"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html",
        "figure.svg",
    }


def test_a_missing_library_is_a_clear_line_and_exit_code_1(run, monkeypatch):
    gone = rivals.RIVALS["annbatch"]._replace(packages=("no_such_package",))
    monkeypatch.setitem(rivals.RIVALS, "annbatch", gone)
    done = run("--against", "annbatch")
    assert done.exit_code == 1
    assert "annbatch is not installed; install it with" in done.output
    assert "scd.Loader(source" in done.output


def test_wrong_options_are_errors_before_anything_is_timed(run, tmp_path):
    done = run("--html", "report.txt")
    assert done.exit_code == 1
    assert "--html must end in .html or .htm" in done.output
    done = run("--against", "scdatset")
    assert done.exit_code == 1
    assert 'did you mean "scdataset"' in done.output
    assert list(tmp_path.iterdir()) == []
