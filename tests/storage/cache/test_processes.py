"""Workers, ranks, threads and pickled copies share a cache; all end in order."""

import gc
import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.storage.cache import process as processes
from scdataset_core.storage.cache import writing
from scdataset_core.storage.io import open_files
from scdataset_core.storage.io.fork_safe_lock import first_use_lock
from tests.storage.cache.plates import (
    add,
    digest,
    files_of,
    finish,
    in_fork,
    loader_of,
    read_without_warnings,
    start,
    write_plate,
)

pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plates")
    return [write_plate(folder / f"plate{i}.h5ad", i) for i in range(2)]


@pytest.fixture(scope="module")
def expected(plates):
    return [digest(scd.open(plates), epoch) for epoch in range(3)]


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)  # leaves the processor to what is waited for
    return condition()


@pytest.mark.parametrize(
    ("method", "used_before"),
    [
        ("fork", True),
        pytest.param("fork", False, marks=pytest.mark.slow),
        pytest.param("spawn", True, marks=pytest.mark.slow),
        pytest.param("forkserver", True, marks=pytest.mark.slow),
    ],
)
def test_processes_that_are_started_in_any_way_share_a_cache(
    plates, expected, tmp_path, method, used_before
):
    source = scd.open(plates, cache=tmp_path / "cache")
    if used_before:
        source.read(np.arange(0, 600, 50))
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        found = [pool.apply_async(read_without_warnings, (source,)) for _ in range(2)]
        assert [each.get(200) for each in found] == [expected] * 2
        pool.close()
        pool.join()
    assert source.cached > 0
    assert digest(source) == expected[0]


@pytest.mark.slow
def test_a_process_that_forks_while_it_writes_gives_right_batches(
    plates, expected, tmp_path
):
    source = scd.open(plates, cache=tmp_path / "cache")
    for number, _ in enumerate(loader_of(source, 1)):
        if number % 10 == 3:
            assert in_fork(read_without_warnings, source) == expected
    assert read_without_warnings(source) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_process_needs_no_lock_that_its_parents_threads_hold(
    plates, expected, tmp_path
):
    source = scd.open(plates, cache=tmp_path / "cache")
    source.read(np.arange(0, 600, 50))
    locks: list[Any] = [first_use_lock(), open_files._lock, processes._lock]
    for process in list(processes._processes.values()):
        locks += [process.lock, process.writer.lock, process.writer._changed]
    held, done = threading.Event(), threading.Event()

    def hold():
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    try:
        assert in_fork(read_without_warnings, source) == expected
    finally:
        done.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, True), (2, False)])
def test_workers_of_pytorch_share_a_cache(plates, tmp_path, workers, persistent):
    scdataset_torch = pytest.importorskip("scdataset_torch")
    from torch.utils.data import DataLoader

    def batches(source):
        loader = DataLoader(
            scdataset_torch.LoaderDataset(loader_of(source)),
            batch_size=None,
            num_workers=workers,
            persistent_workers=persistent,
            multiprocessing_context="fork" if workers else None,
        )
        return [batch for _ in range(2) for batch in loader]

    plain = batches(scd.open(plates))
    source = scd.open(plates, cache=tmp_path / "cache")
    for got, want in zip(batches(source), plain, strict=True):
        np.testing.assert_array_equal(got["index"], want["index"])
        assert (got["X"] != want["X"]).nnz == 0
        assert got["X"].dtype == want["X"].dtype
    assert wait_for(lambda: source.cached == 1)  # workers may be writing still


@pytest.mark.slow
def test_ranks_share_a_cache(plates, tmp_path):
    def read_rank(source, rank):
        loader = loader_of(source).shard(rank=rank, world_size=3)
        return [pickle.dumps(batch) for batch in loader]

    source = scd.open(plates, cache=tmp_path / "cache")
    for rank in range(3):
        plain = read_rank(scd.open(plates), rank)
        assert in_fork(read_rank, source, rank) == plain


