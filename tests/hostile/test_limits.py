"""Small files that claim to be huge, and processes with little of everything."""

import json
import os
import resource
import subprocess
import sys

import h5py
import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.errors import CorruptFileError, FileFormatError
from scdataset_core.storage.formats.hdf5_files import counts_user_block
from tests.hostile.small_files import SMALL_FILES, write_small
from tests.sources.small_h5ad import make

pytestmark = pytest.mark.hostile

TEXT = h5py.string_dtype()


def claim(path, name, **kwargs):
    """Have an array of a file claim to be of another shape; nothing of it is there."""
    with h5py.File(path, "r+") as file:
        attributes = dict(file[name].attrs)
        del file[name]
        made = file.create_dataset(name, **kwargs)
        made.attrs.update(attributes)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("var/_index", {"shape": 10**8, "dtype": TEXT}),
        ("var/_index", {"shape": 10**8, "dtype": "S8"}),
        ("var/_index", {"shape": 10**8, "dtype": TEXT, "chunks": (1000,)}),
        ("obs/line/categories", {"shape": 10**10, "dtype": TEXT}),
        ("obs/line/categories", {"shape": 10**10, "dtype": "i8"}),
        ("obs/line/categories", {"shape": 10**10, "dtype": "i8", "chunks": (10**6,)}),
        ("obs/line/codes", {"shape": 10**10, "dtype": "i1"}),
        ("X/data", {"shape": 2 * 10**8, "dtype": "f4", "chunks": (1,)}),
        ("X/indptr", {"shape": 10**11, "dtype": "i8"}),
    ],
)
def test_claims_that_the_file_cannot_hold_take_no_memory(tmp_path, name, kwargs):
    path = make(tmp_path / "x.h5ad")
    claim(path, name, **kwargs)
    with h5py.File(path, "r+") as file:
        if name == "var/_index":
            file["X"].attrs["shape"] = [30, 10**8]
        if name == "X/data":
            claim_too = {**kwargs, "dtype": "i4"}
            attributes = dict(file["X/indices"].attrs)
            del file["X/indices"]
            file.create_dataset("X/indices", **claim_too).attrs.update(attributes)
            file["X/indptr"][-1] = 2 * 10**8
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        (CorruptFileError, FileFormatError),
        match=r"cannot hold|missing|has the shape|have a length|rows",
    ):
        scd.open(path, obs=["line"]).read(np.arange(30))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 << 10  # KiB


def test_dense_cells_in_chunks_of_one_are_refused(tmp_path) -> None:
    path = make(tmp_path / "x.h5ad")
    claim(path, "X", shape=(30, 8 * 10**6), dtype="f4", chunks=(1, 1))
    with pytest.raises(CorruptFileError, match="claims 240,000,000 chunks"):
        scd.open(path)


def test_chunks_that_are_far_too_large_are_refused(tmp_path) -> None:
    path = make(tmp_path / "x.h5ad")
    claim(
        path,
        "X",
        shape=(30, 8),
        maxshape=(None, 8),
        dtype="f4",
        chunks=(10**8, 8),
        compression="gzip",
    )
    with pytest.raises(FileFormatError, match=r"chunks of 3\.0 GiB"):
        scd.open(path)


