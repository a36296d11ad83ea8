"""Formats of files that are registered from outside of the package."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.sources import formats
from scdataset_core.sources.formats import Format, register
from scdataset_core.sources.options import OpenOptions


def is_npy(path: str) -> bool:
    return path.endswith(".npy")


def open_npy(paths: Sequence[str], options: OpenOptions) -> scd.Source:
    arrays = [np.load(path, mmap_mode="r") for path in paths]
    return scd.concat([scd.open(array, genes=options.genes) for array in arrays])


NPY_FILES = Format("an .npy file", is_npy, open_npy, endings=("npy",))


@pytest.fixture(autouse=True)
def restore_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FILE_FORMATS", [*formats.FILE_FORMATS])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", np.arange(6.0).reshape(3, 2) + number)
    return tmp_path


def test_a_registered_format_opens_its_files(folder):
    register(NPY_FILES)
    source = scd.open(f"{folder}/*.npy")
    x = source.read(np.arange(6))["X"]
    first = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(x, np.concatenate([first, first + 1]))


def test_options_reach_a_registered_format(folder):
    register(NPY_FILES)
    source = scd.open(folder / "0.npy", genes=[1])
    np.testing.assert_array_equal(source.read([0, 2])["X"], [[1.0], [5.0]])


def test_a_registered_format_comes_before_those_of_the_package(plates):
    def open_one(paths: Sequence[str], options: OpenOptions) -> scd.Source:
        return scd.open(np.zeros((1, 1)))

    register(Format("a plate", lambda path: path.endswith(".h5ad"), open_one))
    assert scd.open(plates / "plate1.h5ad").shape == (1, 1)


def test_a_format_registered_again_replaces_the_first(folder):
    n_formats = len(formats.FILE_FORMATS)
    register(NPY_FILES)
    register(Format("an .npy file", is_npy, lambda paths, options: open_npy([], None)))
    register(NPY_FILES)
    assert len(formats.FILE_FORMATS) == n_formats + 1
    assert scd.open(folder / "0.npy").shape == (3, 2)


def test_files_of_two_formats_are_refused_with_the_registered_name(folder, plates):
    register(NPY_FILES)
    with pytest.raises(scd.FileFormatError, match=r"0\.npy is an \.npy file and .*h5a"):
        scd.open([folder / "0.npy", plates / "plate1.h5ad"])


def test_a_folder_of_registered_files_is_told_by_its_endings(folder):
    with pytest.raises(scd.FileFormatError, match="not a folder of a format"):
        scd.open(folder)
    register(NPY_FILES)
    with pytest.raises(scd.FileFormatError, match=r"a folder of \*\.npy"):
        scd.open(folder)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        pytest.param({"columns": "X"}, "columns goes with tables", id="columns"),
        pytest.param({"vocabulary": ["A"]}, "vocabulary goes with", id="vocabulary"),
        pytest.param({"x": "ms/RNA/X"}, "goes with TileDB-SOMA", id="ms"),
    ],
)
def test_options_of_other_formats_are_refused_unless_declared(folder, option, match):
    register(NPY_FILES)
    with pytest.raises(ValueError, match=match):
        scd.open(folder / "0.npy", **option)
    own = frozenset({"vocabulary", "columns", "ms"})
    register(Format("an .npy file", is_npy, open_npy, own_options=own))
    assert scd.open(folder / "0.npy", **option).shape == (3, 2)


def test_other_things_than_formats_cannot_be_registered():
    with pytest.raises(TypeError, match=r"takes a scdataset_core\.sources\.formats"):
        register(open_npy)
