"""`scd.split`: parts that share nothing, cover all, and keep labels and groups."""

import json
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scdataset_core as scd

THREE = {"train": 0.8, "val": 0.1, "test": 0.1}


def make_frame(n, seed, *, missing=0.1):
    rng = np.random.default_rng(seed)
    donor = rng.choice([f"D{i}" for i in range(12)], n, p=np.arange(1, 13) / 78)
    line = rng.choice(["A549", "MCF7", "K562"], n, p=[0.7, 0.25, 0.05]).astype(object)
    line[rng.random(n) < missing] = None
    return pd.DataFrame(
        {
            "donor": pd.Categorical(donor),
            "line": pd.Categorical(line),
            "batch": rng.integers(0, 5, n),
            "dose": rng.choice([0.1, 1.0, np.nan], n),
            "is_control": rng.random(n) < 0.3,
        },
        index=[f"cell{i}" for i in range(n)],
    )


def open_frame(frame):
    return scd.open(ad.AnnData(np.eye(len(frame), 2, dtype=np.float32), obs=frame))


def check_covers(parts, within):
    rows = np.concatenate([part.to_numpy() for part in parts.values()])
    assert len(set(rows.tolist())) == len(rows)
    np.testing.assert_array_equal(np.sort(rows), np.sort(within))


def crosstab(frame, parts, columns):
    """Return a table of counts: a row a part, a column a label."""
    name = pd.Series("", frame.index, dtype=object)
    for part, rows in parts.items():
        name.iloc[rows.to_numpy()] = part
    keys = [
        frame[column].astype(object).where(frame[column].notna(), "?")
        for column in columns
    ]
    kept = name != ""
    return pd.crosstab(name[kept], [key[kept] for key in keys])


shares = st.lists(st.integers(1, 20), min_size=1, max_size=5)


@given(
    n=st.integers(30, 3000),
    weights=shares,
    seed=st.integers(0, 2**40),
    share=st.sampled_from([1.0, 0.6]),
)
def test_cells_are_dealt_by_their_shares(n, weights, seed, share):
    within = np.flatnonzero(np.random.default_rng(seed).random(n) < share)
    total = sum(weights)
    wanted = {f"part{i}": w / total for i, w in enumerate(weights)}
    if any(w * len(within) < total for w in weights):
        return  # a part may come out empty
    parts = scd.split(np.zeros((n, 1)), wanted, within=within, seed=seed)
    assert list(parts) == list(wanted)
    check_covers(parts, within)
    for name, rows in parts.items():
        assert rows.n_rows == n
        assert abs(len(rows) - wanted[name] * len(within)) < 1


