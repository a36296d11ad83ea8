"""The child process in which HDF5 reads what may be damaged."""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import warnings
from io import BytesIO

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.errors import CorruptFileError, FileFormatError, MissingNameError
from scdataset_core.storage import isolation
from scdataset_core.storage.isolation import _PlainUnpickler as PlainUnpickler
from scdataset_core.storage.isolation import call_isolated, is_child
from tests.sources.small_h5ad import make


@pytest.fixture(autouse=True, scope="module")
def no_child_is_left():
    """End the child process after these tests."""
    yield
    isolation._child.end()


@pytest.fixture
def path(tmp_path):
    return str(make(tmp_path / "x.h5ad"))


def test_cells_are_the_same(path) -> None:
    alone = scd.open(path, obs=True, obs_names=True, isolated=True)
    plain = scd.open(path, obs=True, obs_names=True)
    rows = [0, 3, 3, 29]
    mine, other = alone.read(rows), plain.read(rows)
    assert (mine["X"] != other["X"]).nnz == 0
    assert mine["obs"]["line"].tolist() == other["obs"]["line"].tolist()
    assert alone.categories == plain.categories
    assert alone.contents == plain.contents
    assert alone.var.equals(plain.var)
    assert alone.fingerprint == plain.fingerprint
    again = pickle.loads(pickle.dumps(alone))
    assert (again.read(rows)["X"] != other["X"]).nnz == 0
    assert alone.where(line="a") == plain.where(line="a")


def test_hdf5_is_not_loaded_here(path) -> None:
    code = (
        "import sys, scdataset_core as scd;"
        f"source = scd.open({path!r}, obs=True, isolated=True);"
        "source.read([1, 2]);"
        "print('h5py' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"]
    assert not done.stderr


def test_errors_are_those_of_a_plain_open(path) -> None:
    with pytest.raises(MissingNameError, match='did you mean "line"'):
        scd.open(path, obs=["lin"], isolated=True)
    with pytest.raises(FileFormatError, match="not a file of a format"):
        scd.open(__file__, isolated=True)
    with pytest.raises(ValueError, match="isolated=True goes with paths"):
        scd.open(np.eye(3), isolated=True)


def test_one_child_answers_for_all_files(path) -> None:
    one = call_isolated(os.getpid, file=path)
    assert one == call_isolated(os.getpid, file=path) != os.getpid()
    assert call_isolated(is_child, file=path)
    assert not is_child()


def test_a_crash_is_an_error_and_the_next_call_works(path) -> None:
    with pytest.raises(CorruptFileError, match=r"x\.h5ad.*crashed \(SIGSEGV\)"):
        call_isolated(ctypes.string_at, 1, file=path)
    assert scd.open(path, isolated=True).shape == (30, 8)


def test_what_does_not_end_is_stopped(path, monkeypatch) -> None:
    monkeypatch.setattr(isolation, "LEAST_CPU_S", 1)
    with pytest.raises(CorruptFileError, match="did not come to an end"):
        call_isolated(exec, "while True: pass", file=path)
    assert call_isolated(len, "abc", file=path) == 3


def test_limits_hold_where_this_process_takes_no_such_signals(path) -> None:
    both = signal.SIGALRM, signal.SIGPROF
    before = [signal.signal(number, signal.SIG_IGN) for number in both]
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, both)
    isolation._child.end()  # the next one starts as this process is now
    try:
        call_isolated(
            exec,
            "import signal as s\n"
            "for number in (s.SIGALRM, s.SIGPROF):\n"
            "    assert s.getsignal(number) is s.SIG_DFL, number\n"
            "    assert number not in s.pthread_sigmask(s.SIG_BLOCK, ()), number",
            file=path,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for number, action in zip(both, before, strict=True):
            signal.signal(number, action)


def test_memory_is_limited(path, monkeypatch) -> None:
    monkeypatch.setattr(isolation, "LEAST_MEMORY", 1 << 30)
    with pytest.raises(CorruptFileError, match="more memory than a file of its size"):
        call_isolated(bytearray, 1 << 34, file=path)


def test_a_child_that_cannot_start_is_an_error(path, monkeypatch) -> None:
    isolation._child.end()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OSError, match="child process, which cannot be started"):
        scd.open(path, isolated=True)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(OSError, match="no interpreter of its own"):
        scd.open(path, isolated=True)


def test_a_forked_process_has_a_child_of_its_own(path) -> None:
    mine = call_isolated(os.getpid, file=path)
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forks beside threads
        process = os.fork()
    if process == 0:
        os.write(writes, str(call_isolated(os.getpid, file=path)).encode())
        isolation._child.end()
        os._exit(0)
    os.waitpid(process, 0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        assert int(pipe.read()) not in (mine, os.getpid(), process)
    assert call_isolated(os.getpid, file=path) == mine


class _Runs:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(pickle.dumps(_Runs()), id="a_command"),
        pytest.param(b"cbuiltins\neval\n(S'1'\ntR.", id="a_builtin"),
        pytest.param(
            b"\x80\x04\x8c\x1dscdataset_core.storage.arrays\x8c\x07np.load\x93.",
            id="dots",
        ),
        pytest.param(
            b"cscdataset_core.storage.isolation\ncall_isolated\n.", id="a_function"
        ),
    ],
)
def test_an_answer_runs_no_code(answer) -> None:
    with pytest.raises(pickle.UnpicklingError, match="may not answer"):
        PlainUnpickler(BytesIO(answer)).load()
