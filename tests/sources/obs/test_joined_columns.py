"""Columns of obs over several files: codes, numbers, missing values, vocabularies."""

import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import scdataset_core as scd
from tests.sources.obs.column_files import write


def labels_of(source):
    names = source.categories["a"]
    return [names[code] if code >= 0 else None for code in source.obs["a"]]


def test_identical_lists_keep_their_order(tmp_path):
    a = pd.Categorical(["z", "a", None], ["z", "m", "a"])
    b = pd.Categorical(["m", "a", "z"], ["z", "m", "a"])
    source = scd.open(write(tmp_path, [a, b]), obs=["a"])
    assert source.categories == {"a": ["z", "m", "a"]}
    assert source.obs["a"].tolist() == [0, 2, -1, 1, 2, 0]
    assert source.obs["a"].dtype == np.int32


def test_different_lists_are_sorted_whatever_the_order_of_files(tmp_path):
    a = pd.Categorical(["z", "a"], ["z", "a"])
    b = pd.Categorical(["m", None, "a"], ["m", "a"])
    paths = write(tmp_path, [a, b])
    for order in (paths, paths[::-1]):
        source = scd.open(order, obs=["a"])
        assert source.categories == {"a": ["a", "m", "z"]}
    assert labels_of(scd.open(paths, obs=["a"])) == ["z", "a", "m", None, "a"]


def test_labels_that_are_numbers_are_sorted_as_strings(tmp_path):
    paths = write(tmp_path, [pd.Categorical([10, 9]), pd.Categorical([9, 1])])
    source = scd.open(paths, obs=["a"])
    assert source.categories == {"a": [1, 10, 9]}
    assert [type(label) for label in source.categories["a"]] == [int] * 3
    assert labels_of(source) == [10, 9, 9, 1]


def test_integer_and_fractional_labels_are_one_kind(tmp_path):
    paths = write(tmp_path, [pd.Categorical([1, 2]), pd.Categorical([2.0, 0.5])])
    for order in (paths, paths[::-1]):
        assert scd.open(order, obs=["a"]).categories == {"a": [0.5, 1.0, 2.0]}


def test_a_label_that_is_nan_means_missing(tmp_path):
    paths = write(tmp_path, [pd.Categorical([1.0, 2.0, 3.0])] * 2)
    for path, nan_at in zip(paths, [1, 0], strict=True):
        with h5py.File(path, "r+") as file:
            file["obs/a/categories"][nan_at] = np.nan
    source = scd.open(paths, obs=["a"])
    assert source.categories == {"a": [1.0, 2.0, 3.0]}
    assert labels_of(source) == [1.0, None, 3.0, None, 2.0, 3.0]
    again = scd.open(paths, obs=["a"], categories=source.categories)
    assert again.obs["a"].tolist() == source.obs["a"].tolist()
    (batch,) = scd.Loader(source, output="anndata")
    assert batch.obs["a"].isna().sum() == 2


def test_text_is_labels_sorted(tmp_path):
    paths = write(tmp_path, [["b", "a", "b"], ["é", "a"]])
    source = scd.open(paths, obs=["a"])
    assert source.categories == {"a": ["a", "b", "é"]}
    assert source.obs["a"].tolist() == [1, 0, 1, 2, 0]


def test_text_and_categoricals_share_a_vocabulary(tmp_path):
    paths = write(tmp_path, [["b", "a"], pd.Categorical(["c", "a"])])
    source = scd.open(paths, obs=["a"])
    assert labels_of(source) == ["b", "a", "c", "a"]


def test_text_of_fixed_length_and_bytes(tmp_path):
    (path,) = write(tmp_path, [["b", "a", "b"]])
    with h5py.File(path, "r+") as file:
        del file["obs/a"]
        file["obs/a"] = np.array([b"bb", b"a", "ü".encode()])
    assert labels_of(scd.open(path, obs=["a"])) == ["bb", "a", "ü"]
    with h5py.File(path, "r+") as file:
        del file["obs/a"]
        file["obs/a"] = np.array([b"bb", b"a", b"\xff\xfe"])
    with pytest.raises(ValueError, match="obs/a is not UTF-8"):
        scd.open(path, obs=["a"])


