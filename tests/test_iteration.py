"""Iterators of a Loader: their threads, their errors, and several consumers."""

import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
from typing import Any

import numpy as np
import pytest

from scdataset_core import BlockShuffling, Loader
from scdataset_core.epochs import Epochs
from scdataset_core.stats import LoaderStats
from scdataset_core.storage import ReadContext

DATA = np.arange(103)


def lists(loader):
    return [np.asarray(batch).tolist() for batch in loader]


def reading_threads():
    """Return those of Loaders, and not of caches, which outlive them."""
    return [t for t in threading.enumerate() if t.name.startswith("scdataset-read")]


@pytest.mark.parametrize("read_ahead", [0, 1, 3])
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_threads_change_nothing(read_ahead, threads):
    plain = lists(Loader(DATA, BlockShuffling(4), batch_size=8, read_ahead=0))
    loader = Loader(
        DATA, BlockShuffling(4), batch_size=8, read_ahead=read_ahead, threads=threads
    )
    assert lists(loader) == plain


def test_an_interrupted_epoch_is_abandoned():
    loader = Loader(DATA, batch_size=8)
    next(iter(loader))
    next(iter(loader))
    assert loader.epoch == 1


@pytest.mark.parametrize("read_ahead", [0, 1])
@pytest.mark.parametrize("hook", ["fetch_transform", "batch_transform"])
def test_a_hook_that_raises_stop_iteration_does_not_end_the_epoch(hook, read_ahead):
    hooks: dict[str, Any] = {hook: lambda data: next(iter([]))}
    loader = Loader(DATA, batch_size=8, read_ahead=read_ahead, **hooks)
    with pytest.raises(RuntimeError, match="StopIteration was raised"):
        list(loader)
    assert reading_threads() == []


def test_an_error_of_the_thread_surfaces_with_its_traceback():
    def broken_reader(collection, rows):
        raise OSError("the disk is gone")

    loader = Loader(DATA, fetch_callback=broken_reader)
    with pytest.raises(OSError, match="the disk is gone") as caught:
        next(iter(loader))
    assert "broken_reader" in "".join(traceback.format_tb(caught.value.__traceback__))
    assert reading_threads() == []


def test_an_error_of_the_consumer_stops_the_threads():
    def broken(batch):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        list(Loader(DATA, batch_size=2, fetch_factor=1, batch_transform=broken))
    assert reading_threads() == []


@pytest.mark.parametrize("how", ["close", "collect", "exhaust", "break"])
def test_no_thread_is_left(how):
    loader = Loader(DATA, batch_size=2, fetch_factor=1)
    iterator = iter(loader)
    next(iterator)
    assert reading_threads() != []
    if how == "close":
        iterator.close()
    elif how == "exhaust":
        list(iterator)
    elif how == "break":
        for _ in iterator:
            break
    del iterator
    gc.collect()
    assert reading_threads() == []


