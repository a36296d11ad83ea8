"""`tune` keeps to memory and entropy, and times what it says."""

import json

import pytest

import scdataset_core as scd
from scdataset_core.candidates import list_candidates
from scdataset_core.tools import tune, tuning
from tests.tuning_options import options

pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def source(plates):
    return scd.open(plates / "*.h5ad", obs=["plate", "cell_line"])


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


def test_tuning_ends_in_time_with_the_most_hopeful(source, monkeypatch):
    clock = [0.0]

    def take_long(source, candidate, threads, seconds):
        clock[0] += 30.0
        return 1000.0 * candidate.fetch_factor

    monkeypatch.setattr(tuning, "time_settings", take_long)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    report = tune(source, **options(), seconds=40)
    assert clock[0] == 60.0  # two trials; the second began before 50
    cheapest = list_candidates(
        source, **options(), block_sizes=(1, 4, 16, 64), fetch_factors=(1, 4, 16, 64)
    )
    assert {(one["block_size"], one["fetch_factor"]) for one in report["settings"]} == {
        (one.block_size, one.fetch_factor) for one in cheapest[:2]
    }


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
