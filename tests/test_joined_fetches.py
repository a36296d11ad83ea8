"""Small fetches are read together, and a user notices nothing but the speed."""

import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core import joined_fetches
from scdataset_core.joined_fetches import count_joined
from scdataset_core.plan import Plan

ROWS = 103


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    """Have fetches read together in epochs as short as those here."""
    monkeypatch.setattr(joined_fetches, "LEAST_READS", 1)


@pytest.fixture
def source():
    dense = np.zeros((ROWS, 7), np.float32)
    dense[:, 0] = np.arange(ROWS)
    dense[:, 3] = 1
    return scd.open(sp.csr_matrix(dense))


class Reads:
    """Notes the rows of each read of a source, and fails where it is told to."""

    def __init__(self, source, monkeypatch):
        self.rows = []
        self.bad_row = -1
        self.error: type[Exception] = OSError
        self.n_left = -1  # times to fail; -1: always
        self._read = source.read_batches
        monkeypatch.setattr(source, "read_batches", self)

    def __call__(self, rows, *rest):
        self.rows.append(rows.tolist())
        if self.bad_row in rows and self.n_left:
            self.n_left -= 1
            raise self.error(f"row {self.bad_row} cannot be read")
        return self._read(rows, *rest)


def load(source, *, read_ahead=1, **options):
    """Return a loader of small fetches; with `read_ahead=0` each is read by itself."""
    settings = {"batch_size": 4, "fetch_factor": 1, "seed": 5} | options
    strategy = settings.pop("strategy", scd.BlockShuffling(3))
    return scd.Loader(source, strategy, read_ahead=read_ahead, **settings)


def compare(got, want):
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one["index"], other["index"])
        np.testing.assert_array_equal(one["X"].toarray(), other["X"].toarray())


@pytest.mark.parametrize(
    "strategy",
    [
        scd.BlockShuffling(3),
        scd.BlockShuffling(1),
        scd.Streaming(),
        scd.BlockWeightedSampling(2, weights=np.arange(ROWS) + 1.0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("fetch_factor", [1, 2, 5])
def test_batches_are_those_of_fetches_read_one_by_one(
    source, monkeypatch, strategy, fetch_factor
):
    options = {"strategy": strategy, "fetch_factor": fetch_factor}
    want = list(load(source, read_ahead=0, **options))
    reads = Reads(source, monkeypatch)
    compare(list(load(source, **options)), want)
    sizes = [len(rows) for rows in reads.rows]
    assert sizes[0] == 4 * fetch_factor, "the first fetch is waited for"
    assert len(sizes) < len(want) / fetch_factor
    assert max(sizes) <= joined_fetches.MOST_FETCHES * 4 * fetch_factor


def test_an_epoch_goes_on_in_the_middle_of_what_was_read_together(source):
    loader = load(source)
    iterator = iter(loader)
    first = [next(iterator) for _ in range(7)]
    state = loader.state_dict()
    other = load(source)
    other.load_state_dict(state)
    compare([*first, *other], list(load(source, read_ahead=0)))


def test_an_error_comes_where_its_minibatch_was_wanted(source, monkeypatch):
    want = list(load(source, read_ahead=0))
    reads = Reads(source, monkeypatch)
    reads.bad_row = int(want[9]["index"][2])
    iterator = iter(load(source))
    compare([next(iterator) for _ in range(9)], want[:9])
    for _ in range(2):
        with pytest.raises(OSError, match=f"row {reads.bad_row} cannot be read"):
            next(iterator)
    reads.bad_row = -1
    compare(list(iterator), want[9:])


@pytest.mark.parametrize(
    "options",
    [
        {"fetch_transform": lambda fetched: fetched},
        {"batch_callback": lambda fetched, positions: fetched.take(positions)},
        {"memory": "1KiB", "fetch_factor": None},
        {"read_ahead": 0},
    ],
    ids=lambda options: next(iter(options)),
)
def test_fetches_are_read_alone_where_that_would_be_noticed(
    source, monkeypatch, options
):
    reads = Reads(source, monkeypatch)
    settings = {"batch_size": 4, "fetch_factor": 1} | options
    if settings["fetch_factor"] is None:  # the memory says it
        del settings["fetch_factor"]
    loader = scd.Loader(source, scd.BlockShuffling(3), **settings)
    list(loader)
    assert max(map(len, reads.rows)) <= loader.batch_size * loader.fetch_factor


def test_how_many_are_read_together():
    assert count_joined(64 << 20, 64 << 20, 10**6) == 1
    assert count_joined(9 << 20, 9 << 20, 10**6) == 1
    assert count_joined(4 << 20, 4 << 20, 10**6) == 4
    assert count_joined(4 << 20, 32 << 20, 10**6) == 2
    assert count_joined(4 << 20, 99 << 20, 10**6) == 1
    most = joined_fetches.MOST_FETCHES
    assert count_joined(0.0, 0.0, 10**6) == count_joined(1.0, 1.0, 10**6) == most


def test_an_error_of_planning_comes_where_its_minibatch_was_wanted(source, monkeypatch):
    want = list(load(source, read_ahead=0))
    find = Plan._pieces

    def fail_at_9(plan, number):
        if number == 9:
            raise OSError("fetch 9 cannot be planned")
        return find(plan, number)

    monkeypatch.setattr(Plan, "_pieces", fail_at_9)
    iterator = iter(load(source))
    compare([next(iterator) for _ in range(9)], want[:9])
    with pytest.raises(OSError, match="fetch 9 cannot be planned"):
        next(iterator)


def test_stop_iteration_of_a_read_does_not_end_the_epoch(source, monkeypatch):
    want = list(load(source, read_ahead=0))
    reads = Reads(source, monkeypatch)
    reads.bad_row, reads.error = int(want[9]["index"][2]), StopIteration
    iterator = iter(load(source))
    compare([next(iterator) for _ in range(9)], want[:9])
    with pytest.raises(RuntimeError, match="the data are not at their end"):
        next(iterator)


def test_a_warning_made_an_error_is_raised_though_it_is_given_once(source, monkeypatch):
    want = list(load(source, read_ahead=0))
    reads = Reads(source, monkeypatch)
    reads.bad_row, reads.error, reads.n_left = want[9]["index"][2], RuntimeWarning, 1
    iterator = iter(load(source))
    first = [next(iterator)]
    with pytest.raises(RuntimeWarning, match="cannot be read"):
        first += iterator
    compare([*first, *iterator], want)


def test_no_more_are_read_together_than_take_64_mib_as_they_are_laid_out(monkeypatch):
    source = scd.open(sp.csr_matrix((ROWS, 600_000), dtype=np.float32))
    reads = Reads(source, monkeypatch)
    list(load(source, output="dense"))
    assert max(map(len, reads.rows)) == 6 * 4


def test_a_short_epoch_is_read_in_many_goes(source, monkeypatch):
    monkeypatch.undo()
    reads = Reads(source, monkeypatch)
    batches = list(load(source))
    assert len(reads.rows) == len(batches)
    assert count_joined(1.0, 1.0, 320) == 10