def test_ctrl_c_while_waiting_leaves_no_thread():
    code = """
import os, signal, sys, threading, time, traceback
import numpy as np
import scdataset_core as scd

main = threading.get_ident()

def is_waiting():
    stack = traceback.extract_stack(sys._current_frames()[main])
    return "wait_for" in [frame.name for frame in stack]

def slow(collection, rows):
    if rows[0] == 10:
        while not is_waiting():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # it is under way still when the iterator is closed
    return collection[rows]

loader = scd.Loader(np.arange(100), scd.Streaming(), batch_size=10, fetch_factor=1,
                    fetch_callback=slow)
try:
    for batch in loader:
        pass
except KeyboardInterrupt:
    names = [thread.name for thread in threading.enumerate()]
    print("interrupted", [n for n in names if n.startswith("scdataset-read")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "interrupted []", done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX only")
def test_reading_ahead_is_bounded():
    made = []

    def count(collection, rows):
        made.append(len(rows))
        return collection[rows]

    loader = Loader(DATA, batch_size=2, fetch_factor=1, fetch_callback=count)
    iterator = iter(loader)
    next(iterator)
    next(iterator)
    iterator.close()
    assert len(made) <= 4


def test_one_iterator_gives_each_batch_once_to_several_threads():
    loader = Loader(np.arange(4000), batch_size=1, fetch_factor=4)
    batches = iter(loader)
    taken: list[int] = []

    def take():
        taken.extend(int(batch[0]) for batch in batches)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(4000))
    assert loader.state_dict()["yielded"] == 4000


@pytest.mark.filterwarnings("ignore:two iterators:UserWarning")
def test_threads_that_begin_at_the_same_time_have_an_epoch_each(monkeypatch):
    want = Loader(DATA, BlockShuffling(4), batch_size=8)
    epochs = [lists(want), lists(want)]
    loader = Loader(DATA, BlockShuffling(4), batch_size=8)
    together = threading.Barrier(2, timeout=60)
    plan, met, got = Epochs.plan, set(), []

    def meet(*arguments):
        if threading.get_ident() not in met:
            met.add(threading.get_ident())
            together.wait()
        return plan(*arguments)

    monkeypatch.setattr(Epochs, "plan", meet)
    threads = [
        threading.Thread(target=lambda: got.append(lists(loader))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(epochs)


def test_zipped_iterators_of_one_loader_are_told_of_once():
    loader = Loader(DATA, BlockShuffling(4), batch_size=8)
    with pytest.warns(UserWarning, match="pairs cells of two epochs") as told:
        pairs = list(zip(loader, loader, strict=True))
    assert len(pairs) == 13
    assert [warning.filename for warning in told] == [__file__]


def test_a_warning_of_two_iterators_that_is_an_error_loses_no_batch():
    loader = Loader(DATA, batch_size=8)
    plain = lists(loader.shard())
    batches, later = iter(loader), iter(loader)
    with pytest.raises(UserWarning, match="pairs cells of two epochs"):
        next(batches)  # pytest turns warnings into errors
    assert lists(batches) == plain
    later.close()


@pytest.mark.parametrize("n_taken", [3, 13], ids=["closed", "at_its_end"])
def test_an_iterator_that_is_done_with_is_no_reason_to_warn(n_taken):
    loader = Loader(DATA, batch_size=8)
    batches = iter(loader)
    for _ in range(n_taken):
        next(batches)
    if n_taken < 13:
        batches.close()
    later = iter(loader)
    assert list(batches) == []
    later.close()


def test_an_abandoned_iterator_is_no_reason_to_warn():
    loader = Loader(DATA, batch_size=8)
    abandoned = iter(loader)
    next(abandoned)
    assert len(list(loader)) == 13
    for _ in loader:
        break
    assert len(list(loader)) == 13
    shards = loader.shard(), loader.shard()
    assert len(list(zip(*shards, strict=True))) == 13


def test_an_interrupt_at_the_start_leaves_no_thread_that_decodes(monkeypatch):
    """The reading threads may have begun a fetch, with threads of their own."""

    def interrupt(self, tasks, make, **options):
        make(next(tasks))  # as a thread does that was started before
        raise KeyboardInterrupt("now")

    monkeypatch.setattr("scdataset_core.iteration.ReadAhead.__init__", interrupt)
    contexts = []
    whole = ReadContext.close

    def close(self):
        contexts.append(self)
        whole(self)

    monkeypatch.setattr(ReadContext, "close", close)
    with pytest.raises(KeyboardInterrupt, match="now"):
        iter(Loader(DATA, batch_size=2, fetch_factor=1))
    assert len(contexts) == 1


@pytest.mark.parametrize("read_ahead", [0, 1])
@pytest.mark.parametrize("hook", ["fetch_transform", "batch_transform"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_an_iterator_goes_on_with_the_same_batch(
    hook, read_ahead, error
):
    calls = []

    def fail_once(data):
        calls.append(data)
        if len(calls) == 3:
            raise error("once")
        return data

    hooks: dict[str, Any] = {hook: fail_once}
    plain = lists(Loader(DATA, batch_size=8, fetch_factor=2))
    loader = Loader(DATA, batch_size=8, fetch_factor=2, read_ahead=read_ahead, **hooks)
    batches, taken = iter(loader), list[Any]()
    with pytest.raises(error, match="once"):
        taken.extend(np.asarray(batch).tolist() for batch in batches)
    assert reading_threads() == []
    assert len(taken) == loader.state_dict()["yielded"] == 13 - len(batches) < 13
    assert taken + lists(batches) == plain
    assert len(batches) == 0
    assert loader.stats.n_batches == 13
    assert reading_threads() == []


def test_an_interrupt_after_a_batch_is_made_loses_it_not(monkeypatch):
    loader = Loader(DATA, batch_size=8)
    plain = lists(loader.shard())
    batches = iter(loader)
    count = LoaderStats.count

    def interrupted(self, *counts):
        monkeypatch.setattr(LoaderStats, "count", count)
        raise KeyboardInterrupt("now")

    monkeypatch.setattr(LoaderStats, "count", interrupted)
    with pytest.raises(KeyboardInterrupt, match="now"):
        next(batches)
    assert lists(batches) == plain


def test_a_failed_iterator_that_is_closed_is_at_its_end():
    def fail(batch):
        raise ValueError("always")

    batches = iter(Loader(DATA, batch_size=8, batch_transform=fail))
    for _ in range(2):
        with pytest.raises(ValueError, match="always"):
            next(batches)
    batches.close()
    assert list(batches) == []
