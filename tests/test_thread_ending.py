"""Ending threads: in time, whatever was started, and with every interrupt seen."""

import gc
import os
import subprocess
import sys
import threading

import pytest

from scdataset_core import thread_ending
from scdataset_core.readahead import ReadAhead
from scdataset_core.storage.io.threads import WorkerThreads
from scdataset_core.thread_ending import Ending, join_all, start_all

POSIX = pytest.mark.skipif(os.name != "posix", reason="forks, signals and limits")


def reading_threads():
    """Return those of Loaders, and not of caches, which outlive them."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("scdataset-read")]


def fail_at(monkeypatch, number, error):
    """Let the start of the `number`-th thread of the library raise."""
    real = threading.Thread.start
    n_started = 0

    def start(thread):
        nonlocal n_started
        if thread.name.startswith("scdataset-read"):
            n_started += 1
            if n_started == number:
                raise error
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


def run(script, *args, timeout=120):
    return subprocess.run(
        [sys.executable, "-c", script, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Owner:
    pass


class Interrupt(BaseException):
    """What Ctrl-C raises, and pytest does not stop at."""


def test_an_ending_runs_once():
    calls: list[int] = []
    owner = Owner()
    ending = Ending(owner, calls.append, 1)
    ending()
    ending()
    del owner
    gc.collect()
    assert calls == [1]


def test_an_ending_that_was_interrupted_runs_again():
    calls: list[int] = []

    def end():
        calls.append(1)
        if len(calls) == 1:
            raise Interrupt("now")

    owner = Owner()
    ending = Ending(owner, end)
    with pytest.raises(Interrupt, match="now"):
        ending()
    del owner
    gc.collect()
    assert calls == [1, 1]


def test_threads_that_were_not_started_are_not_waited_for():
    threads = [threading.Thread(target=lambda: None) for _ in range(2)]
    start_all(threads[:1])
    join_all(threads, limit_s=60)
    assert not threads[0].is_alive()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_reading_thread_that_cannot_start_is_an_error_that_says_so(
    monkeypatch, number
):
    fail_at(monkeypatch, number, RuntimeError("can't start new thread"))
    with pytest.raises(RuntimeError, match="can't start new thread") as raised:
        ReadAhead((i for i in range(9)), lambda i: i, depth=4, n_threads=3)
    assert "read_ahead=0, threads=1" in raised.value.__notes__[0]
    assert reading_threads() == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_workers_of_which_one_cannot_start_close_and_start_again(monkeypatch, number):
    workers = WorkerThreads(3)
    with monkeypatch.context() as patch:
        fail_at(patch, number, RuntimeError("can't start new thread"))
        with pytest.raises(RuntimeError, match="can't start new thread"):
            workers.run([lambda: None] * 4, turn=0)
    workers.close()
    assert reading_threads() == []
    done = []
    workers.run([lambda: done.append(1)] * 4, turn=0)
    assert len(done) == 4
    workers.close()
    assert reading_threads() == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_ctrl_c_while_threads_start_is_raised_and_leaves_none(monkeypatch, number):
    fail_at(monkeypatch, number, Interrupt("now"))
    with pytest.raises(Interrupt, match="now"):
        ReadAhead((i for i in range(9)), lambda i: i, depth=4, n_threads=3)
    assert reading_threads() == []


def ends(do):
    """Return whether a thread that does something comes to its end."""
    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(120)
    return not thread.is_alive()


def test_a_collector_does_not_wait_for_threads_that_wait_for_its_thread(monkeypatch):
    monkeypatch.setattr(thread_ending, "_COLLECTED_S", 0.01)
    lock, reading = threading.Lock(), threading.Event()

    def make(task):
        reading.set()
        with lock:
            return task

    def collect():
        with lock:
            held: list[object] = [ReadAhead((i for i in range(9)), make, depth=2)]
            held.append(held)
            assert reading.wait(60)
            del held
            gc.collect()

    assert ends(collect)
    for thread in threading.enumerate():
        if thread.name.startswith("scdataset-read"):
            thread.join(30)
    assert reading_threads() == []


def test_workers_may_be_closed_by_the_thread_that_starts_them(monkeypatch):
    """As the collector does that runs there, and finds the iterator they work for."""
    workers, real = WorkerThreads(2), WorkerThreads._start

    def start(workers, queue):
        workers.close()
        real(workers, queue)

    monkeypatch.setattr(WorkerThreads, "_start", start)
    done = []
    assert ends(lambda: workers.run([lambda: done.append(1)] * 4, turn=0))
    assert len(done) == 4
    workers.close()
    assert reading_threads() == []


DROPS = """
import gc, os, random, signal, sys, threading, time
import numpy as np
import scdataset_core as scd

def slow(collection, rows):
    time.sleep(0.02)
    return collection[rows]

n_sent, random = int(sys.argv[1]), random.Random(0)
loader = scd.Loader(
    np.arange(100_000), batch_size=4, fetch_factor=2, fetch_callback=slow
)
ready = threading.Event()

def interrupt():
    for _ in range(n_sent):
        ready.wait()
        ready.clear()
        time.sleep(random.random() * 0.03)
        os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