def test_nullable_columns(tmp_path):
    integers = [pd.array([1, None, 3], "Int32"), pd.array([4, 5], "Int32")]
    source = scd.open(write(tmp_path, integers), obs=["a"])
    assert source.obs["a"].dtype == np.float64
    np.testing.assert_array_equal(source.obs["a"], [1, np.nan, 3, 4, 5])
    source = scd.open(write(tmp_path, integers[1:]), obs=["a"])
    assert source.obs["a"].dtype == np.int32
    booleans = [pd.array([True, None], "boolean"), np.array([False, True])]
    source = scd.open(write(tmp_path, booleans), obs=["a"])
    np.testing.assert_array_equal(source.obs["a"], [1, np.nan, 0, 1])
    source = scd.open(write(tmp_path, [pd.array([True, False], "boolean")]), obs=["a"])
    assert source.obs["a"].dtype == np.bool_


def test_nullable_text(tmp_path):
    with ad.settings.override(allow_write_nullable_strings=True):
        paths = write(tmp_path, [pd.array(["b", None, "", "a"], "string")])
    source = scd.open(paths, obs=["a"])
    assert source.categories == {"a": ["", "a", "b"]}
    assert labels_of(source) == ["b", None, "", "a"]


@pytest.mark.parametrize(
    ("dtypes", "want"),
    [
        (["i2", "i4"], "i4"),
        (["?", "?"], "?"),
        (["?", "u1"], "u1"),
        (["u1", "i1"], "i2"),
        (["f4", "i2"], "f4"),
        (["f4"], "f4"),
        ([">f8", "f4"], "f8"),
    ],
)
def test_numbers_come_in_the_type_that_holds_them_all(dtypes, want, tmp_path):
    columns = [np.array([0, 1]).astype(dtype) for dtype in dtypes]
    native = [column.astype(column.dtype.newbyteorder("=")) for column in columns]
    paths = write(tmp_path, native)
    for path, column in zip(paths, columns, strict=True):
        with h5py.File(path, "r+") as file:
            del file["obs/a"]
            file["obs/a"] = column
    source = scd.open(paths, obs=["a"])
    assert source.obs["a"].dtype == np.dtype(want)
    assert source.obs["a"].tolist() == [0, 1] * len(dtypes)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("column", "none"),
    [
        # An empty list becomes a column of numbers.
        pytest.param(["b", "a"], np.array([], np.float64), id="text"),
        pytest.param(
            pd.Categorical(["b", "a"], ["b", "a"], ordered=True),
            pd.Categorical([], [], ordered=True),
            id="ordered",
        ),
    ],
)
def test_a_file_without_cells_agrees_with_any(column, none, first, tmp_path):
    paths = write(tmp_path, [none, column] if first else [column, none])
    source = scd.open(paths, obs=["a"])
    assert labels_of(source) == ["b", "a"]
    assert source.read([0, 1])["obs"]["a"].dtype == np.int32


def test_a_file_without_cells_does_not_shrink_blocks(tmp_path):
    paths = write(tmp_path, [np.arange(500.0), np.array([])])
    assert scd.open(paths).natural_block == scd.open(paths[:1]).natural_block


def test_columns_of_one_name_in_memory():
    obs = pd.DataFrame([[1, 2, 3]] * 2, columns=["a", "a", "b"], index=["x", "y"])
    adata = ad.AnnData(np.ones((2, 2), np.float32), obs=obs)
    with pytest.raises(scd.FileFormatError, match="there are 2 columns of this name"):
        scd.open(adata, obs=["a"])
    with pytest.warns(UserWarning, match='"a": in memory there are 2 columns of this'):
        assert scd.open(adata, obs=True).obs_columns == ("b",)


