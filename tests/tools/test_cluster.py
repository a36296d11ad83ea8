"""Tools that spread files over a cluster: what each file gives, and which failed."""

import os
import pickle
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.tools import (
    cache_filling,
    cluster,
    fill_cache,
    rewrite,
    rewriting_each,
    verification,
    verify,
)

ad = pytest.importorskip("anndata")

IN_CLUSTER = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    # Ray leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def files(plates, tmp_path):
    """Three compressed files, of which the second has a damaged chunk."""
    folder = tmp_path / "compressed"
    folder.mkdir()
    paths = []
    for path in sorted(plates.glob("*.h5ad")):
        paths.append(folder / path.name)
        ad.read_h5ad(path)[:80].copy().write_h5ad(paths[-1], compression="gzip")
    with h5py.File(paths[1]) as file:
        info = file["X/data"].id.get_chunk_info(0)
    with paths[1].open("r+b") as file:
        file.seek(info.byte_offset + 30)
        file.write(bytes(8))
    return paths


@pytest.fixture(params=["here", pytest.param("cluster", marks=IN_CLUSTER)])
def spread(request, monkeypatch):
    """Have tasks run in this process, or in a cluster; they pickle in both."""
    if request.param == "cluster":
        request.getfixturevalue("ray_cluster")
        return
    monkeypatch.setattr(cluster, "run_on_cluster", run_here)
    for module in (verification, cache_filling, rewriting_each):
        monkeypatch.setattr(module, "run_on_cluster", run_here)


def run_here(work, items, address, *, threads=None, progress=None):
    outcomes = []
    for item in items:
        own = pickle.loads(pickle.dumps(work))
        try:
            result = own(pickle.loads(pickle.dumps(item)), lambda share: None)
            outcomes.append(cluster.Outcome(result))
        except Exception as error:
            outcomes.append(cluster.Outcome(error=str(error)))
        if progress is not None:
            progress("files", len(outcomes), len(items))
    return outcomes


@pytest.mark.usefixtures("spread")
def test_files_are_verified_as_they_are_here(files):
    told = []
    report = verify(files, ray="auto", progress=lambda *now: told.append(now))
    expected = verify(files)
    for name in ("ok", "n_files", "n_chunks", "n_bytes", "damaged"):
        assert report[name] == expected[name]
    assert [damage["file"] for damage in report["damaged"]] == [str(files[1])]
    assert told[-1] == ("files", 3, 3)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


@pytest.mark.usefixtures("spread")
def test_a_cache_is_filled_and_damaged_files_are_named(files, tmp_path):
    cache = scd.Cache(tmp_path / "cache", limit="1GiB")
    report = fill_cache(files, cache, ray="auto")
    assert not report["ok"]
    assert [failed["file"] for failed in report["failed"]] == [str(files[1])]
    assert "damaged" in report["failed"][0]["error"]
    assert [file["share"] for file in report["files"]] == [1.0, 1.0]
    assert scd.open([files[0], files[2]], cache=cache).cached == 1.0
    assert 0 < report["nbytes"] <= cache.nbytes


def test_a_cache_is_filled_here_too_and_damaged_files_are_named(files, tmp_path):
    told = []
    report = fill_cache(
        files, tmp_path / "cache", progress=lambda *now: told.append(now)
    )
    assert [failed["file"] for failed in report["failed"]] == [str(files[1])]
    assert {file for file, _, _ in told} >= {str(files[0]), str(files[2])}