def test_threads_share_a_source_and_a_cache(plates, expected, tmp_path):
    source = scd.open(plates, cache=tmp_path / "cache")
    stop = threading.Event()

    def clear():
        while not stop.wait(0.01):
            scd.Cache(tmp_path / "cache").clear()

    clearing = threading.Thread(target=clear)
    try:
        with ThreadPoolExecutor(4) as pool:
            for number in range(2):
                found = [pool.submit(digest, source, epoch) for epoch in (0, 1, 2, 0)]
                assert [each.result(200) for each in found] == [*expected, expected[0]]
                if not number:  # once more while the cache is cleared over and over
                    clearing.start()
    finally:
        stop.set()
    clearing.join()


def test_loaders_that_are_abandoned_leave_no_thread_and_no_descriptor(
    plates, tmp_path, monkeypatch
):
    monkeypatch.setattr(writing, "IDLE_S", 0.01)
    source = scd.open(plates, cache=tmp_path / "cache")
    source.read(np.arange(3))  # begins the file that says what is used

    def threads():
        return [each.name for each in threading.enumerate() if "scd" in each.name]

    def count_descriptors():
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    assert wait_for(lambda: not threads())
    before = count_descriptors()
    for epoch in range(5):
        batches = iter(loader_of(source, epoch))
        next(batches)
        del batches
    assert wait_for(lambda: not threads())
    assert wait_for(lambda: count_descriptors() <= before)


ENDING = """
import sys, warnings
warnings.simplefilter("error")
import scdataset_core as scd
from scdataset_core.storage.cache import writing
from tests.storage.cache.plates import digest, loader_of
*plates, folder = sys.argv[1:]
source = scd.open(plates, cache=folder)
batches = iter(loader_of(source, read_ahead=2))
for _ in range({}):
    next(batches)
{}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "end"), [(3, ""), (30, "digest(source)"), (9, "sys.exit()")]
)
def test_a_program_ends_while_chunks_are_written(plates, tmp_path, n, end):
    script = ENDING.format(n, end)
    _, err = finish(start(script, *plates, tmp_path / "cache"))
    assert err == ""
    # What was decoded was kept, and no trace of the process is left.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = scd.open(plates, cache=tmp_path / "cache")
        assert source.cached > 0
        assert digest(source) == digest(scd.open(plates))
    assert len(list((tmp_path / "cache" / "users").iterdir())) == 1


INTERRUPTED = """
import os, signal, sys, threading
import scdataset_core as scd
from scdataset_core.storage.cache import writing
*plates, folder = sys.argv[1:]
source = scd.open(plates, cache=folder)
def interrupt(done, total):
    if done < total:
        os.kill(os.getpid(), signal.SIGINT)
try:
    source.fill_cache(progress=interrupt, threads=2)
except KeyboardInterrupt:
    threads = [t.name for t in threading.enumerate() if t.name != "MainThread"]
    print(source.cached, len(threads))
"""


@pytest.mark.slow
def test_filling_is_interrupted_and_goes_on(tmp_path):
    plate = write_plate(tmp_path / "plate.h5ad", n_cells=9000, n_genes=300, chunk=64)
    said, err = finish(start(INTERRUPTED, plate, tmp_path / "cache"))
    share, n_threads = said.split()
    assert 0 < float(share) < 1
    assert n_threads == "0"
    assert err == ""
    source = scd.open(plate, cache=tmp_path / "cache")
    told = []
    assert source.fill_cache(progress=lambda *now: told.append(now)) == 1.0
    assert told[-1][0] == told[-1][1] < 9000 * 30 * 8


MANY = """
import resource, sys, warnings
warnings.simplefilter("error")
import scdataset_core as scd
from scdataset_core.storage.cache import writing
from tests.storage.cache.plates import digest
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
*plates, folder, n = sys.argv[1:]
plates = plates * int(n)
plain = digest(scd.open(plates))
source = scd.open(plates, cache=folder)
for _ in range(2):
    assert digest(source) == plain