@settings(max_examples=25)
@given(
    n=st.integers(60, 1500),
    seed=st.integers(0, 999),
    columns=st.sampled_from([["line"], ["line", "batch"], ["dose"], ["is_control"]]),
    window=st.sampled_from([64, 256, 1 << 20]),
)
def test_labels_are_in_every_part_to_within_one_cell(n, seed, columns, window):
    frame = make_frame(n, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scdataset_core.splits.dealing_cells.WINDOW_ROWS", window)
        patch.setattr("scdataset_core.splits.groups.windows_of.__defaults__", (window,))
        parts = scd.split(open_frame(frame), THREE, stratify=columns, seed=seed)
    check_covers(parts, np.arange(n))
    counts = crosstab(frame, parts, columns)
    sizes = counts.sum(axis=0)
    for name, share in THREE.items():
        assert (abs(counts.loc[name] - share * sizes) < 1).all()
        assert abs(counts.loc[name].sum() - share * n) < 3


@settings(max_examples=25)
@given(n=st.integers(200, 1500), seed=st.integers(0, 999), two=st.booleans())
def test_groups_stay_whole(n, seed, two):
    frame = make_frame(n, seed)
    columns = ["donor", "line"] if two else "donor"
    parts = scd.split(open_frame(frame), THREE, by=columns, seed=seed)
    check_covers(parts, np.arange(n))
    counts = crosstab(frame, parts, ["donor", "line"] if two else ["donor"])
    assert ((counts > 0).sum(axis=0) == 1).all()
    parts.check(by=columns)
    largest = counts.to_numpy().max()
    for name, share in THREE.items():
        assert abs(counts.loc[name].sum() - share * n) <= largest


@settings(max_examples=25)
@given(
    seed=st.integers(0, 999),
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=4),
)
def test_labels_of_whole_groups_are_divided_to_within_one_group(seed, weights):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 30, 60)
    label_of = rng.integers(0, 4, 60)
    group = np.repeat(np.arange(60), sizes)
    frame = pd.DataFrame(
        {"well": group, "drug": pd.Categorical(label_of[group].astype(str))},
        index=[f"c{i}" for i in range(len(group))],
    ).sample(frac=1, random_state=seed)
    wanted = {f"part{i}": w / sum(weights) for i, w in enumerate(weights)}
    parts = scd.split(open_frame(frame), wanted, by="well", stratify="drug", seed=seed)
    counts = crosstab(frame, parts, ["drug"])
    largest = (
        frame.groupby(["drug", "well"], observed=True)
        .size()
        .groupby("drug", observed=True)
        .max()
    )
    for name, share in wanted.items():
        off = abs(counts.loc[name] - share * counts.sum(axis=0))
        assert (off <= largest.loc[off.index]).all()
    parts.check()


