"""JAX's side: fixed shapes, dense and sparse forms, and arrays on devices."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from tests.integrations.grain_loaders import N_GENES, plate_loader

jax = pytest.importorskip("jax")
pytest.importorskip("scdataset_grain")

import jax.numpy as jnp  # noqa: E402
from scdataset_grain import (  # noqa: E402
    densify,
    to_sparse,
)


def test_padded_batches_compile_once_over_an_epoch(plates: Path) -> None:
    traced = 0

    @jax.jit
    def total(batch: Any) -> Any:
        nonlocal traced
        traced += 1
        return densify(batch["X"], N_GENES).sum(), (batch["index"] >= 0).sum()

    loader = plate_loader(plates, output="padded")
    sums, n_cells = zip(*(total(batch) for batch in loader), strict=True)
    assert len(sums) == 10  # the last one has 48 cells, and 80 filled rows
    assert traced == 1
    assert total._cache_size() == 1
    assert sum(map(int, n_cells)) == 1200
    expected = sum(batch["X"].sum() for batch in plate_loader(plates))
    assert float(sum(sums)) == pytest.approx(float(expected))


def test_densify_is_the_dense_output(plates: Path) -> None:
    padded = plate_loader(plates, output="padded", drop_last=True)
    dense = plate_loader(plates, output="dense", drop_last=True)
    make = jax.jit(densify, static_argnums=1)
    for one, other in zip(padded, dense, strict=True):
        np.testing.assert_array_equal(make(one["X"], N_GENES), other["X"])


def test_densify_keeps_half_precision(plates: Path) -> None:
    batch = next(iter(plate_loader(plates, output="padded", dtype="float16")))
    assert densify(batch["X"], N_GENES).dtype == jnp.float16


def test_densify_takes_no_notice_of_what_stands_beyond_the_length() -> None:
    x = {
        "indices": np.zeros((2, 3), np.int32),
        "values": np.full((2, 3), np.nan, np.float32),
        "length": np.zeros(2, np.int32),
    }
    np.testing.assert_array_equal(densify(x, 4), np.zeros((2, 4)))


@pytest.mark.parametrize("convert", [densify, to_sparse])
def test_too_few_columns_are_an_error(plates: Path, convert: Any) -> None:
    batch = next(iter(plate_loader(plates, output="padded")))
    with pytest.raises(ValueError, match=r"n_vars is 7, and .* give source\.shape"):
        convert(batch["X"], 7)


@pytest.mark.parametrize("x", [np.ones((2, 3)), {"indices": np.ones(2)}])
def test_densify_of_another_form_is_an_error(x: Any) -> None:
    with pytest.raises(TypeError, match=r'densify takes padded.*output="padded"'):
        densify(x, 3)


@pytest.mark.parametrize(
    ("layout", "nse"),
    [
        ("bcoo", None),
        ("bcoo", (100, 4500, 9000)),
        ("bcsr", None),
        ("bcsr", 5000),
    ],
)
def test_sparse_of_csr(plates: Path, layout: Any, nse: Any) -> None:
    x = next(iter(plate_loader(plates)))["X"]
    made = to_sparse(x, N_GENES, layout=layout, nse=nse)
    assert made.nse == (x.nnz if nse is None else 5000 if nse == 5000 else 4500)
    assert made.shape == x.shape
    np.testing.assert_array_equal(made.todense(), x.toarray())
    weights = np.arange(N_GENES * 2, dtype=np.float32).reshape(N_GENES, 2)
    product = jax.jit(lambda matrix: matrix @ weights)(made)
    np.testing.assert_allclose(product, x @ weights, rtol=1e-5)


@pytest.mark.parametrize("layout", ["bcoo", "bcsr"])
def test_sparse_of_padded_inside_jit(plates: Path, layout: Any) -> None:
    batch = next(iter(plate_loader(plates, output="padded")))
    dense = next(iter(plate_loader(plates, output="dense")))["X"]

    @jax.jit
    def make(x: Any) -> Any:
        return to_sparse(x, N_GENES, layout=layout)

    np.testing.assert_array_equal(make(batch["X"]).todense(), dense)


def test_buckets_bound_the_compilations(plates: Path) -> None:
    loader = plate_loader(plates, drop_last=True)
    stored = [batch["X"].nnz for batch in loader]
    loader.set_epoch(0)
    assert len(set(stored)) > 2
    buckets = [int(np.median(stored)), max(stored)]

    @jax.jit
    def total(matrix: Any) -> Any:
        return matrix.data.sum()

    for batch in loader:
        total(to_sparse(batch["X"], N_GENES, nse=buckets))
    assert total._cache_size() == 2


def test_sparse_that_does_not_fit_is_an_error() -> None:
    x = sp.csr_array(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="6 stored elements and nse is at most 5"):
        to_sparse(x, 3, nse=[2, 5])
    with pytest.raises(ValueError, match="n_vars is 2, and the batch has 3 columns"):
        to_sparse(x, 2)


def test_sparse_of_another_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="takes CSR or padded rows, got ndarray"):
        to_sparse(np.ones((2, 3)), 3)
    with pytest.raises(ValueError, match='layout must be "bcoo" or "bcsr", got "csc"'):
        to_sparse(sp.csr_array((2, 3)), 3, layout="csc")
    padded = {"indices": np.ones(2), "values": np.ones(2), "length": np.ones(2)}
    with pytest.raises(ValueError, match="nse goes with CSR"):
        to_sparse(padded, 3, nse=4)
