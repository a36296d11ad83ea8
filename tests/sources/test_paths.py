"""Paths that were relative when a source was opened, after a change of directory."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd
from tests.sources.small_cells import make_parts

N = 37


def write_h5ad(part):
    part.write_h5ad("cells.h5ad")
    return "cells.h5ad"


def table(part):
    pa = pytest.importorskip("pyarrow")
    rows = [part.X[i] for i in range(N)]
    return pa.table(
        {
            "genes": [row.indices.tolist() for row in rows],
            "expressions": [row.data.tolist() for row in rows],
        }
    )


def write_parquet(part):
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(table(part), "cells.parquet")
    return "cells.parquet"


def write_arrow(part):
    feather = pytest.importorskip("pyarrow.feather")
    feather.write_feather(table(part), "cells.arrow", compression="uncompressed")
    return "cells.arrow"


def write_saved(part):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset(table(part)).save_to_disk("saved")
    return "saved"


@pytest.mark.parametrize(
    "write",
    [write_h5ad, write_parquet, write_arrow, write_saved],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize(
    "way", [str, Path, lambda path: [path]], ids=["str", "Path", "list"]
)
def test_a_relative_path_holds_after_a_change_of_directory(
    tmp_path, monkeypatch, write, way
):
    monkeypatch.chdir(tmp_path)
    part = make_parts()[0]
    path = write(part)
    names = None if write is write_h5ad else part.var_names.tolist()
    source = scd.open(way(path), vocabulary=names)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert source.files == (str(tmp_path / path),)
    for one in (source, pickle.loads(pickle.dumps(source))):
        got = one.read(np.arange(N))["X"].toarray()
        np.testing.assert_array_equal(got, part.X.toarray())
