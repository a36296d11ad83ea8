"""Minibatches are timed from the end of one fetch to that of another."""

import pytest

from scdataset_core.tools import timing


class Clock:
    """A clock that only minibatches move on."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def epochs(clock, sizes, *, seconds, first=0.0):
    """Return epochs whose minibatches take some seconds, the first of all longer."""
    begun = []

    def epoch():
        begun.append(1)
        for number, size in enumerate(sizes):
            clock.now += seconds + (first if number == 0 and len(begun) == 1 else 0.0)
            yield size

    return epoch


def test_what_is_done_once_is_not_counted(clock):
    epoch = epochs(clock, [10] * 100, seconds=0.5, first=60.0)
    rate = timing.time_minibatches(epoch, fetch_factor=4, seconds=10.0)
    assert rate == pytest.approx(10 / 0.5)
    assert clock.now == 60.0 + 2.0 + 10.0


def test_fetches_that_were_read_ahead_can_be_skipped(clock):
    epoch = epochs(clock, [10] * 100, seconds=0.5)
    timing.time_minibatches(epoch, fetch_factor=4, seconds=10.0, n_skipped=3)
    assert clock.now == 3 * 2.0 + 10.0


def test_at_least_two_fetches_are_timed_over_epochs_if_need_be(clock):
    epoch = epochs(clock, [10, 10, 3], seconds=1.0)
    rate = timing.time_minibatches(epoch, fetch_factor=2, seconds=1.0)
    # The short rest of the first epoch, and the first fetch of the second.
    assert rate == pytest.approx(23 / 3)


def test_one_fetch_is_enough_where_it_takes_long(clock):
    epoch = epochs(clock, [10] * 100, seconds=1.0)
    timing.time_minibatches(epoch, fetch_factor=4, seconds=1.0)
    assert clock.now == 2 * 4.0


def test_an_epoch_without_cells_is_an_error(clock):
    with pytest.raises(ValueError, match="no cells to time"):
        timing.time_minibatches(epochs(clock, [], seconds=1.0), 1, 1.0)
