"""Processes that are ended from outside, or fork, at any moment: they end soon, leave
nothing behind, and leave a cache from which the same batches come."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scdataset_core as scd
from tests.hostile.process_loops import digest
from tests.sources.small_h5ad import make

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

ROUNDS = int(os.environ.get("SCDATASET_SIGNAL_ROUNDS", "6"))
SOON_S = 30.0  # machines of CI are busy; PyTorch looks for its parent every 5 s


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    return [
        make(folder / f"x{number}.h5ad", n=400, compression="gzip")
        for number in range(3)
    ]


def begin(way, cache, files):
    command = [sys.executable, "-m", "tests.hostile.process_loops", way, cache, *files]
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths, "SCDATASET_TEST_RUN": str(cache)},
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        process.kill()
        raise AssertionError(process.communicate()[1])
    return process


def end(process, sent):
    """Send a signal, and return what the program said.

    Ctrl-C is pressed again where Python has forgotten one, in a finalizer of a library.
    """
    for _ in range(3):
        process.send_signal(sent)
        try:
            return process.communicate(timeout=SOON_S)
        except subprocess.TimeoutExpired:
            if sent != signal.SIGINT:
                raise
    raise AssertionError("Ctrl-C is not heard")


def live_processes(cache):
    """Return the processes that a program has left, by their environment."""
    mark = f"SCDATASET_TEST_RUN={cache}\0".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # ended, or another user's
            continue
    return found


def shared_memory(pids):
    """Return what PyTorch's processes have left in shared memory."""
    folder = Path("/dev/shm")
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return [n for n in names if any(n.startswith(f"torch_{pid}_") for pid in pids)]


def wait_until(true):
    end = time.monotonic() + SOON_S
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


ENDS = {
    signal.SIGKILL: {-signal.SIGKILL},
    signal.SIGTERM: {-signal.SIGTERM},
    signal.SIGINT: {-signal.SIGINT, 130, 1},
}


@pytest.fixture
def cache(tmp_path):
    """Return a folder; the programs that fill it end with the test."""
    yield tmp_path / "cache"
    for pid in live_processes(tmp_path / "cache"):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("way", ["read", "fork", "isolate", "load"])
@pytest.mark.parametrize("sent", ENDS, ids=lambda sent: sent.name)
def test_a_program_that_is_ended_ends_soon_and_leaves_nothing(way, sent, files, cache):
    if way == "load":
        pytest.importorskip("scdataset_torch")
    rng = random.Random(way)
    expected = [digest(scd.open(files, obs=True), seed) for seed in range(2)]
    for _ in range(ROUNDS):
        process = begin(way, cache, files)
        time.sleep(rng.choice([0.2, 1, 4]) * rng.random())
        pids = live_processes(cache)
        said, error = end(process, sent)
        assert process.returncode in ENDS[sent], error
        assert said == ""
        assert ("KeyboardInterrupt" in error) == (sent == signal.SIGINT), error
        assert wait_until(lambda: not live_processes(cache))
        assert shared_memory(pids) == []
        again = scd.open(files, obs=True, cache=cache)
        assert [digest(again, seed) for seed in range(2)] == expected