INDICES = {
    "categorical": pd.CategoricalIndex(["n2", "n0", "n1"]),
    "integers": pd.Index(pd.array([5, 3, 4], dtype="Int64")),
    "booleans_and_missing": pd.Index(pd.array([True, None, False], dtype="boolean")),
}


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("name", INDICES)
def test_names_that_are_not_stored_as_text(tmp_path, name, kind):
    if kind == "zarr":
        pytest.importorskip("zarr")
    adata = ad.AnnData(np.ones((3, 3), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of such names, and of zarr's formats
        adata.obs_names = adata.var_names = INDICES[name]
        getattr(adata, f"write_{kind}")(tmp_path / "a")
    source = scd.open(tmp_path / "a", obs_names=True)
    want = [str(x) for x in INDICES[name]]
    if name == "booleans_and_missing":
        want = ["True", "nan", "False"]
    assert source.var_names.tolist() == want
    batch = next(iter(scd.Loader(source, scd.Streaming(), output="anndata")))
    assert batch.obs_names[0] == want[0]
    assert scd.open(tmp_path / "a", genes=[want[2], want[0]]).shape == (3, 2)


def test_saved_vocabulary_of_the_training_files(tmp_path):
    train = scd.open(write(tmp_path, [["b", "c"], ["d"]]), obs=["a"])
    (tmp_path / "new").mkdir()
    paths = write(tmp_path / "new", [["d", "e", "f"], pd.Categorical(["f", "b"])])
    match = (
        r'^2 labels are not in the saved categories and come as -1: 2 of "a" \(e, f\)'
    )
    with pytest.warns(UserWarning, match=match) as seen:
        source = scd.open(paths, obs=["a"], categories=train.categories)
    assert len(seen) == 1
    assert source.obs["a"].tolist() == [2, -1, -1, -1, 0]
    assert source.categories == train.categories
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scd.open(paths, obs=["a"], categories={"a": list("bcdef")})


def test_large_columns_are_read_by_range(tmp_path, monkeypatch):
    ranged = "scdataset_core.sources.ranged"
    monkeypatch.setattr(f"{ranged}.row_arrays._GAP_ROWS", 2)
    monkeypatch.setattr(f"{ranged}.row_arrays.KEPT_CODE_BYTES", 0)
    monkeypatch.setattr(f"{ranged}.stored_source.KEPT_BYTES", 0)
    rng = np.random.default_rng(0)
    n = 500
    obs = pd.DataFrame(
        {
            "c": pd.Categorical.from_codes(rng.integers(-1, 3, n), list("xyz")),
            "i": pd.array(
                [None if gone else 7 for gone in rng.random(n) < 0.1], "Int64"
            ),
            "f": rng.random(n),
            "t": rng.choice(["u", "v"], n),
        },
        index=[str(i) for i in range(n)],
    )
    adata = ad.AnnData(rng.random((n, 2)), obs=obs)
    path = tmp_path / "a.h5ad"
    adata.write_h5ad(path, compression="gzip", convert_strings_to_categoricals=False)
    source = scd.open(path, obs=True)
    rows = np.sort(rng.integers(0, n, 80))
    got = source.read(rows)["obs"]
    np.testing.assert_array_equal(got["c"], obs["c"].cat.codes.to_numpy()[rows])
    np.testing.assert_array_equal(got["f"], obs["f"].to_numpy()[rows])
    want = obs["i"].to_numpy(float, na_value=np.nan)[rows]
    np.testing.assert_array_equal(got["i"], want)
    assert [source.categories["t"][c] for c in got["t"]] == obs["t"].iloc[rows].tolist()


@pytest.mark.parametrize("n_labels", [0, 1, 127, 128, 255, 256, 257, 70_000])
def test_codes_are_kept_narrow_whatever_type_they_are_stored_in(tmp_path, n_labels):
    codes = np.r_[np.arange(n_labels), -1, -1]
    labels = [f"{i:06d}" for i in range(n_labels)]
    (path,) = write(tmp_path, [pd.Categorical.from_codes(codes, labels)])
    for dtype in ("i4", "i8"):
        with h5py.File(path, "r+") as file:
            attributes = dict(file["obs/a/codes"].attrs)
            del file["obs/a/codes"]
            file["obs/a"].create_dataset("codes", data=codes, dtype=dtype)
            file["obs/a/codes"].attrs.update(attributes)
        source = scd.open(path, obs=["a"])
        assert np.array_equal(source.obs["a"], codes)
        kept = vars(source)["_obs"]._small._kept["a"].whole
        small = 1 if n_labels <= 255 else 2 if n_labels <= 65_535 else 4
        assert kept.dtype.itemsize == small
        assert source.count_missing("a") == 2


def test_a_code_of_a_name_that_is_no_label_is_an_error(tmp_path):
    adata = ad.AnnData(np.ones((3, 2), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of such names
        adata.obs_names = INDICES["categorical"]
        adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file["obs/_index/codes"][1] = 7
    source = scd.open(tmp_path / "a.h5ad", obs_names=True)
    with pytest.raises(scd.CorruptFileError, match="the code 7 in row 1, and there ar"):
        source.read([0, 1])
