"""Columns of obs that cannot be carried or joined, and what is said of them."""

from functools import partial

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd
from scdataset_core.sources.obs.columns import MAX_LABELS
from tests.sources.obs.column_files import write


def test_labels_of_different_kinds_are_an_error(tmp_path):
    paths = write(tmp_path, [pd.Categorical([1, 2]), pd.Categorical(["1", "2"])])
    with pytest.raises(ValueError, match=r'"a".*numbers in .*0.h5ad.*text in .*1.h5ad'):
        scd.open(paths, obs=["a"])


def test_ordered_lists_must_agree(tmp_path):
    ordered = partial(pd.Categorical, ordered=True)
    same = [ordered(["low"], ["low", "high"]), ordered(["high"], ["low", "high"])]
    assert scd.open(write(tmp_path, same), obs=["a"]).categories["a"] == ["low", "high"]
    other = [same[0], ordered(["mid"], ["low", "mid", "high"])]
    with pytest.raises(
        ValueError, match=r'"a" is ordered.*0.h5ad.*1.h5ad has \[low, mid'
    ):
        scd.open(write(tmp_path, other), obs=["a"])
    source = scd.open(
        write(tmp_path, other), obs=["a"], categories={"a": ["high", "mid", "low"]}
    )
    assert source.obs["a"].tolist() == [2, 1]


def test_labels_here_and_numbers_there_are_an_error_naming_both(tmp_path):
    paths = write(tmp_path, [np.array([1, 2]), pd.Categorical(["x", "y"])])
    match = r'"a" is labels in .*1\.h5ad and numbers in .*0\.h5ad'
    with pytest.raises(ValueError, match=match):
        scd.open(paths, obs=["a"])
    with pytest.raises(ValueError, match=match):
        scd.open(paths, obs=True)


def test_too_many_strings_are_an_error_naming_the_column(tmp_path, monkeypatch):
    assert MAX_LABELS == 2**20
    monkeypatch.setattr("scdataset_core.sources.obs.columns.MAX_LABELS", 5)
    monkeypatch.setattr("scdataset_core.sources.obs.vocabulary.MAX_LABELS", 5)
    many = [f"s{i}" for i in range(6)]
    with pytest.raises(
        ValueError, match=r'"a" cannot be carried.*more than 5 distinct'
    ):
        scd.open(write(tmp_path, [many]), obs=["a"])
    with pytest.raises(ValueError, match='"a" has 6 distinct labels over 2 files'):
        scd.open(write(tmp_path, [many[:3], many[3:]]), obs=["a"])


def test_a_missing_column_names_file_and_nearest(tmp_path):
    paths = write(tmp_path, [["x"], ["y"]])
    with h5py.File(paths[1], "r+") as file:
        file.move("obs/a", "obs/aa")
        file["obs"].attrs["column-order"] = ["aa"]
    match = r'1\.h5ad: there is no obs column "a"; did you mean "aa"'
    with pytest.raises(scd.MissingNameError, match=match):
        scd.open(paths, obs=["a"])
    with pytest.warns(
        UserWarning, match='leaves out 2 of 2 columns; "a": .*1.h5ad has'
    ):
        assert scd.open(paths, obs=True).obs_columns == ()


