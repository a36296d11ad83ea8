"""Rows of a matrix in memory, which SciPy would read without a check."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.form import Form
from scdataset_core.sources.genes.joins import join_genes
from scdataset_core.sources.matrix_rows import read_matrix
from scdataset_core.sources.read_request import ReadRequest
from scdataset_core.storage import ReadContext

X = np.random.default_rng(0).poisson(0.7, (40, 6)).astype(np.float32)
NAMES = np.array(list("uvwxyz"), object)


def read(
    matrix: Any, rows: Any, *, bounds: Any = None, genes: Any = None, form: Any = None
) -> list[Any]:
    rows = np.asarray(rows, np.int64)
    bounds = np.array([0, len(rows)] if bounds is None else bounds)
    join = None if genes is None else join_genes(["m"], [NAMES], "exact", genes)
    with ReadContext(1) as context:
        request = ReadRequest(
            rows, np.arange(len(rows)), bounds, form or Form("dense"), context
        )
        return read_matrix(
            matrix, request, join, dtype=X.dtype, name_row=lambda row: f"row {row}"
        )


@given(st.lists(st.integers(0, 39), max_size=20).map(sorted), st.integers(0, 20))
def test_sparse_and_dense_matrices_give_the_same_minibatches(rows, cut):
    bounds = [0, min(cut, len(rows)), len(rows)]
    for form in (Form("dense"), Form("csr")):
        for matrix in (X, sp.csr_array(X)):
            for genes in (None, ["z", "u"]):
                batches = read(matrix, rows, bounds=bounds, genes=genes, form=form)
                got = [b.toarray() if sp.issparse(b) else b for b in batches]
                columns = [5, 0] if genes else list(range(6))
                want = X[np.array(rows, int)][:, columns]
                assert [len(b) for b in got] == np.diff(bounds).tolist()
                np.testing.assert_array_equal(np.concatenate(got), want)


def damaged(**changes: Any) -> Any:
    """Return CSR rows with some of their arrays replaced after the constructor."""
    matrix = sp.csr_array(X)
    for name, values in changes.items():
        setattr(matrix, name, values)
    return matrix


def test_pointers_beyond_the_values_are_named_with_their_row():
    indptr = sp.csr_array(X).indptr.copy()
    indptr[8:] += 10_000
    with pytest.raises(ValueError, match=r"row 7 starts at .* pointers \(indptr\)"):
        read(damaged(indptr=indptr), [3, 7, 9])


def test_pointers_that_fall_are_named_with_their_row():
    indptr = sp.csr_array(X).indptr.copy()
    indptr[5] = 0
    with pytest.raises(ValueError, match=r"row 4 starts at .* and ends at 0"):
        read(damaged(indptr=indptr), [4])


@pytest.mark.parametrize("column", [-1, 6])
def test_a_column_that_is_not_there_is_named_with_its_row(column):
    matrix = sp.csr_array(X)
    indices = matrix.indices.copy()
    indices[matrix.indptr[12]] = column
    with pytest.raises(ValueError, match=rf"row 12 has column {column}, .* 6 columns"):
        read(damaged(indices=indices), [2, 12, 30])


def test_rows_that_are_not_wanted_are_not_looked_at():
    matrix = sp.csr_array(X)
    indices = matrix.indices.copy()
    indices[matrix.indptr[12]] = 99
    (batch,) = read(damaged(indices=indices), [2, 30])
    np.testing.assert_array_equal(batch, X[[2, 30]])
