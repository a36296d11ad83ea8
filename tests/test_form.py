"""Forms of X: sparse, dense and padded rows hold the same values."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.form import Form, pack_dense, pack_rows


@st.composite
def sparse_rows(draw, dtypes=("f4", "f8", "f2", "i4", "u2", "i8", "?")):
    n_rows, n_vars = draw(st.integers(0, 6)), draw(st.integers(1, 9))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    dense = np.zeros((n_rows, n_vars), dtype)
    for row in range(n_rows):
        for column in draw(st.lists(st.integers(0, n_vars - 1), unique=True)):
            dense[row, column] = draw(st.integers(0, 100))
    return dense


def parts(dense):
    rows, columns = np.nonzero(dense)
    starts = np.searchsorted(rows, np.arange(len(dense) + 1)).astype(np.int64)
    return dense[rows, columns], columns.astype(np.int32), starts


def unpadded(x, n_vars):
    dense = np.zeros((len(x["length"]), n_vars), x["values"].dtype)
    for row, length in enumerate(x["length"]):
        assert not x["values"][row, length:].any()
        assert not x["indices"][row, length:].any()
        dense[row, x["indices"][row, :length]] = x["values"][row, :length]
    return dense


@given(dense=sparse_rows(), cast=st.sampled_from([None, "f4", "f8", "i4"]))
def test_every_form_holds_the_same_values(dense, cast):
    dtype = None if cast is None else np.dtype(cast)
    wanted = dense if dtype is None else dense.astype(dtype)
    n_vars = dense.shape[1]
    as_dense = pack_rows(*parts(dense), n_vars=n_vars, form=Form("dense", dtype))
    assert as_dense.dtype == wanted.dtype
    assert np.array_equal(as_dense, wanted)
    as_csr = pack_rows(*parts(dense), n_vars=n_vars, form=Form("csr", dtype))
    assert isinstance(as_csr, sp.csr_array)
    assert as_csr.dtype == (np.float32 if wanted.dtype == np.float16 else wanted.dtype)
    assert np.array_equal(as_csr.toarray(), wanted)
    padded = pack_rows(*parts(dense), n_vars=n_vars, form=Form("padded", dtype, n_vars))
    assert padded["values"].dtype == wanted.dtype
    assert padded["indices"].dtype == padded["length"].dtype == np.int32
    assert np.array_equal(unpadded(padded, n_vars), wanted)
    for form in (Form("dense", dtype), Form("csr", dtype)):
        packed = pack_dense(dense, form=form)
        found = packed if form.output == "dense" else packed.toarray()
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_values_of_a_repeated_column_add_up(dtype):
    x = pack_rows(
        np.array([1, 2, 4], dtype),
        np.array([1, 1, 0], np.int32),
        np.array([0, 3]),
        n_vars=2,
        form=Form("dense"),
    )
    assert x.tolist() == [[4, 3]]


def test_largest_values_of_a_long_row_are_kept_in_column_order():
    values = np.array([3, 9, 1, 9, 5], np.float32)
    x = pack_rows(
        values,
        np.arange(5, dtype=np.int32),
        np.array([0, 5]),
        n_vars=5,
        form=Form("padded", None, 3, "largest"),
    )
    assert x["indices"].tolist() == [[1, 3, 4]]
    assert x["values"].tolist() == [[9, 9, 5]]
    assert x["length"].tolist() == [3]


def test_a_row_longer_than_the_width_is_an_error():
    with pytest.raises(ValueError, match=r"5 stored values and width is 3.*largest"):
        pack_rows(
            np.ones(5),
            np.arange(5, dtype=np.int32),
            np.array([0, 5]),
            n_vars=5,
            form=Form("padded", None, 3),
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Form("sparse"), '"csr", "dense", "padded"'),
        (lambda: Form("csr", np.dtype("f2")), "SciPy has no sparse float16"),
        (lambda: Form("dense", np.dtype("U5")), "a type of numbers, got <U5"),
        (lambda: Form("csr", np.dtype(object)), "a type of numbers, got object"),
        (lambda: Form("padded"), "width must be at least 1, got None"),
        (lambda: Form("padded", None, 0), "got 0"),
        (lambda: Form("padded", None, 4, "cut"), "overflow must be"),
    ],
)
def test_refuses_forms_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()
