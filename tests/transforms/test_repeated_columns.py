"""A column that a row names twice has the sum of its values, in every layout."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from scdataset_core import transforms as tf
from tests.transforms.matrices import freeze, make_batch

N_GENES = 20


def make_rows(kind, dtype):
    """Return the same rows dense, as CSR and padded; some repeat columns."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, N_GENES, 12) * (np.arange(12) % 5 > 0)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    chosen = [rng.choice(N_GENES, n, replace=kind != "unsorted") for n in lengths]
    if kind == "sorted":
        chosen = [np.sort(columns) for columns in chosen]
    columns = np.concatenate(chosen).astype(np.int32)
    values = rng.integers(1, 9, len(columns)).astype(dtype)
    x = csr_array((values, columns, starts), shape=(12, N_GENES))
    stored = np.arange(N_GENES + 2) < lengths[:, None]
    indices = np.zeros(stored.shape, np.int32)
    padded = np.zeros(stored.shape, dtype)
    indices[stored], padded[stored] = columns, values
    length = lengths.astype(np.int32)
    return (
        x.toarray(),
        x,
        {"indices": indices, "values": padded, "length": length},
    )


HOOKS = {
    "normalize_total": tf.normalize_total(),
    "log1p": tf.log1p(),
    "scale": tf.scale(None, np.linspace(0, 1, N_GENES), 2.0),
    "clip": tf.clip(0, 3),
    "bin_values": tf.bin_values(7),
    "both_sides": tf.bin_values(7, side="both"),
    "mask_values": tf.mask_values(0.4),
    "top": tf.choose_genes(6),
    "random": tf.choose_genes(6, "random"),
}


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("kind", ["sorted", "shuffled", "unsorted"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_layouts_agree(name, kind, dtype):
    to_dense = tf.to_dense(n_vars=N_GENES)
    found = [
        to_dense(HOOKS[name](make_batch(freeze(x))))["X"]
        for x in make_rows(kind, dtype)
    ]
    assert (found[0] != 0).any()
    for other in found[1:]:
        assert other.dtype == found[0].dtype
        np.testing.assert_allclose(other, found[0], rtol=1e-6)


@pytest.mark.parametrize("name", ["log1p", "clip", "bin_values", "mask_values"])
@pytest.mark.parametrize("place", [1, 2])
def test_columns_that_do_not_repeat_are_shared(name, place):
    x = make_rows("unsorted", "float32")[place]
    out = HOOKS[name](make_batch(freeze(x)))["X"]
    ours, theirs = (
        (x["indices"], out["indices"]) if place == 2 else (x.indices, out.indices)
    )
    assert np.shares_memory(ours, theirs)