source.fill_cache()
assert digest(source) == plain
print(source.cached)
"""


@pytest.mark.slow
@pytest.mark.parametrize("n_files", [300])  # 1,000 were tried too
def test_many_files_need_few_descriptors(tmp_path, n_files):
    (tmp_path / "plates").mkdir()
    first = write_plate(tmp_path / "plates" / "0.h5ad", n_cells=6)
    names = [first]
    for number in range(1, n_files):
        names.append(first.with_name(f"{number}.h5ad"))
        names[-1].write_bytes(first.read_bytes())
    share, err = finish(start(MANY, *names, tmp_path / "cache", 1))
    assert share == "1.0"
    assert err == ""


def test_one_warning_is_given_by_many_threads_and_as_an_error_it_stops_nothing_else(
    plates, expected, tmp_path
):
    scd.open(plates, cache=tmp_path / "cache").fill_cache()
    for path in files_of(tmp_path / "cache", ".data1"):
        data = bytearray(path.read_bytes())
        data[::50] = bytes(len(data[::50]))
        path.write_bytes(data)
    source = scd.open(plates, cache=tmp_path / "cache")
    with ThreadPoolExecutor(4) as pool, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [pool.submit(digest, source, epoch) for epoch in (0, 1, 2, 0)]
        assert [each.result(200) for each in found] == [*expected, expected[0]]
    assert len(caught) <= 1


def read_with_errors(plates, folder, expected):
    """Return what was raised, and whether the batches were right afterwards."""
    warnings.simplefilter("error")
    source = scd.open(plates, cache=folder)
    raised = []
    for _ in range(3):
        try:
            right = digest(source) == expected
        except RuntimeWarning as warning:
            raised.append(str(warning))
    return raised, right


def test_a_warning_that_is_raised_leaves_everything_in_order(
    plates, expected, tmp_path
):
    scd.open(plates, cache=tmp_path / "cache").fill_cache()
    for path in files_of(tmp_path / "cache", ".data1"):
        path.write_bytes(bytes(path.stat().st_size))
    arguments = plates, tmp_path / "cache", expected[0]
    raised, right = in_fork(read_with_errors, *arguments)
    assert len(raised) == 1
    assert "is not what was kept" in raised[0]
    assert right


@pytest.mark.slow
def test_every_process_warns_for_itself(plates, tmp_path):
    scd.open(plates, cache=tmp_path / "cache").fill_cache()
    for path in files_of(tmp_path / "cache", ".data1"):
        path.write_bytes(bytes(path.stat().st_size))
    source = scd.open(plates, cache=tmp_path / "cache")
    source.read(np.arange(0))

    def count():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            digest(source)
        return len(caught)

    assert [in_fork(count), in_fork(count)] == [1, 0]  # the first one mended it


@pytest.mark.filterwarnings("ignore:.*is not what was kept")
def test_batches_of_dense_arrays_in_columns_are_the_same(tmp_path):
    import hashlib

    import anndata as ad
    import h5py

    plain = np.random.default_rng(0).integers(0, 900, (120, 40)).astype("f4")
    path = tmp_path / "dense.h5ad"
    ad.AnnData(plain).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        X = file.create_dataset("X", data=plain, chunks=(16, 16), compression=1)
        X.attrs.update(attributes)
    source = scd.open(path, cache=tmp_path / "cache")
    for epoch in range(3):
        found, expected = hashlib.sha256(), hashlib.sha256()
        for batch in loader_of(source, epoch):
            add(found, batch)
            add(expected, {"X": plain[batch["index"]], "index": batch["index"]})
        assert found.hexdigest() == expected.hexdigest()
        for file in files_of(tmp_path / "cache", ".data"):
            data = bytearray(file.read_bytes())
            data[::50] = bytes(len(data[::50]))
            with file.open("r+b") as opened:
                opened.write(data)


def test_children_that_are_ended_leave_no_user_behind(plates, tmp_path):
    source = scd.open(plates, cache=tmp_path / "cache")
    source.fill_cache()
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def use():
        digest(source)
        ready.set()
        signal.pause()

    child = context.Process(target=use)
    child.start()
    assert ready.wait(120)
    users = tmp_path / "cache" / "users"
    assert len(list(users.iterdir())) == 2
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    scd.Cache(tmp_path / "cache").entries()
    assert len(list(users.iterdir())) == 1
