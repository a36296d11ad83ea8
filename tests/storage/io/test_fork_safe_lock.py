"""A lock of one thread at a time, which a fork leaves open."""

import os
import sys
import threading

import pytest

from scdataset_core.storage.io.fork_safe_lock import ForkSafeLock


def lets_in(lock: ForkSafeLock, seconds: float = 60) -> bool:
    """Return whether another thread gets the lock in some seconds."""
    entered = threading.Event()

    def enter() -> None:
        with lock:
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    return entered.wait(seconds)


def test_one_thread_holds_it_at_a_time_as_often_as_it_likes():
    lock = ForkSafeLock()
    with lock:
        with lock:
            assert not lets_in(lock, 0.05)
        assert not lets_in(lock, 0.05)
    assert lets_in(lock)


def test_an_error_inside_frees_it():
    lock = ForkSafeLock()
    with pytest.raises(KeyError, match="inside"), lock:
        raise KeyError("inside")
    assert lets_in(lock)


def test_no_code_of_python_runs_where_an_interrupt_would_leave_it_locked():
    lock, called = ForkSafeLock(), []
    sys.setprofile(lambda frame, event, _: called.append((frame.f_code, event)))
    try:
        with lock:
            pass
    finally:
        sys.setprofile(None)
    assert not [code for code, event in called if event == "call"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
# Python's own advice, which the fork below goes against on purpose.
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_is_not_held_up_by_a_thread_of_its_parent():
    lock = ForkSafeLock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        os._exit(0 if lets_in(lock) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not lets_in(lock, 0.05)  # the parent's thread has it still
    done.set()
    thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_who_forks_inside_keeps_it_in_the_child():
    lock = ForkSafeLock()
    child, code = -1, 1
    try:
        with lock:
            child = os.fork()
            code = 1 if lets_in(lock, 0.05) else 0
        code += 0 if lets_in(lock) else 1
    finally:
        if child == 0:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert code == 0
