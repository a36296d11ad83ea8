"""Reading obs through other sources: some of their rows, or several of them as one."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scdataset_core as scd
from scdataset_core.errors import FileFormatError
from scdataset_core.sources.obs.obs_readers import ChosenObs, JoinedObs, SourceObs
from scdataset_core.storage import ReadContext

ad = pytest.importorskip("anndata")


def make_source(n, labels, numbers="i4", **options):
    obs = pd.DataFrame(
        {
            "line": pd.Categorical.from_codes(np.arange(n) % len(labels), labels),
            "number": np.arange(n, dtype=numbers),
        },
        index=[f"cell{labels[0]}{i}" for i in range(n)],
    )
    x = np.ones((n, 2), np.float32)
    return scd.open(ad.AnnData(x, obs), **{"obs": ["line", "number"], **options})


SOURCES = [
    make_source(7, ["b", "c"], obs_names=True),
    make_source(5, ["a", "b"], "f4", obs_names=True),
]
STARTS = np.array([0, 7, 12])
JOINED = JoinedObs(SOURCES, STARTS)


def read_names(reader, rows):
    return list(reader.read_names(np.array(rows, np.int64)))


def read(reader, rows, names=None):
    with ReadContext(1) as context:
        return reader.read(np.array(rows, np.int64), context, names)


@given(st.lists(st.integers(0, 11), max_size=20).map(sorted))
def test_several_sources_have_one_vocabulary_and_one_type(rows):
    frames = [
        pd.DataFrame(
            {"line": s.decode("line", s.obs["line"]), "number": s.obs["number"]}
        )
        for s in SOURCES
    ]
    want = pd.concat(frames, ignore_index=True).iloc[rows]
    got = read(JOINED, rows)
    assert JOINED.categories == {"line": ["a", "b", "c"]}
    assert np.array(["a", "b", "c"])[got["line"]].tolist() == want["line"].tolist()
    assert got["number"].dtype == np.result_type(np.int32, np.float32)
    assert got["number"].tolist() == want["number"].tolist()


def test_names_of_cells_are_there_if_every_source_has_them():
    rows, names = [0, 6, 7, 11], ["cellb0", "cellb6", "cella0", "cella4"]
    assert read_names(JOINED, rows) == names
    without = JoinedObs([SOURCES[0], make_source(5, ["a"])], STARTS)
    assert without.read_names(np.array(rows)) is None
    assert read_names(without, rows[:2]) == names[:2]


def test_only_the_columns_asked_for_are_read():
    assert list(read(JOINED, [3], ["number"])) == ["number"]
    assert list(read(JOINED, [3])) == ["line", "number"]


def test_sources_of_other_columns_do_not_join():
    other = make_source(5, ["a"], obs=["line"])
    with pytest.raises(FileFormatError, match=r"source 1 \['line'\].*same obs="):
        JoinedObs([SOURCES[0], other], STARTS)


def test_labels_and_numbers_do_not_join():
    numbers = scd.open(
        ad.AnnData(
            np.ones((5, 2)), pd.DataFrame({"line": np.arange(5)}, list("abcde"))
        ),
        obs=["line"],
    )
    labels = make_source(7, ["a"], obs=["line"])
    with pytest.raises(FileFormatError, match="labels in source 0 and numbers in sou"):
        JoinedObs([labels, numbers], STARTS)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.differing_executors])
def test_chosen_rows_come_in_the_order_in_which_they_were_chosen(data):
    chosen = np.array(data.draw(st.lists(st.integers(0, 11), min_size=1)), np.int64)
    rows = data.draw(st.lists(st.integers(0, len(chosen) - 1), min_size=1).map(sorted))
    reader = ChosenObs(JOINED, chosen)
    got, want = read(reader, rows), read(JOINED, np.arange(12))
    for name in ("line", "number"):
        np.testing.assert_array_equal(got[name], want[name][chosen[rows]])
    names = read_names(JOINED, range(12))
    assert read_names(reader, rows) == [names[i] for i in chosen[rows]]


def test_missing_values_are_counted_where_they_are_known():
    codes = pd.Categorical(["a", None, None])
    source = scd.open(
        ad.AnnData(np.ones((3, 2)), pd.DataFrame({"line": codes}, list("abc"))),
        obs=["line"],
    )
    assert SourceObs(source).count_missing("line") == source.count_missing("line")
    assert ChosenObs(SourceObs(source), np.array([0])).count_missing("line") is None


def test_a_column_is_read_by_windows(monkeypatch):
    from scdataset_core.sources.obs import labelled_cells

    expected = {name: SOURCES[1].obs[name] for name in SOURCES[1].obs}
    monkeypatch.setattr(labelled_cells, "WINDOW_ROWS", 2)
    for name, values in expected.items():
        assert np.array_equal(SOURCES[1].obs[name], values)
        assert SOURCES[1].obs[name].dtype == values.dtype