@pytest.mark.usefixtures("spread")
def test_each_file_is_rewritten_with_the_genes_of_all(files, tmp_path):
    out = tmp_path / "narrow"
    fewer = ad.read_h5ad(files[0])[:, 5:].copy()
    fewer.write_h5ad(files[0], compression="gzip")
    report = rewrite(files, out, join="outer", where={"drug": ["DMSO"]}, ray="auto")
    assert not report["ok"]
    assert [failed["file"] for failed in report["failed"]] == [str(files[1])]
    written = sorted(path.name for path in out.iterdir())
    assert written == [files[0].name, files[2].name]
    source = scd.open([files[0], files[2]], join="outer", obs=True, obs_names=True)
    rows = source.where(drug="DMSO").to_numpy()
    assert report["cells"] == len(rows)
    again = scd.open(str(out / "*.h5ad"), obs=True)
    assert sorted(again.var_names) == sorted(source.var_names)
    columns = [list(again.var_names).index(name) for name in source.var_names]
    expected = source.read(rows)["X"].toarray()
    found = again.read(range(len(rows)))["X"].toarray()[:, columns]
    assert np.array_equal(found, expected)
    # A run that was interrupted is started again.
    second = rewrite(files, out, join="outer", where={"drug": ["DMSO"]}, ray="auto")
    assert [skipped["file"] for skipped in second["skipped"]] == [
        str(files[0]),
        str(files[2]),
    ]
    assert all("is there already" in one["reason"] for one in second["skipped"])
    # What was asked for otherwise is not taken for it.
    other = rewrite(files[2:], out, ray="auto")
    assert "with other cells or genes; overwrite" in other["failed"][0]["error"]


@pytest.mark.usefixtures("spread")
def test_files_without_chosen_cells_are_skipped(files, tmp_path):
    rows = np.arange(80, 90)  # of the second file
    del files[1:2]
    report = rewrite(files, tmp_path / "out", rows=rows, ray="auto", shuffle=True)
    assert report["ok"]
    assert report["cells"] == 10
    assert [one["reason"] for one in report["skipped"]] == [
        "none of its cells is chosen"
    ]
    assert (tmp_path / "out" / "plate3.h5ad").exists()


def test_nothing_that_is_read_is_replaced_and_names_differ(files, plates, tmp_path):
    with pytest.raises(FileExistsError, match="one of those that are read"):
        rewrite(files[0], files[0].parent, ray="auto", overwrite=True)
    with pytest.raises(ValueError, match=r"several of the files.*plate1\.h5ad"):
        rewrite([files[0], plates / "plate1.h5ad"], tmp_path / "out", ray="auto")
    with pytest.raises(FileExistsError, match="written to a folder"):
        rewrite(plates / "plate1.h5ad", files[0], ray="auto")
    with pytest.raises(ValueError, match="this source is of none"):
        rewrite(scd.open(np.eye(3)), tmp_path / "out", ray="auto")


def test_the_extra_is_named_where_ray_is_not_there(files, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"scdataset-core\[ray\]"):
        verify(files, ray=True)


def test_a_task_says_now_and_then_how_far_it_has_come(monkeypatch):
    now, told, board = [0.0], [], cluster._Board()

    class Actor:
        class tell:  # noqa: N801  what an actor of Ray has
            @staticmethod
            def remote(number, share):
                told.append(share)
                board.tell(number, share)

    def work(item, tell):
        for step in range(10):
            now[0] += 0.2
            tell(step / 10)
        return item

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert cluster._do(work, "a", 0, Actor) == "a"
    assert cluster._do(work, "b", 1, None) == "b"
    assert told == [0.2, 0.5, 0.8]
    board.tell(1, 0.5)
    assert board.total() == 0.8 + 0.5
    board.forget(0)
    assert board.total() == 0.5


def succeed_or_die(item, tell):
    """Do what a test's item says."""
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "fail":
        raise ValueError("no such gene")
    return item, Path.cwd().name


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves them its sockets
def test_what_fails_and_who_dies_does_not_keep_the_others_back():
    told = []
    items = ["a", "die", "b", "fail", "c", "d"] * 2
    outcomes = cluster.run_on_cluster(
        succeed_or_die, items, "auto", progress=lambda *now: told.append(now)
    )
    assert [o.result and o.result[0] for o in outcomes] == [
        item if item not in ("die", "fail") else None for item in items
    ]
    assert outcomes[3].error == "no such gene"
    assert "the worker that did it died" in str(outcomes[1].error)
    assert told[-1] == ("files", 12, 12)
    with pytest.warns(UserWarning, match="needs 99 cores, and the largest machine"):
        assert cluster.run_on_cluster(succeed_or_die, [], "auto", threads=99) == []
