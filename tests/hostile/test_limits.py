"""Small files that claim to be huge, and processes with little of everything."""

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.errors import CorruptFileError, FileFormatError
from scdataset_core.storage.formats.hdf5_files import counts_user_block
from tests.hostile.small_files import N_CELLS, SMALL_FILES, write_small
from tests.sources.small_h5ad import make

pytestmark = pytest.mark.hostile

TEXT = h5py.string_dtype()
PACKAGES = {
    "zarr 2": ["zarr"],
    "zarr 3": ["zarr"],
    "zarr shards": ["zarr"],
    "triples": ["pyarrow"],
    "scdl": ["pyarrow"],
    "hugging face": ["datasets"],
    "soma": ["tiledbsoma"],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a function that gives the folder of a small file, written once."""
    folder = tmp_path_factory.mktemp("written")
    return cache(lambda name: write_small(name, folder))


@pytest.fixture
def copied(tmp_path, written):
    """Return a function that gives a copy of a small file."""

    def copy(name):
        for package in PACKAGES.get(name, ()):
            pytest.importorskip(package)
        own = SMALL_FILES[name].name
        return shutil.copytree(written(name), tmp_path / "copied") / own

    return copy


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
        ("zarr 2", "obs/_index/0"),
        ("zarr 3", "X/data/zarr.json"),
        ("zarr 3", "X/data/c/0"),
        ("zarr 3", "obs/_index/c/0"),
        ("zarr shards", "X/data/c/0"),
        ("triples", "cells.parquet"),
        ("scdl", "var_features/cumulative_sum_index.npy"),
        ("scdl", "var_features/dataframe_0.parquet"),
        ("scdl", "row_ptr.npy"),
        pytest.param("hugging face", "*.arrow", marks=pytest.mark.slow),
        pytest.param("soma", "obs/__schema/*", marks=pytest.mark.slow),
        pytest.param(
            "soma", "ms/RNA/X/data/__fragments/*/a0.tdb", marks=pytest.mark.slow
        ),
    ],
)
def test_pipes_in_folders_hold_nobody_up(copied, name, inside) -> None:
    place = copied(name)
    (path, *_) = sorted(place.glob(inside))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FileFormatError, match=r"a pipe, a socket|no plain file"):
        scd.open(place, **SMALL_FILES[name].options).read(np.arange(5))


def test_a_column_with_a_pipe_is_left_out(copied) -> None:
    place = copied("zarr 2")
    labels = place / "obs/line/categories/0"
    labels.unlink()
    os.mkfifo(labels)
    with pytest.warns(UserWarning, match='"line": .*a pipe, a socket or a device'):
        source = scd.open(place, obs=True)
    assert source.obs_columns == ("number", "text", "dose")


def test_pipes_outside_of_what_is_opened_hold_nobody_up(tmp_path) -> None:
    path = make(tmp_path / "x.h5ad")
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink("pipe", "/X")
    for options in ({}, {"allow_external": True}):
        with pytest.raises(FileFormatError, match=r"a pipe, a socket|allow_external"):
            scd.open(path, **options)
    source = scd.open(make(tmp_path / "y.h5ad"))
    for read in (lambda name: scd.load_split(name, source), scd.Index.load):
        with pytest.raises(FileFormatError, match="a pipe, a socket or a device"):
            read(tmp_path / "pipe")


def test_links_that_lead_round_a_folder_hold_nobody_up(tmp_path, copied) -> None:
    place = copied("scdl")
    for name in ("one", "two"):
        (place / name).symlink_to(place)
    (place / "nowhere").symlink_to(place / "missing")
    assert len(scd.open(place)) == N_CELLS
    os.mkfifo(tmp_path / "pipe")
    (place / "three").symlink_to(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="a pipe, a socket or a device"):
        scd.open(place)


@pytest.mark.parametrize(("part", "size"), [("shape", 2**63), ("chunks", 10**12)])
def test_sizes_of_zarr_that_none_can_have(copied, part, size) -> None:
    place = copied("zarr 2")
    array = place / ("obs/_index" if part == "shape" else "X/data") / ".zarray"
    array.write_text(json.dumps(json.loads(array.read_text()) | {part: [size]}))
    with pytest.raises(FileFormatError, match=r"can have|chunks of"):
        scd.open(place)


@contextmanager
def little_memory(most):
    """Check that no more memory is held for a moment than before, but for so much."""
    Path("/proc/self/clear_refs").write_text("5")
    before = held()
    yield
    assert held() - before < most


def held():
    """Return the most memory that was held since the peak was last forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def lengthen(path, text):
    """Have each reference to a text of a file claim that it is very long."""
    data = bytearray(path.read_bytes())
    found = 0
    for at in range(0, len(data) - 16, 4):
        length, address, number = struct.unpack_from("<IQI", data, at)
        is_heap = data[address : address + 4] == b"GCOL" and 0 < number < 1 << 16
        if length == len(text) and is_heap and text in data[address:]:
            struct.pack_into("<I", data, at, 2**31 + 8)
            found += 1
    path.write_bytes(data)
    assert found


@pytest.mark.skipif(sys.platform != "linux", reason="looks at memory in /proc")
@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("a long name of a gene", {}),
        ("a long name of a gene", {"libver": "latest"}),
        ("a long name of a cell", {}),
        ("a long name of a cell", {"libver": "latest"}),
        ("a long label", {}),
        ("a long label", {"libver": "latest"}),
        ("csr_matrix", {}),
    ],
)
def test_texts_that_claim_to_be_longer_than_their_file(tmp_path, text, layout) -> None:
    old, path = make(tmp_path / "x.h5ad"), tmp_path / "y.h5ad"
    with h5py.File(old) as file, h5py.File(path, "w", **layout) as new:
        for name in file:
            file.copy(name, new)
        new.attrs.update(file.attrs)
        for name, at in (("var", "gene"), ("obs", "cell")):
            new[f"{name}/_index"][1] = f"a long name of a {at}"
        new["obs/line/categories"][1] = "a long label"
    lengthen(path, text.encode())
    with little_memory(200 << 20), pytest.raises(FileFormatError, match="claims 2,147"):
        list(scd.open(path, obs=["line"], obs_names=True).read(np.arange(30)).names)
