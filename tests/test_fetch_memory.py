"""Memory budgets."""

from itertools import product

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import scdataset_core as scd
from scdataset_core.fetch_memory import (
    RowMemory,
    find_batch_size,
    find_fetch_factor,
    parse_bytes,
)
from scdataset_core.storage import ReadContext
from scdataset_core.storage.reading import read_requests, stacked_reads


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("2GiB", 2 * 2**30),
        ("2 gib", 2 * 2**30),
        ("1.5MB", 1_500_000),
        ("10k", 10_000),
        ("1e9", 10**9),
        ("512B", 512),
        (4096, 4096),
    ],
)
def test_reads_amounts(text, n):
    assert parse_bytes(text) == n


@pytest.mark.parametrize("text", ["", "much", "-1GiB", "0", "1XB", "1iB", "1.2.3MB"])
def test_refuses_what_is_no_amount(text):
    with pytest.raises(ValueError, match="positive number of bytes"):
        parse_bytes(text)


def test_takes_the_largest_factor_that_fits():
    row = RowMemory(1000.0, n_buffers=3)
    assert find_fetch_factor(1_920_000, row, batch_size=64) == 10
    assert find_fetch_factor(1_919_999, row, batch_size=64) == 9
    read = row._replace(reading_bytes=2000.0)
    assert find_fetch_factor(1_920_000, read, batch_size=64) == 6
    with pytest.raises(ValueError, match=r"too little: 3 fetches"):
        find_fetch_factor("100kB", row, batch_size=64)
    with pytest.raises(ValueError, match="bytes, 8,000 besides to read one, take 704,"):
        find_fetch_factor("600kB", row._replace(reading_bytes=8000.0), batch_size=64)


@given(
    memory=st.integers(1, 10**10),
    row_bytes=st.floats(0, 10**6),
    reading_bytes=st.floats(0, 10**6),
)
def test_a_fetch_of_one_minibatch_of_the_size_found_fits(
    memory, row_bytes, reading_bytes
):
    row = RowMemory(row_bytes, 3, reading_bytes)
    size = find_batch_size(memory, row, most=4096)
    assert 1 <= size <= 4096
    if size > 1:
        assert find_fetch_factor(memory, row, batch_size=size) >= 1
    if size < 4096 and row.total >= 1:
        with pytest.raises(ValueError, match="too little"):
            find_fetch_factor(memory, row, batch_size=size + 2)


N_CELLS, N_GENES = 200, 40


class Counting(ReadContext):
    """Counts the bytes that it gives."""

    n_bytes = 0

    def empty(self, n, dtype):
        self.n_bytes += n * np.dtype(dtype).itemsize
        return super().empty(n, dtype)


@pytest.mark.parametrize("types", [("f4", "i4"), ("f8", "i8"), ("i8", "u2")])
def test_a_fetch_takes_no_more_memory_than_is_counted(tmp_path, types, monkeypatch):
    # Buffers of constant size are not counted.
    for module in (read_requests, stacked_reads):
        monkeypatch.setattr(module, "STAGED_BYTES", -1)
    values, columns = types
    path = tmp_path / "a.h5ad"
    x = sp.csr_matrix(np.arange(1, N_CELLS * N_GENES + 1).reshape(N_CELLS, -1) % 1000)
    ad.AnnData(x.astype(values)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X/indices"]
        file["X/indices"] = x.indices.astype(columns)
    source = scd.open(path)
    rows = np.arange(N_CELLS)
    for output, dtype in product(("csr", "dense", "padded"), (None, "f4", "i2")):
        form = source.form_of(output, dtype=dtype)
        context = Counting(1)
        source.read_batches(rows, rows, np.array([0, N_CELLS]), form, context)
        context.close()
        counted = source.row_bytes(form) + source.reading_bytes(form)
        # Dense rows are made of copies of elements, of one minibatch at a time.
        most = 1.6 if output == "dense" else 1.01
        assert context.n_bytes <= most * counted * N_CELLS


def test_a_budget_counts_what_is_stored(tmp_path):
    x = sp.csr_matrix(np.ones((N_CELLS, N_GENES), np.float32))
    for name, dtype in (("small", "f4"), ("large", "f8")):
        ad.AnnData(x.astype(dtype)).write_h5ad(tmp_path / f"{name}.h5ad")
    factors = [
        scd.Loader(
            scd.open(tmp_path / f"{name}.h5ad"), batch_size=4, dtype="f4", memory=10**5
        ).fetch_factor
        for name in ("small", "large")
    ]
    assert factors[0] > factors[1]
