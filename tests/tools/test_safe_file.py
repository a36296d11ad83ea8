"""Files are whole or not there: full disks, limits, quotas, Ctrl-C at any moment."""

import errno
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import scdataset_core
from scdataset_core.tools.safe_file import DiskFile, write_whole
from scdataset_core.tools.synthetic import make_plates

anndata = pytest.importorskip("anndata")
h5py = pytest.importorskip("h5py")
resource = pytest.importorskip("resource")

ROOT = Path(scdataset_core.__file__).parent.parent
SMALL = {"n_plates": 2, "n_cells": 300, "n_genes": 2_000, "stored_per_cell": 400}


def write_array(disk):
    with h5py.File(disk, "w") as file:
        file["x"] = np.arange(1000)


def test_complete_file_gets_its_name(tmp_path):
    write_whole(tmp_path / "a.h5", write_array)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.h5"]
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["x"], np.arange(1000))


def test_two_hosts_never_write_one_file(tmp_path, monkeypatch):
    path, host = tmp_path / "a", ["one"]
    monkeypatch.setattr(platform, "node", lambda: host[0])

    def write_while_another_does(disk):
        disk.write(b"first")
        host[0] = "two"  # where the process has the same number, as in containers
        write_whole(path, lambda other: other.write(b"other"))
        assert path.read_bytes() == b"other"

    write_whole(path, write_while_another_does)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_writer_leaves_what_was_there(tmp_path):
    def fail(disk):
        write_array(disk)
        raise ValueError("no more")

    (tmp_path / "a.h5").write_bytes(b"old")
    with pytest.raises(ValueError, match="no more"):
        write_whole(tmp_path / "a.h5", fail)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.h5"]
    assert (tmp_path / "a.h5").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        pytest.param(errno.ENOSPC, r"the disk at .+ \([\d,]+ MB\) is full", id="full"),
        pytest.param(errno.EDQUOT, "your quota on the disk at .+ is used", id="quota"),
        pytest.param(errno.EFBIG, "larger than a file may be here", id="limit"),
        pytest.param(errno.EIO, "cannot write .+: Input/output error", id="other"),
    ],
)
@pytest.mark.parametrize("good", [0, 1, 3, 20])
def test_failure_of_the_disk_names_it_and_the_file(
    tmp_path, monkeypatch, number, message, good
):
    writes = iter(range(10_000))

    def write_all(self, left):
        if next(writes) >= good:
            raise OSError(number, os.strerror(number))
        self._file.write(left)

    monkeypatch.setattr(DiskFile, "_write_all", write_all)
    with pytest.raises(OSError, match=message) as found:
        make_plates(tmp_path, **SMALL)
    assert found.value.errno == number
    assert str(tmp_path / "plate1.h5ad") in str(found.value)
    assert list(tmp_path.iterdir()) == []


def test_plates_before_the_failure_stay(tmp_path, monkeypatch):
    real = DiskFile._write_all

    def write_all(self, left):
        if "plate2" in self._file.name:
            raise OSError(errno.ENOSPC, "full")
        real(self, left)

    monkeypatch.setattr(DiskFile, "_write_all", write_all)
    with pytest.raises(OSError, match=r"is full: cannot write .+plate2.h5ad"):
        make_plates(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == [tmp_path / "plate1.h5ad"]
    assert anndata.read_h5ad(tmp_path / "plate1.h5ad").n_obs == 300


def test_limit_of_file_sizes(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(OSError, match="larger than a file may be here"):
            make_plates(tmp_path, **SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [0, 1, 2, 5, 10, 30, 60])
def test_ctrl_c_inside_hdf5_leaves_nothing_half_written(tmp_path, monkeypatch, at):
    writes, real = iter(range(10_000)), DiskFile.write

    def write(self, data):
        if next(writes) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, data)

    monkeypatch.setattr(DiskFile, "write", write)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        make_plates(tmp_path, **{**SMALL, "n_plates": 1})
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_several_ctrl_c_are_answered_once_what_is_there_is_taken_away(tmp_path):
    def interrupt(n_cells):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        make_plates(tmp_path, **SMALL, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


MAKE = """
import sys
sys.path.insert(0, {root!r})
from scdataset_core.cli import main
sizes = "--cells {cells} --genes 3000 --compression none"
sys.argv = ["scdataset", "make-data", "plates", *sizes.split()]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", ["16k", "1m", "15m"])
def test_full_disk_is_one_line_and_no_crash(tmp_path, size):
    pytest.importorskip("typer")
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    mount = f"mount -t tmpfs -o size={size} tmpfs {tmp_path}"
    script = f'{mount} || exit 77; cd {tmp_path}; "$@"; code=$?; find . -type f >&2'
    make = [sys.executable, "-c", MAKE.format(root=str(ROOT), cells=2000)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{script}; exit $code", "sh", *make],
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("needs the right to mount")
    assert done.returncode == 1
    said, *left = done.stderr.splitlines()
    number = len(left) + 1
    assert said.startswith(f"scdataset: the disk at {tmp_path} (")
    assert said.endswith(f"cannot write {tmp_path}/plates/plate{number}.h5ad")
    assert left == [f"./plates/plate{i}.h5ad" for i in range(1, number)]


@pytest.mark.slow
def test_file_size_limit_is_one_line_and_no_crash(tmp_path):
    pytest.importorskip("typer")
    limited = 'ulimit -f 1000; exec "$@"'
    make = MAKE.format(root=str(ROOT), cells=2000)
    done = subprocess.run(
        ["sh", "-c", limited, "sh", sys.executable, "-c", make],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "plate1.h5ad is larger than a file may be here" in done.stderr
    assert list((tmp_path / "plates").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        pytest.param("synthetic", "import_writers", id="importing"),
        pytest.param("screen", "Plate", id="making_a_plate"),
        pytest.param("synthetic", "write_plate", id="before_writing"),
        pytest.param("plate_file", "_make_obs", id="while_writing"),
    ],
)
def test_signal_ends_the_command_with_the_code_of_shells(
    tmp_path, module, name, number
):
    pytest.importorskip("typer")
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from scdataset_core.tools import {module} as module
real = module.{name}
def interrupted(*args, **options):
    os.kill(os.getpid(), {int(number)})
    return real(*args, **options)
module.{name} = interrupted
"""
    done = subprocess.run(
        [sys.executable, "-c", code + MAKE.format(root=str(ROOT), cells=50)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 128 + number
    assert done.stderr == "scdataset: interrupted\n"
    assert list(tmp_path.rglob("*.*")) == []