def test_a_column_that_cannot_be_carried(tmp_path):
    (path,) = write(tmp_path, [["x", "y"]])
    with h5py.File(path, "r+") as file:
        file.create_dataset("obs/odd", data=np.zeros((2, 3)))
        file["obs"].attrs["column-order"] = ["a", "odd"]
    with pytest.raises(
        ValueError, match=r'"odd" cannot be carried: it is float64 of sh'
    ):
        scd.open(path, obs=["odd"])
    with pytest.warns(
        UserWarning, match='leaves out 1 of 2 columns; "odd": in '
    ) as seen:
        source = scd.open(path, obs=True)
    assert source.obs_columns == ("a",)
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("missing", "obs/a is missing"),
        ("short", r"obs/a has shape \(2,\), and there are 3 cells"),
        ("twice", "categories are not different"),
        ("not_utf8", "is not UTF-8"),
        ("no_codes", "obs/a/codes is missing"),
    ],
)
def test_one_bad_column_does_not_cost_the_others(tmp_path, damage, why):
    (path,) = write(tmp_path, [pd.Categorical(["x", "y", "x"])])
    with h5py.File(path, "r+") as file:
        file["obs/b"] = np.arange(3)
        file["obs"].attrs["column-order"] = ["a", "b"]
        if damage == "twice":
            del file["obs/a/categories"]
            file["obs/a/categories"] = ["x", "x"]
        elif damage == "no_codes":
            del file["obs/a/codes"]
        else:
            del file["obs/a"]
        if damage == "short":
            file["obs/a"] = np.arange(2)
        if damage == "not_utf8":
            file["obs/a"] = np.array([b"x", b"\xff", b"y"])
    with pytest.raises(scd.FileFormatError, match=why):
        scd.open(path, obs=["a"])
    match = rf'leaves out 1 of 2 columns; "a": in .*0\.h5ad .*{why}'
    with pytest.warns(UserWarning, match=match) as seen:
        source = scd.open(path, obs=True)
    assert len(seen) == 1
    assert source.obs["b"].tolist() == [0, 1, 2]


def test_a_column_of_the_wrong_length_is_an_error(tmp_path):
    (path,) = write(tmp_path, [[1, 2, 3]])
    with h5py.File(path, "r+") as file:
        del file["obs/a"]
        file["obs/a"] = np.arange(4)
    with pytest.raises(
        ValueError, match=r"obs/a has shape \(4,\), and there are 3 cells"
    ):
        scd.open(path, obs=["a"])


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "by_range"])
@pytest.mark.parametrize("bad", [2, -2], ids=["too_large", "too_small"])
def test_a_code_without_a_label_is_an_error_naming_the_row(
    bad, kept, tmp_path, monkeypatch
):
    if not kept:
        ranged = "scdataset_core.sources.ranged"
        monkeypatch.setattr(f"{ranged}.row_arrays._GAP_ROWS", 1)
        monkeypatch.setattr(f"{ranged}.row_arrays.KEPT_CODE_BYTES", 0)
        monkeypatch.setattr(f"{ranged}.stored_source.KEPT_BYTES", 0)
    (path,) = write(tmp_path, [pd.Categorical(["x", "y"] * 10)])
    with h5py.File(path, "r+") as file:
        file["obs/a/codes"][13] = bad
    source = scd.open(path, obs=["a"])
    match = rf"obs/a/codes holds the code {bad} in row 13, and there are 2 categories"
    with pytest.raises(scd.CorruptFileError, match=match):
        source.read([2, 13])


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        pytest.param(
            {"obs": ["a"], "categories": {"b": ["x"]}},
            ValueError,
            '"b", which is not a carried obs column',
            id="unknown_column",
        ),
        pytest.param(
            {"obs": ["a"], "categories": {"a": ["x", "x"]}},
            ValueError,
            "must be a list of different labels",
            id="twice",
        ),
        pytest.param(
            {"obs": ["n"], "categories": {"n": [1]}},
            ValueError,
            '"n", which is numbers',
            id="numbers",
        ),
        pytest.param({"obs": ["a", "a"]}, ValueError, "twice", id="column_twice"),
        pytest.param({"obs": [3]}, TypeError, "got 3", id="not_a_name"),
    ],
)
def test_wrong_options_are_refused(options, error, match, tmp_path):
    obs = pd.DataFrame({"a": ["x", "y"], "n": [1, 2]}, index=["0", "1"])
    path = tmp_path / "a.h5ad"
    ad.AnnData(np.ones((2, 2), np.float32), obs=obs).write_h5ad(path)
    with pytest.raises(error, match=match):
        scd.open(path, **options)
