"""Rows of like length come into the same minibatches."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

import scdataset_core as scd
from scdataset_core.buckets import gather_alike

WIDTHS = [10, 20, 50]


@given(st.lists(st.integers(0, 4), max_size=80), st.integers(1, 20), st.integers(0, 50))
def test_each_cell_once_and_few_minibatches_of_several_codes(codes, batch_size, key):
    codes = np.array(codes, np.int64)
    order = gather_alike(codes, batch_size=batch_size, key=key)
    assert sorted(order.tolist()) == list(range(len(codes)))
    n_whole = len(codes) // batch_size
    batches = codes[order][: n_whole * batch_size].reshape(n_whole, batch_size)
    n_mixed = sum(len(set(batch)) > 1 for batch in batches.tolist())
    assert n_mixed <= max(len(set(codes.tolist())) - 1, 0)


def test_every_cell_is_as_likely_in_every_place_of_its_kind():
    codes = np.array([0, 0, 0, 1, 1, 1, 1])
    n = 3000
    first, short = np.zeros(7), np.zeros(7)
    for key in range(n):
        order = gather_alike(codes, batch_size=3, key=key)
        first[order[:3]] += 1
        short[order[6]] += 1
    # The short minibatch takes any of 7 cells: no kind is left out more often.
    assert (abs(short - n / 7) < 5 * np.sqrt(n * 6 / 49)).all()
    assert (abs(first - n * 3 / 7) < 5 * np.sqrt(n * 12 / 49)).all()


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(0)
    lengths = rng.choice([3, 9, 15, 19, 35, 48], 1000)
    columns = [np.sort(rng.permutation(60)[:n]) for n in lengths]
    x = csr_array(
        (
            rng.integers(1, 9, lengths.sum()).astype(np.float32),
            np.concatenate(columns),
            np.concatenate([[0], np.cumsum(lengths)]),
        ),
        shape=(1000, 60),
    )
    return scd.open(x)


def make_loader(source, strategy=None, **options):
    options = {"width": WIDTHS, "batch_size": 16, "fetch_factor": 12, **options}
    return scd.Loader(
        source, strategy or scd.BlockShuffling(4), output="padded", seed=3, **options
    )


def rows_of(batches):
    return [batch["index"].tolist() for batch in batches]


def test_padding_is_much_shorter_and_shapes_are_few(source):
    batches = list(make_loader(source))
    shapes = {batch["X"]["values"].shape for batch in batches}
    assert shapes <= {(16, width) for width in WIDTHS}
    places = sum(batch["X"]["values"].size for batch in batches)
    stored = source.row_lengths().sum()
    assert places < 1.6 * stored  # with one width it is 2.3 times
    rows = np.concatenate([batch["index"] for batch in batches])
    assert sorted(rows[rows >= 0].tolist()) == list(range(1000))


def test_a_fetch_holds_the_same_rows_as_without(source):
    def fetches(loader):
        rows = np.concatenate(rows_of(loader))
        return [set(rows[i : i + 192].tolist()) for i in range(0, 1000, 192)]

    assert fetches(make_loader(source)) == fetches(make_loader(source, width=50))


def test_a_strategy_that_orders_rows_itself_keeps_its_order(source):
    labels = np.arange(1000) % 4
    for strategy in (scd.Streaming(), scd.BlockShuffling(4, stratify=labels)):
        one = rows_of(make_loader(source, strategy, width=50))
        loader = make_loader(source, strategy)
        assert rows_of(loader.fresh(0)) == one
        for batch in loader.fresh(0):
            longest = batch["X"]["length"].max()
            fits = min(width for width in WIDTHS if width >= longest)
            assert batch["X"]["values"].shape[1] == fits


def test_ranks_workers_resume_and_lookup(source):
    whole = list(make_loader(source, drop_last=True))
    rows = rows_of(whole)
    loader = make_loader(source, drop_last=True)
    assert [loader.batch(k)["index"].tolist() for k in range(len(rows))] == rows
    shards = [
        make_loader(
            source, drop_last=True, rank=r, world_size=2, worker=w, num_workers=2
        )
        for r in range(2)
        for w in range(2)
    ]
    found = [batch for shard in shards for batch in rows_of(shard)]
    assert sorted(found) == sorted(rows)
    iterator = iter(loader)
    for _ in range(5):  # in the middle of a fetch
        next(iterator)
    resumed = make_loader(source, drop_last=True)
    resumed.load_state_dict(loader.state_dict())
    rest = list(resumed)
    assert rows_of(rest) == rows[5:]
    for batch, expected in zip(rest, whole[5:], strict=True):
        for name, part in expected["X"].items():
            np.testing.assert_array_equal(batch["X"][name], part)
    again = pickle.loads(pickle.dumps(make_loader(source, drop_last=True)))
    assert rows_of(again) == rows


def test_the_state_of_other_widths_is_refused(source):
    loader = make_loader(source)
    next(iter(loader))
    for width in (50, [20, 50]):
        with pytest.raises(scd.StateError, match="strategy"):
            make_loader(source, width=width).load_state_dict(loader.state_dict())
    make_loader(source, width=[50, 20, 10, 20]).load_state_dict(loader.state_dict())


def test_another_epoch_is_another_order(source):
    loader = make_loader(source)
    assert rows_of(loader) != rows_of(loader)


@pytest.mark.parametrize(
    "hooks",
    [
        {"fetch_transform": lambda cells: cells},
        {"batch_callback": lambda cells, at: cells.take(at)},
        {"fetch_callback": lambda source, rows: source.read(rows)},
    ],
    ids=["fetch_transform", "batch_callback", "fetch_callback"],
)
def test_hooks_on_fetches_get_the_same_minibatches(source, hooks):
    plain, hooked = list(make_loader(source)), list(make_loader(source, **hooks))
    assert rows_of(plain) == rows_of(hooked)
    for batch, other in zip(plain, hooked, strict=True):
        for name, part in batch["X"].items():
            np.testing.assert_array_equal(part, other["X"][name])


def test_what_a_hook_adds_is_as_wide_as_x(source):
    masking = scd.transforms.mask_values(0.5)
    for name in ("fetch_transform", "batch_transform"):
        loader = make_loader(source, **{name: masking})
        batches = list(loader)
        assert len({batch["X"]["values"].shape for batch in batches}) == 3
        for batch in batches:
            shape = batch["X"]["values"].shape
            assert batch["target"]["values"].shape == shape


def test_rows_that_are_too_long(source):
    with pytest.raises(ValueError, match="stored values and width is 20"):
        list(make_loader(source, width=[10, 20]))
    batches = list(make_loader(source, width=[10, 20], overflow="largest"))
    assert max(batch["X"]["length"].max() for batch in batches) == 20
    assert {batch["X"]["values"].shape[1] for batch in batches} == {10, 20}


def test_sources_one_after_the_other(source):
    twice = scd.concat([source, source])
    assert twice.row_lengths([0, 1000]).tolist() == [source.row_lengths([0])[0]] * 2
    batches = list(make_loader(twice, batch_size=32))
    for batch in batches:
        longest = batch["X"]["length"].max()
        fits = min(width for width in WIDTHS if width >= longest)
        assert batch["X"]["values"].shape == batch["X"]["indices"].shape == (32, fits)
    rows = np.concatenate(rows_of(batches))
    assert sorted(rows[rows >= 0].tolist()) == list(range(2000))


def test_what_has_no_lengths_is_refused(source, plates):
    with pytest.raises(ValueError, match=r"width names several, \[2, 4\].*all genes"):
        scd.Loader(scd.open(np.eye(4)), output="padded", width=[2, 4])
    few = scd.open(str(plates / "*.h5ad"), genes=["gene1"])
    with pytest.raises(ValueError, match=r"where genes are left out.*give one width"):
        scd.Loader(few, output="padded", width=[2, 4])
    several = scd.open(str(plates / "*.h5ad"), x=["X", "layers/counts"])
    for width in ([2, 4], {"X": [2, 4]}):
        with pytest.raises(ValueError, match=r"several widths, \[2, 4\], go with one"):
            scd.Loader(several, output="padded", width=width)


@pytest.mark.parametrize(
    ("width", "error", "match"),
    [
        ([], ValueError, r"width must be an integer, or several, got \[\]"),
        ("ab", ValueError, "width must be an integer, or several, got 'ab'"),
        ([10, 0], ValueError, "width must be at least 1, got 0"),
        ([10, 2.5], TypeError, r"width must be an integer, got 2\.5"),
        (np.array(4), TypeError, r"width must be an integer, got array\(4\)"),
    ],
)
def test_wrong_widths(source, width, error, match):
    with pytest.raises(error, match=match):
        make_loader(source, width=width)


def test_one_width_in_a_list_is_one_width(source):
    one, listed = make_loader(source, width=50), make_loader(source, width=[50])
    assert rows_of(one) == rows_of(listed)
    assert one.state_dict() == listed.state_dict()
