"""Codes and the labels they stand for."""

import numpy as np
import pytest

from scdataset_core.sources.obs.vocabulary import decode

LABELS = ["a", "b", "c"]


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param([2, -1, 0, 1], id="list"),
        pytest.param(np.array([2, -1, 0, 1], np.int8), id="int8"),
        pytest.param(np.array([[2, -1], [0, 1]], ">i8"), id="two_axes"),
        pytest.param(np.array([2, 0, 1], np.uint64), id="unsigned"),
        pytest.param(np.int32(-1), id="scalar"),
        pytest.param(1, id="python_integer"),
        pytest.param([], id="none"),
        pytest.param(np.empty((0, 3), np.int32), id="no_rows"),
    ],
)
def test_labels_have_the_shape_of_the_codes(codes):
    got = decode(codes, LABELS, column="drug")
    array = np.asarray(codes)
    assert got.dtype == object
    assert got.shape == array.shape
    want = [None if code < 0 else LABELS[code] for code in array.ravel()]
    assert got.ravel().tolist() == want


def test_labels_that_are_numbers_stay_so():
    assert decode([1, -1, 0], [2.5, 7], column="dose").tolist() == [7, None, 2.5]
    assert decode([-1], [], column="empty").tolist() == [None]


@pytest.mark.parametrize("code", [3, -2, 2**40, np.uint64(2**64 - 1)])
def test_a_code_without_a_label_is_an_error(code):
    match = rf'no code {code} in obs column "drug": .* 3 '
    kind = np.uint64 if code > 2**63 else np.int64
    with pytest.raises(IndexError, match=match):
        decode(np.array([0, code], kind), LABELS, column="drug")


@pytest.mark.parametrize("codes", [[0.0], [True], ["a"], [None]])
def test_codes_are_integers(codes):
    with pytest.raises(TypeError, match='codes of "drug" must be integers, got'):
        decode(codes, LABELS, column="drug")
