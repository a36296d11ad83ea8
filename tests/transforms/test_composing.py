"""Hooks one after another."""

import pickle

import numpy as np
import pytest

from scdataset_core.transforms import (
    compose,
    log1p,
    mask_values,
    normalize_total,
    scale,
    to_dense,
)
from tests.transforms.matrices import lay_out, make_batch


def test_hooks_are_called_in_order():
    x = np.array([[1.0, 3.0], [0.0, 5.0]])
    hook = compose(normalize_total(8), log1p(), lambda x: x + 1)
    np.testing.assert_allclose(hook(x), np.log1p([[2, 6], [0, 8]]) + 1)
    assert compose()(x) is x


def test_composed_hooks_are_one_list():
    inner = compose(normalize_total(), log1p())
    assert compose(inner, to_dense()).hooks == (*inner.hooks, to_dense())
    assert repr(inner) == "compose(normalize_total(target_sum=10000.0), log1p())"
    assert pickle.loads(pickle.dumps(inner)) == inner


def test_the_epoch_reaches_every_hook():
    batch = make_batch(np.ones((3, 50)))
    hook = compose(log1p(), lambda batch: mask_values(0.5)(batch))
    first, second = hook(batch, epoch=1), hook(batch, epoch=2)
    np.testing.assert_array_equal(hook(batch, epoch=1)["X"], first["X"])
    assert (first["X"] != second["X"]).any()


def test_what_cannot_be_called():
    with pytest.raises(TypeError, match=r"compose takes functions of a batch, got 3"):
        compose(3)
    with pytest.raises(
        TypeError, match=r"function log1p itself; call it.*log1p\(\.\.\.\)"
    ):
        compose(log1p)


def test_an_error_names_its_hook():
    hook = compose(log1p(), scale([0], [1]))
    with pytest.raises(ValueError, match="scale: std has 1 genes, and X has 2"):
        hook(lay_out(np.ones((1, 2)), "csr"))