@given(
    n=st.integers(100, 3000),
    block_size=st.integers(2, 70),
    seed=st.integers(0, 99),
    stratify=st.sampled_from([None, "line"]),
)
def test_blocks_of_neighbours_stay_together(n, block_size, seed, stratify):
    frame = make_frame(n, seed)
    blocks = -(-n // block_size)
    if blocks < 40:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scdataset_core.splits.dealing_cells.WINDOW_ROWS", 1024)
        parts = scd.split(
            open_frame(frame),
            THREE,
            block_size=block_size,
            stratify=stratify,
            seed=seed,
        )
    check_covers(parts, np.arange(n))
    of_part = [set((rows.to_numpy() // block_size).tolist()) for rows in parts.values()]
    assert sum(map(len, of_part)) == blocks
    for found, share in zip(of_part, THREE.values(), strict=True):
        assert abs(len(found) - share * blocks) < (3 if stratify else 1)


def test_blocks_of_one_label_are_divided_by_label():
    frame = pd.DataFrame(
        {"plate": np.repeat([f"p{i}" for i in range(4)], 320)},
        index=[f"c{i}" for i in range(1280)],
    )
    parts = scd.split(open_frame(frame), THREE, stratify="plate", block_size=16)
    for counts in zip(*(parts.table()[name].values() for name in THREE), strict=True):
        assert counts == (256, 32, 32)


def test_every_cell_is_as_likely_in_every_part():
    """Over many seeds, cells of every label and window are in the test part alike."""
    n, times = 512, 400
    frame = make_frame(n, 0)
    source = open_frame(frame)
    hits = np.zeros(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scdataset_core.splits.groups.windows_of.__defaults__", (128,))
        for seed in range(times):
            parts = scd.split(source, THREE, stratify="line", seed=seed)
            hits[parts["test"].to_numpy()] += 1
    # Binomial with p = 0.1; 512 cells, so a bound of 4.5 standard deviations.
    assert abs(hits - 0.1 * times).max() < 4.5 * np.sqrt(times * 0.09)
    by_window = hits.reshape(4, 128).mean(axis=1) / times
    assert abs(by_window - 0.1).max() < 0.005


def test_the_same_seed_gives_the_same_parts_anywhere():
    code = (
        "import json, numpy as np, scdataset_core as scd\n"
        "parts = scd.split(np.zeros((100, 1)), {'a': 0.9, 'b': 0.1}, seed=7)\n"
        "print(json.dumps(parts['b'].to_numpy().tolist()))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    parts = scd.split(np.zeros((100, 1)), {"a": 0.9, "b": 0.1}, seed=7)
    assert json.loads(out.stdout) == parts["b"].to_numpy().tolist()
    # The rows themselves, so that another release does not divide them otherwise.
    assert parts["b"].to_numpy().tolist() == EXPECTED
    other = scd.split(np.zeros((100, 1)), {"a": 0.9, "b": 0.1}, seed=8)
    assert other["b"] != parts["b"]


def test_the_order_of_the_categories_does_not_matter():
    other = FRAME.copy()
    for name in ("donor", "line"):
        labels = list(other[name].cat.categories)[::-1]
        other[name] = other[name].cat.set_categories([*labels, "unused"])
    for options in ({"by": "donor", "stratify": "line"}, {"stratify": "donor"}):
        parts = scd.split(SOURCE, THREE, seed=4, **options)
        assert dict(scd.split(open_frame(other), THREE, seed=4, **options)) == dict(
            parts
        )


EXPECTED = [0, 5, 9, 17, 29, 31, 44, 67, 84, 93]

FRAME = make_frame(600, 3)
SOURCE = open_frame(FRAME)


def rows_of(mask):
    return np.flatnonzero(np.asarray(mask)).tolist()


def test_named_groups_and_the_rest():
    parts = scd.split(SOURCE, {"train": None, "test": {"donor": ["D3", "D7"]}})
    held_out = FRAME["donor"].isin(["D3", "D7"])
    assert list(parts["test"]) == rows_of(held_out)
    assert list(parts["train"]) == rows_of(~held_out)
    assert list(parts) == ["train", "test"]
    parts.check(by="donor")


def test_named_groups_of_several_columns_rows_and_shares_together():
    rows = SOURCE.where(donor="D9")
    parts = scd.split(
        SOURCE,
        {
            "ood": {"donor": "D11", "line": ["A549", None]},
            "small": rows,
            "val": 0.25,
            "train": None,
        },
        stratify="batch",
        seed=3,
    )
    ood = (FRAME["donor"] == "D11") & (FRAME["line"].isna() | (FRAME["line"] == "A549"))
    assert list(parts["ood"]) == rows_of(ood)
    assert parts["small"] == rows
    left = 600 - ood.sum() - len(rows)
    assert abs(len(parts["val"]) - 0.25 * left) < 2
    check_covers(parts, np.arange(600))


def test_only_cells_within_are_divided():
    within = SOURCE.where(line="A549")
    for given_as in (within, within.to_numpy(), within.mask(0, 600)):
        parts = scd.split(SOURCE, {"a": None, "b": {"donor": "D11"}}, within=given_as)
        assert parts["a"] | parts["b"] == within == parts.within
        assert parts["b"] == SOURCE.where(within, donor="D11")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"parts": {"a": 0.5, "b": 0.4}}, ValueError, "add up to 1, they are 0.9"),
        ({"parts": {"a": 1.5}}, ValueError, "above 0 and at most 1, got 1.5"),
        ({"parts": {"a": 0, "b": 1}}, ValueError, '"a" must be above 0'),
        ({"parts": {"a": -0.1, "b": 1}}, ValueError, "above 0"),
        ({"parts": {"a": float("nan"), "b": None}}, ValueError, "got nan"),
        ({"parts": {"a": 1.0, "b": None}}, ValueError, 'leaves nothing for "b"'),
        ({"parts": {"a": None, "b": None}}, ValueError, "only one part.*a and b"),
        ({"parts": {}}, TypeError, "must be a dict"),
        ({"parts": [0.5, 0.5]}, TypeError, "must be a dict"),
        ({"parts": {1: 0.5, "b": 0.5}}, TypeError, "named by text, got 1"),
        ({"parts": {"a": "0.5", "b": None}}, TypeError, "must be a share"),
        ({"parts": {"a": True}}, TypeError, "must be a share"),
        ({"parts": {"a": {}, "b": None}}, ValueError, "names no column"),
        ({"parts": {"a": 0.9995, "b": 0.0005}}, ValueError, '"b" comes out empty'),
        (
            {"block_size": 500},
            ValueError,
            "none in blocks of 500; give a smaller block_size",
        ),
        ({"by": "donr"}, scd.MissingNameError, 'mean "donor"'),
        ({"stratify": ["line", "bath"]}, scd.MissingNameError, 'mean "batch"'),
        ({"stratify": ["line", "line"]}, ValueError, "a column twice"),
        ({"by": 3}, TypeError, "by must be an obs column"),
        ({"by": [3]}, TypeError, "by must be an obs column"),
        ({"by": "donor", "block_size": 8}, ValueError, "does not go with by"),
        ({"block_size": 0}, ValueError, "block_size must be at least 1"),
        ({"seed": 1.5}, TypeError, "seed must be an integer"),
        ({"within": []}, ValueError, "no cells to divide"),
        ({"within": [600]}, ValueError, "must lie in"),
        ({"by": "is_control"}, ValueError, "2 groups, which 3 parts cannot"),
        (
            {"parts": {"a": {"donor": "D3"}, "b": {"donor": ["D4", "D3"]}}},
            ValueError,
            '\'D3\' of "donor" is named twice: by part "a" and by part "b"',
        ),
        (
            {"parts": {"a": {"donor": ["D3", "D3"]}, "b": None}},
            ValueError,
            "names 'D3' of \"donor\" twice",
        ),
        (
            {"parts": {"a": {"donor": "D3"}, "b": {"line": "A549"}, "c": None}},
            ValueError,
            '"a" and "b" share [0-9]+ cells, the first is row',
        ),
        (
            {"parts": {"a": {"donor": "D33"}, "b": None}},
            scd.MissingNameError,
            'mean "D3"',
        ),
        ({"parts": {"a": {"donor": "D3"}}}, ValueError, "in none of the parts"),
        (
            {"parts": {"a": {"batch": 99}, "b": None}},
            ValueError,
            '"a" comes out empty: no cell meets',
        ),
        (
            {"parts": {"a": {"batch": (0, None)}, "b": None}},
            ValueError,
            '"b" comes out empty: the others leave nothing',
        ),
        (
            {"parts": {"a": {"line": "A549"}, "b": None}, "by": "donor"},
            ValueError,
            "parts share .* groups: donor D",
        ),
    ],
)
def test_requests_that_cannot_be_met_are_refused(options, error, message):
    options = {"parts": THREE, **options}
    with pytest.raises(error, match=message):
        scd.split(SOURCE, **options)


def test_a_path_is_no_source():
    with pytest.raises(TypeError, match=r"split divides .*path 'a.h5ad'; open\(\) it"):
        scd.split("a.h5ad", THREE)


def test_columns_need_a_source():
    with pytest.raises(TypeError, match=r"has no obs columns.*open\(\) it first"):
        scd.split(np.zeros((10, 1)), THREE, by="donor")
    with pytest.raises(TypeError, match="has no obs columns"):
        scd.split(np.zeros((10, 1)), {"a": {"donor": "D3"}, "b": None})


def test_as_many_groups_as_parts_give_each_part_one():
    frame = FRAME[FRAME["donor"].isin(["D9", "D10", "D11"])]
    parts = scd.split(open_frame(frame), THREE, by="donor")
    assert [
        len(set(frame["donor"].iloc[rows.to_numpy()])) for rows in parts.values()
    ] == [1, 1, 1]


def test_loaders_read_the_parts():
    parts = scd.split(SOURCE, THREE, by="donor", seed=1)
    for rows in parts.values():
        loader = scd.Loader(SOURCE, scd.BlockShuffling(4, rows), batch_size=16)
        found = np.concatenate([batch["index"] for batch in loader])
        assert sorted(found.tolist()) == list(rows)
