"""`scdataset index` saves an index, and brings one up to date."""

import json
import shutil

import pytest

import scdataset_core as scd
from tests.sources.small_h5ad import N, make

pytest.importorskip("typer")

from typer.testing import CliRunner

from scdataset_core.tools.commands import app

runner = CliRunner()


def test_an_index_is_made_and_brought_up_to_date(tmp_path):
    for i in range(3):
        make(tmp_path / f"{i}.h5ad", start=i * N)
    out = tmp_path / "all.scdindex"
    command = ["index", str(tmp_path / "*.h5ad"), "--out", str(out)]
    first = runner.invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "3 files in" in first.output
    assert len(scd.open(out)) == 3 * N
    (tmp_path / "0.h5ad").unlink()
    make(tmp_path / "1.h5ad", start=7, n=N - 2)
    shutil.copy(tmp_path / "2.h5ad", tmp_path / "3.h5ad")
    again = runner.invoke(app, [*command, "--json"])
    found = json.loads(again.output)
    assert (found["read"], found["added"], found["dropped"]) == (1, 1, 1)
    assert len(scd.open(out)) == 3 * N - 2


def test_files_of_other_formats_are_refused(tmp_path):
    (tmp_path / "x.h5ad").write_text("no")
    command = ["index", str(tmp_path / "x.h5ad"), "--out", str(tmp_path / "i.scdindex")]
    result = runner.invoke(app, command)
    assert result.exit_code != 0
    assert not (tmp_path / "i.scdindex").exists()


def test_what_was_read_before_an_error_is_kept(tmp_path):
    for i in range(3):
        make(tmp_path / f"{i}.h5ad", start=i * N)
    whole = (tmp_path / "2.h5ad").read_bytes()
    (tmp_path / "2.h5ad").write_bytes(whole[:500])
    out, part = tmp_path / "all.scdindex", tmp_path / "all.scdindex.part"
    command = ["index", str(tmp_path / "*.h5ad"), "--out", str(out), "--json"]
    assert runner.invoke(app, command).exit_code == 1
    assert part.exists()
    assert not out.exists()
    (tmp_path / "2.h5ad").write_bytes(whole)
    again = runner.invoke(app, command)
    assert json.loads(again.output)["added"] == 1
    assert not part.exists()
    assert len(scd.open(out)) == 3 * N


def test_an_interrupted_update_goes_on(tmp_path):
    for i in range(4):
        make(tmp_path / f"{i}.h5ad", start=i * N)
    files = sorted(str(path) for path in tmp_path.glob("*.h5ad"))
    index = scd.Index.build(files[3:])

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt("now")

    with pytest.raises(KeyboardInterrupt, match="now"):
        index.update(files, progress=interrupt)
    assert index.files == (files[0], files[1], files[3])
    assert index.update(files) == ((), (files[2],), ())
    assert index.files == tuple(files)
