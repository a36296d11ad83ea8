"""Entropy of minibatches, against counting by hand."""

import numpy as np
import pytest

from scdataset_core.metrics import batch_entropies


def test_batch_entropies_of_minibatches_of_several_lengths_and_kinds():
    batches = [np.array(["a", "b", "c", "d"]), np.array(["b"]), np.array(["c", "a"])]
    assert batch_entropies(batches).tolist() == [2, 0, 1]


def test_missing_label_is_a_label():
    assert batch_entropies([np.array([-1, -1, 0, 0])]).tolist() == [1]


def test_batch_entropies_of_more_minibatches_than_are_counted_at_once():
    rng = np.random.default_rng(1)
    batches = rng.integers(3, size=(5000, 6))
    shares = [np.unique(batch, return_counts=True)[1] / 6 for batch in batches]
    by_hand = [-(share * np.log2(share)).sum() for share in shares]
    np.testing.assert_allclose(batch_entropies(batches), by_hand, atol=1e-12)


def test_no_minibatches_have_no_entropies():
    assert batch_entropies([]).shape == (0,)


def test_empty_minibatch_is_an_error():
    with pytest.raises(ValueError, match="minibatch 1 is empty"):
        batch_entropies([np.array([1]), np.array([], int)])
