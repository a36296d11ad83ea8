"""TileDB reads experiments of doubtful origin in the child process."""

import pickle

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.storage import isolation

tiledbsoma = pytest.importorskip("tiledbsoma")

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def no_child_is_left():
    """End the child process after these tests."""
    yield
    isolation._child.end()


@pytest.mark.parametrize("x", ["X", "layers/counts", "obsm/X_pca"])
def test_cells_are_the_same_and_are_read_in_the_child(path, monkeypatch, x):
    options = {"obs": True, "obs_names": True, "x": x}
    plain = scd.open(path, **options)
    rows = np.array([0, 3, 3, len(plain) - 1])
    expected = plain.read(rows)

    def read(*arguments, **named):
        raise AssertionError("TileDB reads cells in the user's process")

    for kind in ("DataFrame", "SparseNDArray", "DenseNDArray"):
        monkeypatch.setattr(getattr(tiledbsoma, kind), "read", read)
    alone = scd.open(path, isolated=True, **options)
    for source in (alone, pickle.loads(pickle.dumps(alone))):
        found = source.read(rows)
        assert (found["X"] != expected["X"]).sum() == 0
        assert list(found.names) == list(expected.names)
        for name, values in expected["obs"].items():
            np.testing.assert_array_equal(found["obs"][name], values)
    assert alone.categories == plain.categories
    assert alone.fingerprint == plain.fingerprint
