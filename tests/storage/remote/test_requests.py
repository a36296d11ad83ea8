"""Ranges are merged where they lie near, asked for at once, and held within bounds."""

import gc
import threading
import time

import numpy as np
import pytest

from scdataset_core.storage.remote import requests
from scdataset_core.storage.remote.request_threads import shared_threads
from scdataset_core.storage.remote.requests import (
    ExpectedReads,
    TakenError,
    WantedRanges,
)
from scdataset_core.storage.stats import ReadStats


class Counted:
    """An object in memory that notes what is asked of it."""

    def __init__(self, n_bytes=1 << 22, wait=None):
        self.name = "mem://x"
        self.data = np.random.default_rng(0).integers(0, 256, n_bytes, np.uint8)
        self.asked = []
        self.wait = wait
        self.lock = threading.Lock()
        self.arrived = threading.Semaphore(0)

    def fetch(self, start, stop):
        with self.lock:
            self.asked.append((start, stop))
        self.arrived.release()
        if self.wait is not None:
            self.wait.wait(120)
        return self.data[start:stop].tobytes()


def want(source, ranges):
    starts = np.array([a for a, _ in ranges], np.int64)
    stops = np.array([b for _, b in ranges], np.int64)
    zeros = np.zeros(len(ranges), np.int64)
    return WantedRanges([source], zeros, starts, stops - starts)


def take(wanted, source, start, stop):
    return np.concatenate(wanted.take(source, start, stop - start))


def test_ranges_near_each_other_come_by_one_request():
    source, gap = Counted(), requests.GAP_BYTES
    ranges = [(0, 10), (10 + gap, 20 + gap), (21 + 2 * gap, 22 + 2 * gap), (5, 8)]
    wanted = want(source, ranges)
    for start, stop in ranges:
        found = take(wanted, source, start, stop)
        assert (found == source.data[start:stop]).all()
    assert source.asked == [(0, 20 + gap), (21 + 2 * gap, 22 + 2 * gap)]


def test_a_long_range_comes_by_several_requests(monkeypatch):
    monkeypatch.setattr(requests, "MOST_BYTES", 1000)
    source = Counted()
    wanted = want(source, [(7, 3507)])
    ExpectedReads().begin(wanted)
    assert (take(wanted, source, 7, 3507) == source.data[7:3507]).all()
    assert len(source.asked) == 4


def test_many_requests_are_under_way_and_no_more_is_held_than_may_be(monkeypatch):
    monkeypatch.setattr(requests, "GAP_BYTES", 0)
    monkeypatch.setattr(requests, "HELD_BYTES", 5000)
    go = threading.Event()
    source = Counted(wait=go)
    ranges = [(i * 2000, i * 2000 + 1000) for i in range(40)]
    stats = ReadStats()
    wanted, expected = want(source, ranges), ExpectedReads(stats)
    expected.begin(wanted)
    for _ in range(5):
        assert source.arrived.acquire(timeout=120)
    assert len(source.asked) == 5  # as many as may be held
    go.set()
    for start, stop in ranges:
        assert (take(wanted, source, start, stop) == source.data[start:stop]).all()
    assert sorted(source.asked) == ranges
    assert stats.requests == 40
    assert stats.bytes_requested == 40_000


def test_what_was_taken_is_let_go():
    source = Counted()
    wanted = want(source, [(0, 10)])
    take(wanted, source, 0, 10)
    assert not wanted.find(source, 0, 10)
    with pytest.raises(TakenError, match=r"^$"):
        wanted.take(source, 0, 10)


def test_what_nothing_holds_is_given_up(monkeypatch):
    monkeypatch.setattr(requests, "GAP_BYTES", 0)
    monkeypatch.setattr(requests, "HELD_BYTES", 1000)
    source, expected = Counted(), ExpectedReads()
    wanted = want(source, [(i * 2000, i * 2000 + 1000) for i in range(40)])
    expected.expect(wanted)
    assert expected.find(source, 2000, 1000) is wanted
    del wanted
    limit = time.monotonic() + 120
    while expected.find(source, 2000, 1000) is not None:  # a request may be under way
        assert time.monotonic() < limit
        gc.collect()
    assert len(source.asked) < 40


def test_a_failed_request_is_raised_where_its_bytes_are_wanted():
    class Failing(Counted):
        def fetch(self, start, stop):
            raise OSError("no")

    source = Failing()
    wanted = want(source, [(0, 10), (1 << 20, (1 << 20) + 5)])
    ExpectedReads().begin(wanted)
    with pytest.raises(OSError, match="no"):
        wanted.take(source, 0, 10)


def test_what_a_collector_closes_may_be_beginning(monkeypatch):
    """The collector may run in a thread that asks for ranges of what it collects."""
    source = Counted()
    wanted = want(source, [(0, 10), (1 << 20, 10 + (1 << 20))])
    expected = requests.ExpectedReads()

    def close_first():
        expected.close()
        return shared_threads()

    monkeypatch.setattr(requests, "shared_threads", close_first)
    thread = threading.Thread(target=expected.expect, args=(wanted,), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert (take(wanted, source, 0, 10) == source.data[:10]).all()
