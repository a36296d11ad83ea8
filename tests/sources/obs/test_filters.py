"""`source.where`: rows by label, range, missing value and mask, as in pandas."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scdataset_core as scd

N = 200
NAN = float("nan")


def make_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    line = pd.Series(rng.choice(["A549", "HCT15", "MCF7"], N), dtype=object)
    line[rng.random(N) < 0.2] = None
    score = rng.normal(size=N).astype(np.float32)
    score[rng.random(N) < 0.1] = np.nan
    dose = pd.Categorical(rng.choice([0.1, 1.0, 10.0], N))
    level = pd.Categorical(
        rng.choice(["low", "mid", "high"], N), ["low", "mid", "high"], ordered=True
    )
    return pd.DataFrame(
        {
            "line": pd.Categorical(line),
            "score": score,
            "count": rng.integers(0, 200, N).astype(np.uint8),
            "passed": rng.random(N) < 0.5,
            "dose": dose,
            "level": level,
            "age": pd.array([None if x < 0.3 else 40 for x in rng.random(N)], "Int64"),
            "my column": pd.Categorical(np.where(np.arange(N) < 7, "x", "y")),
            "self": np.arange(N) % 2,
            "rows": np.arange(N) % 3,
        },
        index=[f"cell{i}" for i in range(N)],
    )


FRAME = make_frame()
ADATA = ad.AnnData(np.eye(N, 3, dtype=np.float32), obs=FRAME)
SOURCE = scd.open(ADATA)

LINES = st.sampled_from(["A549", "HCT15", "MCF7", None])
NUMBERS = st.one_of(st.none(), st.integers(-5, 300), st.floats(-3, 300))


def check(rows: scd.RowSet, mask: object) -> None:
    assert isinstance(rows, scd.RowSet)
    assert rows.n_rows == N
    expected = np.flatnonzero(np.asarray(mask, bool))
    np.testing.assert_array_equal(rows.to_numpy(), expected)


@given(labels=st.lists(LINES, max_size=4))
def test_labels_are_those_of_the_list(labels):
    column = FRAME["line"].astype(object)
    mask = column.isin([x for x in labels if x is not None])
    if None in labels:
        mask |= column.isna()
    for given_as in (list, set, lambda x: np.array(x, object), lambda x: iter(x)):
        check(SOURCE.where(line=given_as(labels)), mask)
    if len(labels) == 1:
        check(SOURCE.where(line=labels[0]), mask)


@given(low=NUMBERS, high=NUMBERS, name=st.sampled_from(["score", "count", "passed"]))
def test_ranges_include_both_ends(low, high, name):
    column = FRAME[name]
    if low is not None and high is not None and low > high:
        with pytest.raises(ValueError, match="ends below its start"):
            SOURCE.where(**{name: (low, high)})
        return
    mask = column.notna()
    mask &= True if low is None else column >= low
    mask &= True if high is None else column <= high
    check(SOURCE.where(**{name: (low, high)}), mask)


@given(
    numbers=st.lists(st.one_of(st.integers(-300, 300), st.floats(-2, 9)), max_size=9)
)
def test_numbers_are_those_of_the_list(numbers):
    check(SOURCE.where(count=numbers), FRAME["count"].astype(object).isin(numbers))
    stored = np.array(numbers, np.float32)
    check(SOURCE.where(score=numbers), FRAME["score"].isin(stored))


@given(data=st.data())
def test_all_conditions_hold_together(data):
    mask = data.draw(st.lists(st.booleans(), min_size=N, max_size=N))
    low = data.draw(st.integers(0, 100))
    expected = mask & (FRAME["line"] == "MCF7").to_numpy() & (FRAME["count"] >= low)
    conditions = {"line": "MCF7", "count": (low, None)}
    for rows in (mask, np.array(mask), scd.RowSet.of(N, mask), np.flatnonzero(mask)):
        check(SOURCE.where(rows, **conditions), expected)
        check(SOURCE.where(rows), mask)


@pytest.mark.parametrize(
    ("conditions", "mask"),
    [
        pytest.param({}, np.ones(N), id="no_condition"),
        pytest.param({"line": None}, FRAME["line"].isna(), id="missing_label"),
        pytest.param({"line": NAN}, FRAME["line"].isna(), id="missing_by_nan"),
        pytest.param({"line": (None, None)}, FRAME["line"].notna(), id="any_label"),
        pytest.param({"score": None}, FRAME["score"].isna(), id="missing_number"),
        pytest.param({"score": [pd.NA]}, FRAME["score"].isna(), id="missing_by_na"),
        pytest.param({"score": (None, None)}, FRAME["score"].notna(), id="any_number"),
        pytest.param({"count": None}, np.zeros(N), id="integers_are_never_missing"),
        pytest.param({"age": None}, FRAME["age"].isna(), id="missing_integer"),
        pytest.param({"age": 40}, FRAME["age"].notna(), id="nullable_integer"),
        pytest.param({"passed": True}, FRAME["passed"], id="boolean"),
        pytest.param({"passed": [np.False_]}, ~FRAME["passed"], id="numpy_boolean"),
        pytest.param({"dose": 0.1}, FRAME["dose"] == 0.1, id="label_that_is_a_number"),
        pytest.param({"dose": 1}, FRAME["dose"] == 1.0, id="integer_for_a_float"),
        pytest.param(
            {"dose": (0.5, None)},
            FRAME["dose"].astype(float) >= 0.5,
            id="range_of_doses",
        ),
        pytest.param({"level": ("mid", None)}, FRAME["level"] >= "mid", id="ordered"),
        pytest.param(
            {"level": (None, "low")}, FRAME["level"] == "low", id="ordered_to"
        ),
        pytest.param({"count": (10**30, None)}, np.zeros(N), id="huge_bound"),
        pytest.param({"count": [10**30, -1, 2.5]}, np.zeros(N), id="not_held"),
        pytest.param({"line": []}, np.zeros(N), id="no_label"),
        pytest.param({"line": pd.Index(["A549"])}, FRAME["line"] == "A549", id="index"),
        pytest.param({"my column": "x"}, np.arange(N) < 7, id="name_with_a_space"),
        pytest.param(
            {"self": 1, "rows": 0}, np.arange(N) % 6 == 3, id="names_of_python"
        ),
    ],
)
def test_conditions(conditions, mask):
    check(SOURCE.where(**conditions), mask)


@pytest.mark.parametrize(
    ("conditions", "error", "message"),
    [
        pytest.param({"lin": "x"}, scd.MissingNameError, 'mean "line"', id="column"),
        pytest.param({"line": "A54"}, scd.MissingNameError, 'mean "A549"', id="label"),
        pytest.param(
            {"dose": "0.1"},
            scd.MissingNameError,
            "no label '0.1'; its labels are of type float: give 0.1",
            id="text_for_a_number",
        ),
        pytest.param(
            {"line": ["A549", "x"]}, scd.MissingNameError, "no label 'x'", id="in_list"
        ),
        pytest.param({"line": 5}, scd.MissingNameError, "no label 5", id="number"),
        pytest.param(
            {"line": ("A549", "MCF7")},
            TypeError,
            "give a list of labels",
            id="no_order",
        ),
        pytest.param({"line": ("A549",)}, ValueError, "got 1 values", id="one_end"),
        pytest.param({"level": ("high", "low")}, ValueError, "below its", id="reverse"),
        pytest.param(
            {"level": ("hi", None)}, scd.MissingNameError, '"high"', id="bound"
        ),
        pytest.param({"count": "many"}, TypeError, "holds numbers", id="text"),
        pytest.param(
            {"passed": "yes"}, TypeError, "holds booleans", id="text_for_bool"
        ),
        pytest.param({"count": ("a", None)}, TypeError, "has numbers", id="text_bound"),
        pytest.param({"count": (NAN, None)}, ValueError, "NaN", id="nan_bound"),
        pytest.param({"line": {"a": 1}}, TypeError, "got a dict", id="dict"),
        pytest.param({"line": [["A549"]]}, TypeError, "text or a number", id="nested"),
        pytest.param(
            {"line": scd.RowSet.of(N, [1])}, TypeError, "got a RowSet", id="row_set"
        ),
    ],
)
def test_conditions_that_do_not_suit_are_refused(conditions, error, message):
    with pytest.raises(error, match=message):
        SOURCE.where(**conditions)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(np.ones(N - 1, bool), "one entry for each of the 200", id="short"),
        pytest.param([N], "must lie in", id="outside"),
        pytest.param(scd.RowSet.of(9, [1]), "made for another source", id="other"),
        pytest.param("line", "1-D array of integers", id="text"),
        pytest.param("line == 'B'", "conditions are given by keyword", id="query"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        SOURCE.where(rows)


def test_labels_outside_a_saved_vocabulary_are_missing():
    with pytest.warns(UserWarning, match="not in the saved categories"):
        source = scd.open(ADATA, obs=["line"], categories={"line": ["MCF7", "new"]})
    check(source.where(line=None), FRAME["line"] != "MCF7")
    check(source.where(line="new"), np.zeros(N))
    with pytest.raises(scd.MissingNameError, match="no label 'A549'"):
        source.where(line="A549")


def test_columns_are_read_a_window_at_a_time_and_only_where_rows_are_left(monkeypatch):
    monkeypatch.setattr("scdataset_core.sources.obs.filters.WINDOW_ROWS", 64)
    monkeypatch.setattr("scdataset_core.row_sets.WINDOW_ROWS", 64)
    read = []
    column = SOURCE.find_columns(["count"])["count"]
    original = type(column).read_range

    def count_reads(self, start, stop):
        read.append((start, stop))
        return original(self, start, stop)

    monkeypatch.setattr(type(column), "read_range", count_reads)
    check(SOURCE.where([70, 199], count=(0, None)), np.isin(np.arange(N), [70, 199]))
    assert read == [(64, 128), (192, 200)]
