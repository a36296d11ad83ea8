"""Threads and counters of a reader."""

import gc
import threading
import traceback
import weakref
from functools import partial

import h5py
import pytest

from scdataset_core.storage import ReadContext
from tests.storage.oracle import check, stored, values


def reading_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("scdataset-read")]


def test_all_tasks_are_done_once_and_on_several_threads() -> None:
    done: list[int] = []
    seen = set()
    together = threading.Barrier(3, timeout=60)

    def task(number: int) -> None:
        if number < 3:
            together.wait()  # passes only if three threads run at a time
        seen.add(threading.get_ident())
        done.append(number)

    with ReadContext(3) as context:
        context.run([partial(task, number) for number in range(50)])
        context.run([])
    assert sorted(done) == list(range(50))
    assert threading.get_ident() in seen
    assert len(seen) == 3


def test_the_first_error_comes_with_its_own_traceback() -> None:
    def fails_here() -> None:
        raise KeyError("cell")

    ran: list[int] = []
    with ReadContext(2) as context:
        for _ in range(50):
            with pytest.raises(KeyError, match="cell") as caught:
                context.run([fails_here] * 4 + [lambda: ran.append(1)] * 100)
            frames = traceback.extract_tb(caught.value.__traceback__)
            assert frames[-1].name == "fails_here"
        context.run([lambda: ran.append(2)])
    assert ran[-1] == 2


def test_an_interrupt_leaves_no_task_running() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    running = []

    def slow() -> None:
        running.append(1)
        threading.Event().wait(0.01)
        running.pop()

    with ReadContext(3) as context:
        for _ in range(10):
            with pytest.raises(KeyboardInterrupt, match=r"^$"):
                context.run([slow, interrupted, slow, slow] * 10)
            assert running == []


def test_close_leaves_no_thread_and_reading_starts_again() -> None:
    context = ReadContext(4)
    assert reading_threads() == []
    context.run([lambda: None] * 10)
    assert len(reading_threads()) == 3
    context.close()
    assert reading_threads() == []
    context.run([lambda: None] * 10)
    context.close()
    context.close()
    assert reading_threads() == []


def test_a_forgotten_context_ends_its_threads() -> None:
    context = ReadContext(3)
    context.run([lambda: None] * 10)
    threads, gone = reading_threads(), weakref.ref(context)
    del context
    gc.collect()
    assert gone() is None
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_must_be_positive(threads) -> None:
    with pytest.raises(ValueError, match="threads must be at least 1"):
        ReadContext(threads)


def test_counters(tmp_path) -> None:
    plain = values(1000, "f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("plain", data=plain, chunks=(100,))
        file.create_dataset("gzip", data=plain, chunks=(100,), compression="gzip")
    ranges = [(0, 10), (50, 60), (95, 105), (95, 105)]
    with ReadContext(2) as context:
        check(stored(tmp_path / "x.h5", "plain"), plain, ranges, context=context)
        assert context.stats.bytes_read == 4 * 30
        assert context.stats.bytes_used == 4 * 40
        assert context.stats.chunks_decoded == 0
        array = stored(tmp_path / "x.h5", "gzip")
        check(array, plain, ranges, context=context)
        stats = context.stats
        assert stats.bytes_read == 4 * 30 + int(array.table.sizes[:2].sum())
        assert stats.bytes_used == 4 * 80
        assert stats.chunks_decoded == 2
        assert min(stats.read_s, stats.decode_s, stats.place_s) > 0
