"""Matrices in the layouts that transforms take, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array, csr_matrix

LAYOUTS = ("dense", "csr", "csr_matrix", "padded")
DTYPES = ("float32", "float64", "uint8", "int32", "int64", "uint16")


def counts(
    dtypes: tuple[str, ...] = DTYPES, *, most: int = 60
) -> st.SearchStrategy[Any]:
    """Return small matrices of counts, most of them zero, some rows and columns all."""
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
    elements = st.one_of(st.just(0), st.integers(0, most))
    return st.sampled_from(dtypes).flatmap(
        lambda dtype: hnp.arrays(dtype, shapes, elements=elements)
    )


def lay_out(x: Any, layout: str, *, width: int | None = None) -> Any:
    """Return a dense matrix in a layout; padded rows may be wider than they need."""
    if layout == "dense":
        return x
    stored = x.astype(np.float32) if x.dtype == np.float16 else x  # as SciPy holds it
    csr = csr_matrix(stored) if layout == "csr_matrix" else csr_array(stored)
    if layout != "padded":
        return csr
    length = np.diff(csr.indptr).astype(np.int32)
    width = int(length.max(initial=0)) + 2 if width is None else width
    indices = np.zeros((len(x), width), np.int32)
    values = np.zeros((len(x), width), x.dtype)
    for row in range(len(x)):
        part = slice(csr.indptr[row], csr.indptr[row + 1])
        indices[row, : length[row]] = csr.indices[part]
        values[row, : length[row]] = csr.data[part]
    return {"indices": indices, "values": values, "length": length}


def densify(x: Any, n_vars: int) -> Any:
    """Return a matrix of any layout as an array."""
    if not isinstance(x, Mapping):
        return x if isinstance(x, np.ndarray) else x.toarray()
    dense = np.zeros((len(x["length"]), n_vars), x["values"].dtype)
    for row, n in enumerate(x["length"].tolist()):
        dense[row, x["indices"][row, :n]] = x["values"][row, :n]
        assert (x["values"][row, n:] == 0).all()
    return dense


def make_batch(x: Any, first: int = 0) -> dict[str, Any]:
    """Return a batch with this X."""
    n = len(x["length"]) if isinstance(x, Mapping) else x.shape[0]
    return {"X": x, "obs": {}, "index": np.arange(first, first + n)}


def freeze(x: Any) -> Any:
    """Make the memory of X read only, and return X."""
    if isinstance(x, Mapping):
        parts = list(x.values())
    elif isinstance(x, np.ndarray):
        parts = [x]
    else:
        parts = [x.data, x.indices, x.indptr]
    for part in parts:
        part.flags.writeable = False
    return x
