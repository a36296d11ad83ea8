"""Reads that fail in the middle: by a library that is loaded before C's, and by files
that are changed under a loader. No batch is ever wrong, and nothing waits for ever."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import scdataset_core as scd
from scdataset_core.errors import FileChangedError
from tests.sources.small_h5ad import ids, make

pytestmark = pytest.mark.hostile

N = 400
READ = """
import sys
import numpy as np
import scdataset_core as scd
path, cache = sys.argv[1:]
try:
    source = scd.open(path, obs=True, cache=cache or None)
    wrong = n = 0
    for epoch in range(2):
        loader = scd.Loader(source, scd.BlockShuffling(1), batch_size=16, seed=epoch)
        for batch in loader:
            n += len(batch["index"])
            first = batch["X"][:, 0].toarray().reshape(-1) - 1
            wrong += int((first != batch["index"]).sum())
    print("cells", n, wrong)
except OSError as error:
    print("error", type(error).__name__, error)
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Return the library that makes reads fail, compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the library that makes reads fail needs Linux and a C compiler")
    built = tmp_path_factory.mktemp("library") / "failing_reads.so"
    source = Path(__file__).with_name("failing_reads.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", built, source, "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return built


@pytest.fixture(scope="module", params=[None, "gzip"], ids=["plain", "gzip"])
def cells(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    return make(folder / "x.h5ad", n=N, compression=request.param)


def read(library, fault, path, cache=""):
    """Return what a process says that reads a file while its reads fail."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(cache)],
        env={**os.environ, "LD_PRELOAD": str(library), "FAULT": fault},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["short@1", "eintr@1", "eagain_once@60"])
def test_what_can_be_done_again_is_done_again_or_named(library, cells, fault) -> None:
    said = read(library, fault, cells)
    if fault.startswith("eagain"):
        assert said == f"cells {2 * N} 0" or "temporarily unavailable" in said
    else:
        assert said == f"cells {2 * N} 0"


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 7, 60])
def test_a_failing_disk_is_named_with_its_file(library, cells, n) -> None:
    for fault in (f"eio@{n}", f"eio_once@{n}"):
        said = read(library, fault, cells)
        assert "damaged" not in said
        if n == 1 and "once" not in fault:
            assert said.startswith("error")
        if said != f"cells {2 * N} 0":  # as where it was read again, or there is less
            assert "x.h5ad" in said
            assert "Input/output error" in said


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["setup@1", "setup@2", "enter@1", "enter@9"])
def test_io_uring_may_be_refused_at_any_time(library, tmp_path, fault) -> None:
    assert read(library, fault, make(tmp_path / "x.h5ad", n=N)) == f"cells {2 * N} 0"


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 5])
def test_a_full_disk_under_the_cache_changes_no_batch(library, tmp_path, n) -> None:
    path = make(tmp_path / "x.h5ad", n=N, compression="gzip")
    for _ in range(2):  # the second process finds what the first one left
        said = read(library, f"enospc@{n}", path, tmp_path / "cache")
        assert said == f"cells {2 * N} 0"


def replace_file(path):
    make(path.with_suffix(".new"), start=1000, n=N)
    path.with_suffix(".new").replace(path)


def rewrite(path):
    with h5py.File(path, "r+") as file:
        file["X/data"][...] = 77.0


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "removed": lambda path: path.unlink(),
    "replaced": replace_file,
    "rewritten": rewrite,
    "a_folder": lambda path: (path.unlink(), path.mkdir()),
    "a_pipe": replace_by_pipe,
    "unreadable": lambda path: path.chmod(0),
}


@pytest.mark.parametrize("compression", [None, "gzip"], ids=["plain", "gzip"])
@pytest.mark.parametrize("change", CHANGES)
def test_files_that_change_in_the_middle_of_an_epoch(
    tmp_path, change, compression
) -> None:
    path = make(tmp_path / "x.h5ad", n=N, compression=compression)
    source = scd.open(path, obs=True)
    assert ids(source)[:3] == [1, 2, 3]
    loader = scd.Loader(source, scd.BlockShuffling(2), batch_size=8, fetch_factor=2)
    batches, n_read = iter(loader), 0
    error = None
    try:
        for batch in batches:
            first = batch["X"][:, 0]
            values = first.toarray() if sp.issparse(first) else first
            assert np.array_equal(values.reshape(-1) - 1, batch["index"])
            n_read += 1
            if n_read == 3:
                CHANGES[change](path)
    except OSError as raised:
        error = raised
    assert n_read >= 3
    if change == "unreadable":  # who has it open may go on, and root may do anything
        assert error is None or isinstance(error, PermissionError)
        return
    if error is None:  # on POSIX, an open file that lost its name is still the same
        assert change in ("removed", "replaced", "a_folder", "a_pipe")
        assert n_read == N // 8
    else:
        assert isinstance(error, FileChangedError)
        assert "x.h5ad" in str(error)
