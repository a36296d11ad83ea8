"""`bench` times grids, threads, caches and other libraries on the user's files."""

import json
from typing import Any

import pytest

import scdataset_core as scd
from scdataset_core.tools import bench, rivals

ad = pytest.importorskip("anndata")

QUICK = {"batch_size": 16, "seconds": 0.2}


@pytest.fixture(scope="module")
def packed(plates, tmp_path_factory):
    """Return a compressed copy of a plate."""
    path = tmp_path_factory.mktemp("packed") / "cells.h5ad"
    ad.read_h5ad(plates / "plate1.h5ad").write_h5ad(path, compression="gzip")
    return path


def test_the_grid_has_every_setting_with_speed_memory_and_entropy(plates):
    told = []
    report = bench(
        plates / "*.h5ad",
        label="plate",
        block_sizes=[1, 16],
        fetch_factors=[1, 4],
        progress=lambda *now: told.append(now),
        **QUICK,
    )
    json.dumps(report)
    settings = [(one["block_size"], one["fetch_factor"]) for one in report["grid"]]
    assert settings == [(1, 1), (1, 4), (16, 1), (16, 4)]
    for one in report["grid"]:
        assert one["cells_per_s"] == max(one["turns"]) > 0
        assert len(one["turns"]) in (1, 2)
        assert one["measured_entropy"] == pytest.approx(
            one["predicted_entropy"], abs=0.1
        )
    assert report["best"] in report["grid"]
    assert report["best"]["predicted_entropy"] >= 0.98
    assert report["threads"][0]["threads"] == 1
    assert report["entropy"]["random"] == pytest.approx(1.5, abs=0.05)
    assert (report["cache"], report["against"]) == (None, [])
    assert report["data"]["cells"] == 1200
    assert {stage for stage, _, _ in told} == {"bench"}
    assert all(done <= total for _, done, total in told)
    namespace: dict[str, Any] = {"scd": scd, "source": scd.open(plates / "*.h5ad")}
    exec(report["line"], namespace)
    assert namespace["loader"].fetch_factor == report["best"]["fetch_factor"]


def test_what_takes_too_much_memory_is_not_timed(plates):
    grid = {"block_sizes": [1], "fetch_factors": [1, 4]}
    all_of_it = bench(plates / "*.h5ad", **grid, **QUICK)
    small, large = all_of_it["grid"]
    report = bench(plates / "*.h5ad", memory=large["memory"] - 1, **grid, **QUICK)
    assert report["grid"][0]["cells_per_s"] > 0
    assert report["grid"][1]["cells_per_s"] is None
    with pytest.raises(ValueError, match="smallest fetches take"):
        bench(plates / "*.h5ad", memory=small["memory"] - 1, **grid, **QUICK)
    with pytest.raises(ValueError, match="seconds must be above 0"):
        bench(plates / "*.h5ad", seconds=0)


def test_without_a_label_the_best_has_large_enough_fetches(plates):
    grid = {"block_sizes": [1, 16], "fetch_factors": [1, 4]}
    report = bench(plates / "*.h5ad", **grid, **QUICK)
    assert report["best"]["block_size"] == 1
    assert report["entropy"] is None
    assert report["grid"][0]["measured_entropy"] is None


def test_a_cache_is_filled_and_timed(packed, tmp_path):
    grid = {"block_sizes": [1, 16], "fetch_factors": [1]}
    report = bench(packed, cache=tmp_path / "cache", **grid, **QUICK)
    cache = report["cache"]
    assert cache["share"] == 1.0
    assert cache["bytes"] > 0
    assert [one["block_size"] for one in cache["grid"]] == [1, 16]
    assert all(one["cells_per_s"] > 0 for one in cache["grid"])
    assert report["needs_cache"]


def test_an_unknown_library_is_an_error_before_anything_is_timed(plates):
    with pytest.raises(ValueError, match='did you mean "annbatch"'):
        bench(plates / "*.h5ad", against=["annbtch"])


def test_a_library_that_is_not_installed_is_named_and_the_rest_goes_on(
    plates, monkeypatch
):
    monkeypatch.setitem(
        rivals.RIVALS,
        "annbatch",
        rivals.RIVALS["annbatch"]._replace(packages=("no_such_package",)),
    )
    report = bench(plates / "*.h5ad", against="annbatch", quick=True, **QUICK)
    (annbatch,) = report["against"]
    assert annbatch["error"].startswith("is not installed; install it with `pip")
    assert annbatch["settings"] == []
    assert report["best"]["cells_per_s"] > 0


def test_a_library_that_fails_is_named_and_the_rest_goes_on(plates, monkeypatch):
    def fail(*_):
        raise RuntimeError("no luck\nat all")

    broken = rivals.RIVALS["scdataset"]._replace(packages=("numpy",), open=fail)
    monkeypatch.setitem(rivals.RIVALS, "scdataset", broken)
    report = bench(plates / "*.h5ad", against="scdataset", quick=True, **QUICK)
    assert report["against"][0]["error"] == "failed: RuntimeError: no luck"


def test_libraries_are_compared_on_x_of_h5ad_alone(plates, tmp_path, monkeypatch):
    here = rivals.RIVALS["scdataset"]._replace(packages=("numpy",))
    monkeypatch.setitem(rivals.RIVALS, "scdataset", here)
    options = {"against": ["scdataset"], "quick": True, **QUICK}
    report = bench(plates / "plate1.h5ad", x="layers/counts", **options)
    assert "X of files alone" in report["against"][0]["error"]
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"X": pa.array([[1.0, 2.0]] * 300, pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "cells.parquet")
    report = bench(tmp_path / "cells.parquet", **options)
    assert ".h5ad files alone" in report["against"][0]["error"]


def test_a_converted_copy_is_timed_apart_and_removed(plates, tmp_path, monkeypatch):
    made = []

    def convert(paths, folder, stack):
        made.append(folder)
        return paths[0]

    def give(paths, block_size, fetch_factor, batch_size):
        return lambda: (size for size in [batch_size] * fetch_factor)

    fake = rivals.RIVALS["annbatch"]._replace(packages=("numpy",), open=give)
    monkeypatch.setitem(rivals.RIVALS, "annbatch", fake)
    monkeypatch.setattr(
        "scdataset_core.tools.rival_timing.convert_for_annbatch", convert
    )
    report = bench(
        plates / "*.h5ad",
        against="annbatch",
        converted=str(tmp_path / "copy"),
        quick=True,
        **QUICK,
    )
    (annbatch,) = report["against"]
    assert made == [str(tmp_path / "copy")]
    assert annbatch["error"] is None
    assert annbatch["convert_s"] >= 0
    assert {one["block_size"] for one in annbatch["settings"]} >= {1, 16}
    for one in annbatch["settings"]:
        assert one["times"] == pytest.approx(one["ours"] / one["cells_per_s"])


@pytest.mark.slow
@pytest.mark.parametrize("library", rivals.RIVALS)
def test_other_libraries_are_timed_where_they_are_installed(library, plates):
    if missing := rivals.RIVALS[library].missing():
        pytest.skip(f"{missing} not installed")
    report = bench(plates / "*.h5ad", against=[library], quick=True, seconds=0.5)
    (found,) = report["against"]
    assert found["error"] is None
    assert found["version"]
    settings = {(one["block_size"], one["fetch_factor"]) for one in found["settings"]}
    assert (1, 1) in settings
    assert (settings == {(1, 1)}) == rivals.RIVALS[library].random_only
    assert all(one["cells_per_s"] > 0 for one in found["settings"])
