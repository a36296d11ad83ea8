"""Threads that ask for tasks do them together, what was begun first at first."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from scdataset_core.storage.io.threads import WorkerThreads


def test_who_asks_later_helps_with_what_was_begun_before():
    workers, begun = WorkerThreads(0), threading.Event()
    together = threading.Barrier(2, timeout=60)
    order: list[str] = []

    def first():
        begun.set()
        together.wait()  # passes only if two threads do it at a time

    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(workers.run, [first, first], turn=1)
        assert begun.wait(60)
        late = pool.submit(workers.run, [lambda: order.append("late")] * 2, turn=2)
        early.result(60)
        late.result(60)
    assert order == ["late", "late"]


def test_what_is_begun_first_goes_before_what_was_asked_for_before():
    workers, release, asked = WorkerThreads(0), threading.Event(), threading.Event()
    order: list[str] = []

    def wait():
        asked.set()
        assert release.wait(60)
        order.append("late")

    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(workers.run, [wait, lambda: order.append("late")], turn=2)
        assert asked.wait(60)
        early = pool.submit(workers.run, [lambda: order.append("early")] * 3, turn=1)
        early.result(60)  # while a task of the other still runs
        assert order == ["early"] * 3
        release.set()
        late.result(60)


@pytest.mark.parametrize("n_threads", [0, 2])
def test_an_error_reaches_only_who_asked_for_it(n_threads):
    workers = WorkerThreads(n_threads)

    def fails():
        raise KeyError("cell")

    with ThreadPoolExecutor(4) as pool:
        for _ in range(200):
            done: list[int] = []
            failing = [pool.submit(workers.run, [fails] * 3, turn=i) for i in (1, 3)]
            tasks = [lambda done=done: done.append(1)] * 20
            well = [pool.submit(workers.run, tasks, turn=i) for i in (2, 4)]
            for job in failing:
                with pytest.raises(KeyError, match="cell"):
                    job.result(60)
            for job in well:
                job.result(60)
            assert len(done) == 40
    workers.close()


def test_each_task_is_done_once_without_a_global_lock(monkeypatch):
    """As in free-threaded Python, where a list's iterator may give an item twice."""
    monkeypatch.setattr("sys._is_gil_enabled", lambda: False, raising=False)
    done: list[int] = []
    workers = WorkerThreads(3)
    workers.run([partial(done.append, i) for i in range(2000)], turn=0)
    workers.close()
    assert sorted(done) == list(range(2000))


@pytest.mark.parametrize("turn", [0, 1])
def test_a_task_that_asks_for_tasks_begins_none_like_itself_before_it_ends(turn):
    workers = WorkerThreads(2)
    local, depths = threading.local(), list[int]()

    def ask():
        local.depth = getattr(local, "depth", 0) + 1
        workers.run([lambda: None] * 2, turn=turn)
        depths.append(local.depth)
        local.depth -= 1

    workers.run([ask] * 500, turn=turn)
    assert depths == [1] * 500
    workers.close()