n_seen = 0
for _ in range(n_sent):
    try:
        ready.set()
        stop = time.monotonic() + 60
        while time.monotonic() < stop:
            batches = iter(loader)
            next(batches)
            del batches  # waits for the fetch that is under way
    except KeyboardInterrupt:
        batches = None
        n_seen += 1
gc.collect()
stop = time.monotonic() + 60
def left():
    return [t for t in threading.enumerate() if t.name.startswith("scdataset-read")]
while left() and time.monotonic() < stop:
    time.sleep(0.01)
print(n_seen, len(left()))
"""


@POSIX
@pytest.mark.parametrize(
    "n_sent", [5, pytest.param(60, marks=pytest.mark.slow, id="many")]
)
def test_ctrl_c_while_an_iterator_is_dropped_is_seen_each_time(n_sent):
    done = run(DROPS, str(n_sent))
    assert done.stdout.split() == [str(n_sent), "0"], done.stderr


TERMINATED = """
import os, signal, sys, threading
import numpy as np
import scdataset_core as scd
from scdataset_core.thread_ending import _is_ending

signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
second, go_on = threading.Event(), threading.Event()

def slow(collection, rows):
    if rows[0] >= 8:
        second.set()
        go_on.wait()
    return collection[rows]

def terminate(main=threading.get_ident()):
    while not _is_ending(sys._current_frames()[main]):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    go_on.set()

loader = scd.Loader(
    np.arange(40), scd.Streaming(), batch_size=4, fetch_factor=2, fetch_callback=slow
)
batches = iter(loader)
next(batches)
second.wait()
threading.Thread(target=terminate, daemon=True).start()
del batches  # waits for the fetch that is under way
for _ in range(6000):  # an exit comes between two steps of Python
    threading.Event().wait(0.01)
"""


@POSIX
def test_an_exit_that_a_signal_asks_for_while_an_iterator_is_dropped_is_made():
    done = run(TERMINATED)
    assert (done.returncode, done.stderr) == (7, "")


LIMITED = """
import gc, resource, sys, threading
import numpy as np
import scdataset_core as scd

loader = scd.Loader(np.arange(4000)[:, None], batch_size=8, threads=4, read_ahead=3)
for _ in zip(range(2), loader):
    pass
gc.collect()
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
limit = used + int(float(sys.argv[1]) * 2**20)
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
try:
    print(sum(1 for _ in loader))
except (RuntimeError, MemoryError) as error:
    print("refused:", error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
del loader
gc.collect()
print(sum(t.name.startswith("scdataset-read") for t in threading.enumerate()))
"""


@POSIX
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "megabytes",
    [0, *(pytest.param(m, marks=pytest.mark.slow) for m in (0.3, 1, 3, 4.2, 6, 9, 40))],
)
def test_a_limit_on_memory_is_an_error_or_no_matter_but_no_hang(megabytes):
    done = run(LIMITED, str(megabytes))
    lines = done.stdout.splitlines()
    assert lines[0] == "500" or lines[0].startswith("refused:"), done.stderr
    assert lines[1] == "0"


FORKED = """
import os, signal, sys, time
import numpy as np
import scdataset_core as scd

def slow(collection, rows):
    time.sleep(0.001)
    return collection[rows]

loader = scd.Loader(np.arange(20_000), fetch_callback=slow, threads=2, read_ahead=2)
batches = iter(loader)
next(batches)

def child(do):
    pid = os.fork()
    if pid == 0:
        try:
            do()
        except RuntimeError as error:
            print(error, flush=True)
            sys.exit(3)
        sys.exit(0)  # runs what is left to do at exit
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

codes = [child(lambda: next(batches)) for _ in range(int(sys.argv[1]))]
codes += [child(lambda: None) for _ in range(int(sys.argv[1]))]
codes += [child(lambda: sum(1 for _ in loader)), child(batches.close)]
print(codes, 1 + sum(1 for _ in batches))
"""


@POSIX
@pytest.mark.parametrize(
    "n_children", [2, pytest.param(30, marks=pytest.mark.slow, id="many")]
)
def test_an_iterator_that_had_begun_is_refused_in_a_forked_child(n_children):
    done = run(FORKED, str(n_children))
    *said, last = done.stdout.splitlines()
    assert len(said) == n_children, done.stderr
    assert all("begin a new one in the child: iter(loader)" in line for line in said)
    codes = [3] * n_children + [0] * n_children + [0, 0]
    assert last == f"{codes} 313"


IMPORTING = """
import sys, threading
import scdataset_core as scd

imported = []
real = __import__

def watch(name, *args, **kwargs):
    before = set(sys.modules)
    module = real(name, *args, **kwargs)
    if threading.current_thread().name.startswith("scdataset-read"):
        imported.extend(set(sys.modules) - before)
    return module

source = scd.open(sys.argv[1], obs=True)
import builtins
builtins.__import__ = watch
for _ in scd.Loader(source, threads=2):
    pass
print(imported)
"""


def test_reading_threads_import_nothing(plates):
    done = run(IMPORTING, str(plates / "plate1.h5ad"))
    assert done.stdout.strip() == "[]", done.stderr
