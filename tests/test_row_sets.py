"""RowSet: the operations of sets and of sorted arrays, against NumPy's."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdataset_core import RowSet
from scdataset_core.checks import digest
from scdataset_core.row_sets import WINDOW_ROWS

# Sizes on both sides of the borders of words (64 rows) and of groups of words (512).
SIZES = st.one_of(
    st.integers(0, 200),
    st.sampled_from([511, 512, 513, 1023, 1024, 1025, 5000, WINDOW_ROWS + 70]),
)


@st.composite
def masks(draw, n=None):
    """Return booleans over some number of rows: few, many, none, all, or in runs."""
    n = draw(SIZES) if n is None else n
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from([0.0, 0.001, 0.1, 0.5, 0.97, 1.0]))
    run = draw(st.sampled_from([1, 7, 64, 700]))
    return np.repeat(rng.random(-(-n // run)) < share, run)[:n]


@settings(max_examples=25)
@given(mask=masks())
def test_a_set_is_the_sorted_array_of_its_rows(mask):
    rows, expected = RowSet.of(len(mask), mask), np.flatnonzero(mask)
    assert len(rows) == len(expected)
    assert rows.n_rows == len(mask)
    assert rows.to_numpy().dtype == rows[:].dtype == np.int64
    np.testing.assert_array_equal(rows.to_numpy(), expected)
    np.testing.assert_array_equal(np.asarray(rows), expected)
    np.testing.assert_array_equal(rows[:], expected)
    np.testing.assert_array_equal(rows.mask(0, len(mask)), mask)
    assert rows.digest() == digest(expected)


@settings(max_examples=25)
@given(mask=masks(), data=st.data())
def test_positions_find_rows_as_they_do_in_the_array(mask, data):
    rows, expected = RowSet.of(len(mask), mask), np.flatnonzero(mask)
    k = len(expected)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    some = rng.integers(-k, k, 50) if k else np.empty(0, np.int64)
    np.testing.assert_array_equal(rows[some], expected[some])
    np.testing.assert_array_equal(rows[some.tolist()], expected[some])
    np.testing.assert_array_equal(rows[some.reshape(-1, 2)].shape, (len(some) // 2, 2))
    chosen = rng.random(k) < 0.5
    np.testing.assert_array_equal(rows[chosen], expected[chosen])
    cut = slice(
        data.draw(st.integers(-k - 2, k + 2)), None, data.draw(st.integers(1, 3))
    )
    np.testing.assert_array_equal(rows[cut], expected[cut])
    if k:
        assert rows[k - 1] == rows[-1] == expected[-1]
        assert isinstance(rows[0], np.int64)


@given(mask=masks(), data=st.data())
def test_rows_below_are_counted(mask, data):
    n = len(mask)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    places = np.append(rng.integers(0, n + 1, 40), [0, n])
    np.testing.assert_array_equal(
        RowSet.of(n, mask).count_below(places),
        np.searchsorted(np.flatnonzero(mask), places),
    )


@settings(max_examples=25)
@given(data=st.data(), n=SIZES)
def test_operations_are_those_of_masks(data, n):
    first, second = data.draw(masks(n)), data.draw(masks(n))
    a, b = RowSet.of(n, first), RowSet.of(n, second)
    for found, expected in [
        (a & b, first & second),
        (a | b, first | second),
        (a - b, first & ~second),
        (~a, ~first),
    ]:
        assert found == RowSet.of(n, expected)
        assert len(found) == np.count_nonzero(expected)
        np.testing.assert_array_equal(found.to_numpy(), np.flatnonzero(expected))
    assert (a == b) == np.array_equal(first, second)
    assert (a != b) == (not np.array_equal(first, second))
    assert a - a == RowSet.of(n, [])
    assert ~~a == a


@given(n=st.integers(1, 300), data=st.data())
def test_rows_may_come_in_any_order_and_more_than_once(n, data):
    given_rows = data.draw(st.lists(st.integers(0, n - 1), max_size=50))
    rows = RowSet.of(n, given_rows)
    assert list(rows) == sorted(set(given_rows))
    assert RowSet.of(n, set(given_rows)) == rows
    assert all((row in rows) == (row in given_rows) for row in range(-2, n + 2))
    for dtype in (np.uint8, np.int16, np.uint64):
        if n < 128 or dtype is not np.uint8:
            assert RowSet.of(n, np.array(given_rows, dtype)) == rows


def test_only_integers_are_in_a_set():
    rows = RowSet.of(10, [0, 1, 3])
    assert 3 in rows
    assert np.int64(3) in rows
    assert 2**70 not in rows
    for other in (True, 3.0, "3", None, [3]):
        assert other not in rows


@pytest.mark.parametrize("dtype", ["u1", "i1", "u8"])
def test_the_number_of_rows_may_be_an_integer_of_numpy(dtype):
    rows = RowSet.of(np.dtype(dtype).type(100), [3, 70])
    assert rows == RowSet.of(100, [3, 70])
    assert len(~rows) == 98


def test_sets_are_equal_by_value_and_hash_so():
    rows = RowSet.of(100, [3, 70])
    assert rows == RowSet.of(100, [70, 3])
    assert rows != RowSet.of(101, [3, 70])
    assert rows != np.array([3, 70])
    assert rows != [3, 70]
    assert len({rows, RowSet.of(100, [70, 3]), RowSet.of(100, [3])}) == 2
    assert RowSet.of(100, rows) is rows


@pytest.mark.parametrize("n", [0, 1, 64, 65, 1000, 10**6])
def test_pickles_and_copies_are_equal(n):
    rows = RowSet.of(n, np.arange(n) % 3 == 1)
    for again in (pickle.loads(pickle.dumps(rows)), copy.deepcopy(rows)):
        assert again == rows
        np.testing.assert_array_equal(again[:], rows[:])
        with pytest.raises(ValueError, match="read-only"):
            again.words[:1] = 1


def test_memory_is_a_bit_a_row_and_a_quarter_of_one_for_finding():
    for n in (1000, 10_000, 10**7):
        rows = RowSet.of(n, np.arange(n) % 7 == 0)
        assert rows.nbytes <= n / 8 + n / 32
        assert len(pickle.dumps(rows)) <= n / 8 + 100


def test_repr_shows_how_many_and_which():
    assert repr(RowSet.of(10, [])) == "RowSet(0 of 10 rows)"
    assert repr(RowSet.of(5000, [1, 4000])) == "RowSet(2 of 5,000 rows: 1, 4,000)"
    shown = "RowSet(2,500 of 5,000 rows: 0, 2, 4, ..., 4,998)"
    assert repr(RowSet.of(5000, np.arange(5000) % 2 == 0)) == shown


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([3, 10], "must lie in .0, 10., got 10 at position 1", id="large"),
        pytest.param([-1], "must lie in .0, 10., got -1", id="negative"),
        pytest.param(np.array([2**63], np.uint64), "must lie in", id="huge"),
        pytest.param([1.0], "1-D array of integers.*float64", id="float"),
        pytest.param(["a"], "1-D array of integers", id="text"),
        pytest.param([[1, 2]], "shape .1, 2.", id="2d"),
        pytest.param(3, r"shape \(\)", id="scalar"),
        pytest.param(None, "1-D array", id="none"),
        pytest.param([True] * 9, "one entry for each of the 10 rows, got 9", id="mask"),
        pytest.param([True, None], r"to_numpy\(bool\)", id="missing_in_mask"),
    ],
)
def test_what_are_no_rows_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        RowSet.of(10, rows)


def test_sets_of_other_sources_do_not_mix():
    rows = RowSet.of(10, [1])
    for operate in (rows.__and__, rows.__or__, rows.__sub__):
        with pytest.raises(ValueError, match="over 10 and 11 rows"):
            operate(RowSet.of(11, [1]))
    with pytest.raises(ValueError, match="over 10 rows, and there are 12"):
        RowSet.of(12, rows)
    for other in (np.array([1]), np.ones(10, bool), [1], {1}, None):
        with pytest.raises(TypeError, match=r"two RowSets.*RowSet\.of"):
            rows & other
        with pytest.raises(TypeError, match="two RowSets"):
            other | rows
        with pytest.raises(TypeError, match="two RowSets"):
            other - rows


@pytest.mark.parametrize("position", [3, -4, [0, 3], 1.0, "a", (0, 1), [True]])
def test_positions_that_are_not_there_are_refused(position):
    with pytest.raises(IndexError, match="position"):
        RowSet.of(10, [1, 2, 3])[position]


def test_damaged_words_are_refused():
    with pytest.raises(ValueError, match="after the last of 10 rows"):
        RowSet(10, np.array([1 << 10], np.uint64))
    with pytest.raises(
        TypeError, match=r"RowSet\.of\(n_rows, rows_or_mask\) makes one"
    ):
        RowSet(10, [1, 2])
    with pytest.raises(ValueError, match="take 1 words"):
        RowSet(10, np.zeros(2, np.uint64))
