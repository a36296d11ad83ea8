"""`tune` keeps to memory and entropy, and times what it says."""

import json

import pytest

import scdataset_core as scd
from scdataset_core.tools import tune

pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def source(plates):
    return scd.open(plates / "*.h5ad", obs=["plate", "cell_line"])


def options(**given):
    return {
        "memory": "10MB",
        "label": "plate",
        "min_entropy": 0.9,
        "batch_size": 16,
    } | given


def test_tuning_times_settings_and_gives_lines_to_paste(source):
    told = []
    report = tune(
        source,
        **options(),
        seconds=0.5,
        progress=lambda *now: told.append(now),
    )
    json.dumps(report)
    rates = [one["cells_per_s"] for one in report["settings"]]
    assert rates == sorted(rates, reverse=True)
    assert report["best"] == report["settings"][0]
    assert report["best"]["pareto"]
    for one in report["settings"]:
        assert one["memory"] <= 10e6
        assert one["measured_entropy"] == pytest.approx(
            one["predicted_entropy"], abs=0.1
        )
    assert all(done <= total for _, done, total in told)
    exec(report["line"], {"scd": scd, "source": source})


def test_the_commands_print_tables_and_json(plates):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    testing = pytest.importorskip("typer.testing")
    commands = pytest.importorskip("scdataset_core.tools.commands")

    def run(*arguments):
        done = testing.CliRunner().invoke(
            commands.app, [*arguments, str(plates / "*.h5ad"), "--label", "plate"]
        )
        assert done.exit_code == 0, done.output
        return done.output

    assert "scd.Loader(source" in run("suggest")
    assert json.loads(run("suggest", "--json"))["entropy"] >= 0.98
    out = run("tune", "--seconds", "1")
    assert "cells/s" in out
    assert "scd.Loader(source" in out
