"""Weights by class: used like the array that they stand for."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core import (
    BlockWeightedSampling,
    ClassBalancedSampling,
    RowSet,
    class_weights,
    labels,
)
from scdataset_core.checks import digest
from scdataset_core.labels import code_labels, count_classes
from scdataset_core.weighted import find_inclusion
from scdataset_core.weights_by_class import WeightsByClass


def draw(strategy, n, epoch=0):
    order = strategy.order(range(n), seed=3, epoch=epoch)
    return order.rows(0, len(order))


def test_they_are_used_like_an_array():
    codes = np.array([2, 0, 0, 1], np.uint8)
    weights = WeightsByClass(codes, np.array([0.5, 0.0, 3.0, 9.0]))
    array = np.asarray(weights)
    assert array.tolist() == [3.0, 0.5, 0.5, 0.0]
    assert weights[1] == 0.5
    assert weights[1:].tolist() == array[1:].tolist()
    assert (len(weights), weights.shape, weights.dtype) == (4, (4,), array.dtype)
    assert weights.max() == 3.0  # of the classes that come
    assert weights.digest() == digest(array)
    again = pickle.loads(pickle.dumps(weights))
    assert np.array_equal(again, array)
    assert not weights.select(np.array([3])).any()
    with pytest.raises(ValueError, match="always new"):
        weights.__array__(copy=False)


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("listed", ["all", "array", "row_set"])
def test_balanced_draws_are_those_of_the_array_of_weights(replace, listed):
    n = 400
    rng = np.random.default_rng(0)
    classes = rng.choice(["b", "a", "d"], n, p=[0.8, 0.15, 0.05])
    rows = np.flatnonzero(rng.random(n) < 0.7)
    given = {"all": None, "array": rows, "row_set": RowSet.of(n, rows)}[listed]
    options = {
        "block_size": 4,
        "indices": given,
        "total_size": 500,
        "replace": replace,
        "sampling_size": None if replace else 50,
    }
    balanced = ClassBalancedSampling(classes, **options)
    weighted = BlockWeightedSampling(weights=class_weights(classes), **options)
    assert np.array_equal(draw(balanced, n), draw(weighted, n))
    states = [s.describe(range(n)) | {"name": ""} for s in (balanced, weighted)]
    assert states[0] == states[1]
    sent = pickle.loads(pickle.dumps(balanced))
    assert np.array_equal(draw(sent, n, epoch=1), draw(balanced, n, epoch=1))
    assert repr(balanced).replace("ClassBalanced", "BlockWeighted") == repr(weighted)


def test_equal_weights_draw_as_ones_do():
    options = {"block_size": 8, "replace": False, "sampling_size": 30}
    plain = BlockWeightedSampling(**options)
    ones = BlockWeightedSampling(weights=np.ones(100), **options)
    assert np.array_equal(draw(plain, 100), draw(ones, 100))


@pytest.mark.parametrize("size", [1, 7, 20, 33, 40])
def test_chances_are_those_of_the_array_of_weights(size):
    codes = np.repeat(np.arange(4), [25, 10, 5, 60]).astype(np.uint8)
    weights = WeightsByClass(codes, np.array([0.1, 1.0, 8.0, 0.0]))
    expected = find_inclusion(np.asarray(weights), size)
    assert np.asarray(find_inclusion(weights, size)) == pytest.approx(expected)


INTEGERS = st.sampled_from([np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64])


@given(st.lists(st.integers(-3, 120), min_size=1, max_size=60), INTEGERS, st.booleans())
def test_classes_are_numbered_and_counted_as_codes_are(values, dtype, by_pieces):
    array = (
        np.array(values).clip(0 if np.dtype(dtype).kind == "u" else -3).astype(dtype)
    )
    with pytest.MonkeyPatch.context() as patch:
        if by_pieces:
            patch.setattr(labels, "_PIECE", 7)
        else:
            patch.setattr(labels, "_SMALL_RANGE", 0)
        codes, counts = count_classes(array, "labels")
    coded = code_labels(array, "labels")
    n_classes = len(coded.labels)
    assert np.array_equal(np.where(codes == n_classes, -1, codes.astype(int)), coded[0])
    assert codes.dtype == np.uint8
    assert np.array_equal(counts, np.bincount(codes, minlength=n_classes)[:n_classes])


@pytest.mark.parametrize(
    "array",
    [
        np.array(["b", "a", "b"]),
        np.array([1.5, np.nan, 0.0]),
        np.array([True, False, True]),
        np.array([None, "x", "y"], object),
        np.array([2**63, 5, 2**63], np.uint64),
    ],
    ids=["text", "floats", "booleans", "objects", "large"],
)
def test_classes_of_any_labels_are_counted(array):
    codes, counts = count_classes(array, "labels")
    coded = code_labels(array, "labels")
    expected = np.where(coded.codes < 0, len(coded.labels), coded.codes)
    assert codes.tolist() == expected.tolist()
    assert counts.sum() == np.count_nonzero(coded.codes >= 0)
