"""Few reads are done one by one, and many by io_uring; both give the same bytes."""

import errno
import gc
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from scdataset_core.errors import FileChangedError
from scdataset_core.storage import ReadContext, Request, read_requests
from scdataset_core.storage.cache import Cache
from scdataset_core.storage.cache.filling import attach_cache, fill_caches
from scdataset_core.storage.io.byte_sources import ShortReadError
from scdataset_core.storage.io.io_uring import Ring, is_available
from scdataset_core.storage.reading import merged_reads
from scdataset_core.storage.reading.merged_reads import FEW_READS, error_of_read
from tests.storage.oracle import check, stored, values


@pytest.mark.skipif(not is_available(), reason="no io_uring here")
@pytest.mark.parametrize(
    ("n_reads", "n_calls"),
    [
        pytest.param(1, 0, id="one"),
        pytest.param(FEW_READS, 0, id="few"),
        pytest.param(FEW_READS + 1, 1, id="more"),
        pytest.param(3 * FEW_READS, 1, id="many"),
    ],
)
def test_a_ring_is_used_where_there_is_enough_to_read(
    tmp_path, monkeypatch, n_reads, n_calls
):
    plain = values(100_000, "i4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(1000,))
    array = stored(tmp_path / "x.h5")
    done = []
    read = Ring.read

    def count(ring, fd, position, address, n_rows):
        done.append(len(position))
        return read(ring, fd, position, address, n_rows)

    monkeypatch.setattr(Ring, "read", count)
    ranges = [(start, start + 100) for start in range(0, 1000 * n_reads, 1000)]
    with ReadContext(1) as context, ThreadPoolExecutor(1) as pool:
        pool.submit(check, array, plain, ranges, context=context).result()
    assert done == [n_reads] * n_calls


def test_a_read_that_fails_in_a_changed_file_says_that_it_changed(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.arange(100)
    array = stored(tmp_path / "x.h5")
    assert array.table is not None
    failed = OSError(errno.EIO, "Input/output error")
    assert type(error_of_read(array, 0, failed)) is OSError
    assert error_of_read(array, 0, failed).errno == errno.EIO
    os.truncate(tmp_path / "x.h5", 50)
    for error in (failed, ShortReadError(50)):
        assert isinstance(error_of_read(array, 0, error), FileChangedError)


@pytest.mark.parametrize("cached", [False, True])
def test_reads_that_go_on_after_an_interrupt_keep_the_memory_they_go_to(
    tmp_path, monkeypatch, cached
) -> None:
    plain = np.random.default_rng(0).normal(size=1000).astype("f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        layout = {"compression": 1} if cached else {}
        file.create_dataset("x", data=plain, chunks=(100,), **layout)
    array = stored(tmp_path / "x.h5")
    left: list[Callable[[], None]] = []

    def interrupted(context, tasks):
        left.extend(tasks)
        raise KeyboardInterrupt("now")

    with ReadContext(1) as context:
        if cached:
            attach_cache([array], Cache(tmp_path / "cache"))
            fill_caches([array], None, 1)
            read_all(array, np.empty(1000, "f4"), context)  # checks what is kept
        target = np.empty(1000, "f4")
        alive = weakref.ref(target)
        with monkeypatch.context() as patch:
            patch.setattr(ReadContext, "run", interrupted)
            with pytest.raises(KeyboardInterrupt, match="now"):
                read_all(array, target, context)
        del target
        gc.collect()
        assert alive() is not None
        for task in left:
            task()
        np.testing.assert_array_equal(alive(), plain)


def read_all(array, target, context) -> None:
    zero = np.zeros(1, np.int64)
    request = Request(array, zero, zero + len(target), [target], zero, zero)
    read_requests([request], context)


def test_a_read_waits_for_no_other_that_looks_what_is_in_memory(tmp_path, monkeypatch):
    """In a process that is forked then, that other thread never ends."""
    plain = values(1000, "i4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain)
    array = stored(tmp_path / "x.h5")
    together = threading.Barrier(2, timeout=10)

    def look(ranges, context):
        together.wait()  # passes only if two threads do it at a time
        return []

    monkeypatch.setattr(merged_reads, "advice_tasks", look)
    with ReadContext(2, callers=2) as context, ThreadPoolExecutor(2) as pool:
        reads = [
            pool.submit(check, array, plain, [(5, 900)], context=context)
            for _ in range(2)
        ]
        for read in reads:
            read.result(60)
