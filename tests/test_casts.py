"""Types that batches are asked for: values that these cannot hold are errors."""

import warnings

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.form import Form, pack

X = np.array([[3.0, 0, 2.5], [0, -1, 0], [300, 0, 7]])


def batch_of(source, output, dtype, **options):
    loader = scd.Loader(
        source, scd.Streaming(), batch_size=3, output=output, dtype=dtype, **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return next(iter(loader))["X"]


def dense_of(x):
    if not isinstance(x, dict):
        return x.toarray() if sp.issparse(x) else x
    out = np.zeros(X.shape, x["values"].dtype)
    rows = np.arange(len(x["length"]))[:, None].repeat(x["values"].shape[1], axis=1)
    there = np.arange(x["values"].shape[1]) < x["length"][:, None]
    out[rows[there], x["indices"][there]] = x["values"][there]
    return out


@pytest.fixture(params=["csr", "dense"])
def stored_x(request):
    return sp.csr_matrix(X) if request.param == "csr" else X


@pytest.fixture(params=["h5ad", "array"])
def source(request, tmp_path, stored_x):
    if request.param == "array":
        return scd.open(stored_x)
    ad.AnnData(stored_x).write_h5ad(tmp_path / "a.h5ad")
    return scd.open(tmp_path / "a.h5ad")


@pytest.mark.parametrize("output", ["csr", "dense", "padded"])
def test_values_out_of_range_name_value_and_row(source, output):
    where = "row 2 of .*a.h5ad" if source.files else "row 2 of X"
    match = rf"{where} has the value 300.0, and dtype='int8' holds -128 to 127"
    with pytest.raises(ValueError, match=match):
        batch_of(source, output, "int8")
    match = r"row 1 of .* has the value -1.0, and dtype='uint16' holds 0 to 65535"
    with pytest.raises(ValueError, match=match):
        batch_of(source, output, "uint16")


@pytest.mark.parametrize("output", ["csr", "dense", "padded"])
@pytest.mark.parametrize("dtype", ["int16", "int64", "float32", "float16", "bool"])
def test_values_in_range_come_as_numpy_converts_them(source, output, dtype):
    if (output, dtype) == ("csr", "float16"):
        pytest.skip("SciPy has no float16")
    got = dense_of(batch_of(source, output, dtype))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, X.astype(dtype))


@pytest.mark.parametrize("output", ["csr", "dense", "padded"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**40])
def test_what_no_integer_holds_is_an_error(tmp_path, output, value):
    changed = X.copy()
    changed[0, 2] = value
    ad.AnnData(sp.csr_matrix(changed)).write_h5ad(tmp_path / "a.h5ad")
    source = scd.open(tmp_path / "a.h5ad")
    with pytest.raises(ValueError, match=r"row 0 of .*a.h5ad has the value"):
        batch_of(source, output, "int32")
    got = dense_of(batch_of(source, output, "float32"))
    np.testing.assert_array_equal(got, changed.astype("f4"))


@pytest.mark.parametrize("output", ["dense", "padded"])
def test_what_would_become_infinite_is_an_error_and_infinity_is_not(tmp_path, output):
    for value, wrong in ((65_520.0, True), (np.inf, False), (65_519.0, False)):
        source = scd.open(sp.csr_matrix([[1.0, value]]))
        if wrong:
            with pytest.raises(ValueError, match="row 0 of X has the value 65520"):
                batch_of(source, output, "float16")
        else:
            batch_of(source, output, "float16")


def test_values_of_one_column_add_up_before_they_are_made_small():
    twice = sp.csr_matrix(
        (np.array([100, 100], np.int16), np.array([1, 1]), np.array([0, 2])), (1, 3)
    )
    with pytest.raises(ValueError, match="row 0 of X has the value 200"):
        batch_of(scd.open(twice), "dense", "int8")
    assert batch_of(scd.open(twice), "dense", "uint8").tolist() == [[0, 200, 0]]


def test_a_row_of_the_second_file_is_named_by_its_own_number(tmp_path):
    for number, top in enumerate((1, 300)):
        x = sp.csr_matrix(np.array([[1.0], [1.0], [top]]))
        ad.AnnData(x).write_h5ad(tmp_path / f"{number}.h5ad")
    source = scd.open(str(tmp_path / "*.h5ad"))
    loader = scd.Loader(source, scd.BlockShuffling(1), batch_size=2, dtype="int8")
    with pytest.raises(ValueError, match=r"row 2 of .*1\.h5ad has the value 300"):
        list(loader)


@pytest.mark.parametrize("output", ["csr", "dense", "padded"])
@pytest.mark.parametrize(
    ("part", "at", "value", "match"),
    [
        ("indices", 1, 3, "has the column 3"),
        ("indices", 1, -1, "has the column -1"),
        ("indptr", 1, 7, "row pointers"),
        ("indptr", 0, 1, "row pointers"),
        ("indptr", 3, 70, "row pointers"),
    ],
)
def test_what_a_transform_made_is_checked_before_it_is_laid_out(
    output, part, at, value, match
):
    x = sp.csr_matrix(X)
    getattr(x, part)[at] = value
    with pytest.raises(ValueError, match=match):
        pack(x, form=Form(output, width=3 if output == "padded" else None))
