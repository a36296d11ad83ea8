"""Labels as codes, those that are missing, and the classes that several make."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.labels import code_labels, find_missing, join_classes


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.array([3, 3, -5, 900, -1], np.int16), id="int16"),
        pytest.param(np.array([2**63 + 5, 7, 2**63 + 5], np.uint64), id="uint64"),
        pytest.param(np.array([-128, 127, 0, -1], np.int8), id="int8_range"),
        pytest.param(np.array([-(2**62), 2**62, 0]), id="wide_int64"),
        pytest.param(np.array([True, False, True]), id="bool"),
        pytest.param(np.array([0.5, np.nan, -1.0]), id="float"),
        pytest.param(np.array(["b", "", "a", "b"]), id="text"),
        pytest.param(np.array(["b", None, np.nan, pd.NA, "a"], object), id="objects"),
        pytest.param(pd.Categorical(["x", None, "b"], ["x", "b"]), id="categorical"),
        pytest.param(pd.array([3, None, 1], "Int64"), id="nullable"),
        pytest.param(np.array(["2020-01-02", "NaT"], "M8[D]"), id="dates"),
        pytest.param([None, None], id="all_missing"),
    ],
)
def test_codes_are_those_of_pandas(labels) -> None:
    array = np.asarray(labels)
    present = pd.Series(array[~find_missing(array)])
    expected = np.full(len(array), -1)
    expected[~find_missing(array)], uniques = pd.factorize(present, sort=True)
    codes, found = code_labels(labels, "labels")
    assert codes.dtype == np.int32
    assert codes.tolist() == expected.tolist()
    assert list(pd.Index(found)) == list(uniques)


def test_minus_one_is_a_number_where_labels_are_no_integers() -> None:
    assert code_labels([-1.0, 2.0], "labels").codes.tolist() == [0, 1]
    assert code_labels(np.array([-1, 2]), "labels").codes.tolist() == [-1, 0]


@given(st.data())
def test_classes_are_the_combinations_in_order(data) -> None:
    n = data.draw(st.integers(1, 30))
    sizes = data.draw(st.lists(st.integers(0, 70_000), min_size=1, max_size=4))
    columns = [
        np.array(data.draw(st.lists(st.integers(-1, k - 1), min_size=n, max_size=n)))
        for k in sizes
    ]
    classes = join_classes([column.astype(np.int32) for column in columns], sizes)
    rows = [tuple(row) for row in np.column_stack(columns).tolist()]
    expected = sorted({row for row in rows if min(row) >= 0})
    assert [tuple(part) for part in classes.parts.tolist()] == expected
    codes = [expected.index(row) if min(row) >= 0 else -1 for row in rows]
    assert classes.codes.tolist() == codes


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        pytest.param([], "must be 1-D and not empty", id="none"),
        pytest.param([["a"]], "must be 1-D and not empty", id="2d"),
        pytest.param("drug", r"give source.obs\['drug'\]", id="a_name"),
        pytest.param(
            np.array(["a", 1], object), "all strings, got int and str", id="mixed"
        ),
    ],
)
def test_what_are_no_labels_is_refused(labels, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        code_labels(labels, "labels")