def test_dense_cells_of_which_few_were_written_are_read(tmp_path) -> None:
    path = make(tmp_path / "x.h5ad")
    claim(path, "X", shape=(30, 8), dtype="f4", chunks=(1, 8), fillvalue=0)
    with h5py.File(path, "r+") as file:
        file["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        file["X"][7] = np.arange(8)
    x = scd.open(path).read(np.arange(30))["X"]
    assert x[7].tolist() == list(range(8))
    assert x.sum() == 28


def test_labels_that_do_not_fit_in_memory_are_named(tmp_path, monkeypatch) -> None:
    path = make(tmp_path / "x.h5ad")

    def none(*arguments):
        raise MemoryError

    monkeypatch.setattr("scdataset_core.sources.reopening.open_files", none)
    with pytest.raises(MemoryError, match=r"x\.h5ad: .* does not fit in memory"):
        scd.open(path)


READ = """
import os, resource, sys
import numpy as np, h5py, scipy.sparse
import scdataset_core as scd
n_files, n_held = int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, n_files))
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(n_held)]
try:
    source = scd.open(sys.argv[1], obs=True, obs_names=True)
    loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=8)
    print(sum(int(batch["index"].sum()) for batch in loader))
except OSError as error:
    print(error.errno, error)
"""


def run(code, *arguments, options=()):
    return subprocess.run(
        [sys.executable, *options, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_few_files_are_never_called_damage(tmp_path) -> None:
    path = make(tmp_path / "x.h5ad")
    outcomes = set()
    for n_held in (0, 18, *range(22, 29)):
        said = run(READ, path, 32, n_held).stdout.strip()
        assert "damaged" not in said
        assert said == "435" or "Too many open files" in said
        outcomes.add(said == "435")
    assert outcomes == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize("options", [("-X", "dev", "-W", "error"), ("-O",), ("-OO",)])
def test_other_ways_to_run_python(tmp_path, options) -> None:
    done = run(READ, make(tmp_path / "x.h5ad"), 1024, 0, options=options)
    assert done.stdout.strip() == "435", done.stderr
    assert not done.stderr


LITTLE = """
import resource, sys
import numpy as np, h5py, scipy.sparse
import scdataset_core as scd
which = getattr(resource, sys.argv[2])
source = scd.open(sys.argv[1], obs=True)
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
size = int(sys.argv[3]) + (now if which == resource.RLIMIT_AS else 0)
resource.setrlimit(which, (size, size))
try:
    loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=8)
    print(sum(int(batch["index"].sum()) for batch in loader))
except (MemoryError, RuntimeError, OSError) as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "size"),
    [
        ("RLIMIT_MEMLOCK", 0),
        ("RLIMIT_MEMLOCK", 65536),
        ("RLIMIT_AS", 1 << 20),
        ("RLIMIT_AS", 16 << 20),
        ("RLIMIT_AS", 256 << 20),
    ],
)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_little_memory_gives_all_cells_or_an_error(
    tmp_path, limit, size, compression
) -> None:
    path = make(tmp_path / "x.h5ad", compression=compression)
    done = run(LITTLE, path, limit, size)
    said = done.stdout.strip()
    if limit == "RLIMIT_MEMLOCK":
        assert said == "435", done.stderr
    else:
        assert said == "435" or said.startswith(
            ("MemoryError", "RuntimeError", "OSError")
        ), done.stderr


THREADLESS = """
import sys, threading
import numpy as np, h5py, scipy.sparse
import scdataset_core as scd
def start(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
source = scd.open(sys.argv[1], obs=True)
try:
    loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=8)
    print(sum(int(batch["index"].sum()) for batch in loader))
except RuntimeError as error:
    print(error)
"""


@pytest.mark.slow
def test_where_no_thread_can_be_started_it_is_said(tmp_path) -> None:
    done = run(THREADLESS, make(tmp_path / "x.h5ad"))
    assert "can't start new thread" in done.stdout or done.stdout.strip() == "435"
    assert not done.stderr


def test_the_user_block_is_known_without_a_folder_to_write_to(monkeypatch) -> None:
    counts_user_block.cache_clear()
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert counts_user_block() in [(a, b) for a in (True, False) for b in (True, False)]


def test_names_that_cannot_all_differ_are_not_read(tmp_path) -> None:
    path = make(tmp_path / "x.h5ad")
    n = 3_000_000
    claim(
        path,
        "var/_index",
        shape=n,
        dtype="i8",
        data=np.zeros(n, np.int64),
        chunks=(n,),
        compression="gzip",
    )
    with h5py.File(path, "r+") as file:
        file["X"].attrs["shape"] = [30, n]
    with pytest.raises(CorruptFileError, match="3,000,000 values that differ"):
        scd.open(path)


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("zarr 2", "X/.zattrs"),
        ("zarr 3", "X/data/zarr.json"),
        ("triples", "cells.parquet"),
    ],
)
def test_pipes_in_folders_hold_nobody_up(tmp_path, name, inside) -> None:
    pytest.importorskip("pyarrow" if name == "triples" else "zarr")
    place = write_small(name, tmp_path) / SMALL_FILES[name].name
    (place / inside).unlink()
    os.mkfifo(place / inside)
    with pytest.raises(FileFormatError, match="a pipe, a socket or a device"):
        scd.open(place)


@pytest.mark.parametrize(("part", "size"), [("shape", 2**63), ("chunks", 10**12)])
def test_sizes_of_zarr_that_none_can_have(tmp_path, part, size) -> None:
    pytest.importorskip("zarr")
    place = write_small("zarr 2", tmp_path) / "a.zarr"
    array = place / ("obs/_index" if part == "shape" else "X/data") / ".zarray"
    array.write_text(json.dumps(json.loads(array.read_text()) | {part: [size]}))
    with pytest.raises(FileFormatError, match=r"can have|chunks of"):
        scd.open(place)
