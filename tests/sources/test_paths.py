"""The paths that `open` takes: globs and lists, and relative ones after a `chdir`."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.errors import FileFormatError
from scdataset_core.sources.paths import paths_of
from tests.sources.small_cells import make_parts
from tests.sources.small_h5ad import ids, make

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


class TestPaths:
    @pytest.fixture
    def folder(self, tmp_path):
        for i, name in enumerate(["10", "9", "b"]):
            make(tmp_path / f"{name}.h5ad", start=100 * i, n=2)
        return tmp_path

    def test_a_glob_is_sorted_as_strings(self, folder):
        source = scd.open(str(folder / "*.h5ad"))
        assert [file.rpartition("/")[2] for file in source.files] == [
            "10.h5ad",
            "9.h5ad",
            "b.h5ad",
        ]
        assert ids(source) == [1, 2, 101, 102, 201, 202]
        assert source.file_starts.tolist() == [0, 2, 4, 6]

    def test_a_list_keeps_its_order(self, folder):
        source = scd.open([folder / "b.h5ad", str(folder / "10.h5ad")])
        assert ids(source) == [201, 202, 1, 2]

    def test_globs_in_a_list_are_sorted_where_they_stand(self, folder):
        source = scd.open([folder / "b.h5ad", str(folder / "[19]*.h5ad")])
        assert ids(source) == [201, 202, 1, 2, 101, 102]
        with pytest.raises(FileNotFoundError, match=r"no file matches .*/\*\.h5mu"):
            scd.open([folder / "b.h5ad", str(folder / "*.h5mu")])

    def test_a_file_may_come_twice(self, folder):
        assert ids(scd.open([folder / "9.h5ad"] * 2)) == [101, 102, 101, 102]

    def test_a_name_with_brackets_is_a_file_if_there_is_one(self, folder):
        make(folder / "x[1].h5ad", n=2)
        assert ids(scd.open(folder / "x[1].h5ad")) == [1, 2]
        assert ids(scd.open([folder / "x[1].h5ad"])) == [1, 2]

    def test_nothing_matches(self, folder):
        with pytest.raises(FileNotFoundError, match=r"no file matches .*\*\.h5mu"):
            scd.open(str(folder / "*.h5mu"))

    def test_a_missing_file_names_the_nearest(self, folder):
        with pytest.raises(FileNotFoundError, match=r'bb\.h5ad.*did you mean "b.h5ad"'):
            scd.open([folder / "9.h5ad", folder / "bb.h5ad"])

    def test_only_the_first_argument_is_positional(self, folder):
        with pytest.raises(TypeError, match="positional argument"):
            scd.open(folder / "9.h5ad", ["line"])


def test_a_pipe_is_an_error_and_does_not_wait(tmp_path) -> None:
    os.mkfifo(tmp_path / "x.h5ad")
    for data in (tmp_path / "x.h5ad", str(tmp_path / "*.h5ad"), [tmp_path / "x.h5ad"]):
        with pytest.raises(FileFormatError, match=r"x\.h5ad: a pipe, a socket"):
            paths_of(data)
