"""Reads through io_uring: the bytes that ``preadv`` gives, when they are over."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from scdataset_core.storage import ReadContext
from scdataset_core.storage.io.io_uring import N_ENTRIES, Ring, is_available
from tests.storage.oracle import check, stored, values

needs_rings = pytest.mark.skipif(not is_available(), reason="no io_uring here")


@pytest.fixture
def file(tmp_path):
    data = np.random.default_rng(0).integers(0, 256, 100_000, np.uint8)
    data.tofile(tmp_path / "bytes")
    fd = os.open(tmp_path / "bytes", os.O_RDONLY)
    yield fd, data
    os.close(fd)


def scattered(position, sizes, n_parts):
    """Return targets for reads of `sizes`, and tables of `n_parts` places each."""
    targets = [np.zeros(size, np.uint8) for size in sizes]
    table = np.zeros((len(position), n_parts, 2), np.uint64)
    for row, target in zip(table, targets, strict=True):
        parts = np.array_split(target, n_parts)
        row[:, 0] = [part.ctypes.data for part in parts]
        row[:, 1] = [len(part) for part in parts]
    return targets, table


def run(ring, fds, position, table):
    address = table.ctypes.data + table[0].nbytes * np.arange(len(table))
    count = np.full(len(table), table.shape[1])
    return ring.read(np.array(fds), np.array(position), address, count).tolist()


@needs_rings
@pytest.mark.parametrize("n", [1, N_ENTRIES, 2 * N_ENTRIES + 7])
def test_every_place_gets_its_bytes(file, n):
    fd, data = file
    rng = np.random.default_rng(n)
    ring = Ring()
    for _ in range(3):  # the queues come round
        position = rng.integers(0, 90_000, n)
        sizes = rng.integers(1, 5000, n)
        targets, table = scattered(position, sizes, 3)
        assert run(ring, [fd] * n, position, table) == sizes.tolist()
        for start, target in zip(position, targets, strict=True):
            assert np.array_equal(target, data[start : start + len(target)])


@needs_rings
def test_short_and_refused_reads_are_told(file):
    fd, data = file
    refused = os.open("/", os.O_RDONLY)
    position = [0, len(data) - 5, 10 * len(data), 0]
    targets, table = scattered(position, [10] * 4, 1)
    ring = Ring()
    done = run(ring, [fd, fd, fd, refused], position, table)
    assert done == [10, 5, 0, -errno.EISDIR]
    assert np.array_equal(targets[1][:5], data[-5:])
    os.close(refused)
    assert run(ring, [fd] * 4, [1] * 4, table) == [10] * 4


@needs_rings
def test_what_the_system_does_not_begin_is_taken_back(file):
    fd, data = file
    position = [0, 100, 200]
    targets, table = scattered(position, [10] * 3, 1)
    ring = Ring()
    ring._fd, kept = fd, ring._fd  # no ring: every call is refused
    assert run(ring, [fd] * 3, position, table) == [0, 0, 0]
    ring._fd = kept
    assert run(ring, [fd] * 3, position, table) == [10, 10, 10]
    assert np.array_equal(targets[2], data[200:210])


@needs_rings
def test_threads_have_rings_of_their_own_and_the_main_thread_has_none():
    with ReadContext(2) as context, ThreadPoolExecutor(2) as pool:
        barrier = threading.Barrier(2)

        def mine(_):
            ring = context.ring
            assert ring is context.ring
            barrier.wait(60)  # each on a thread of its own
            return ring

        first, second = pool.map(mine, range(2))
        assert first is not None
        assert second is not None
        assert first is not second
        assert context.ring is None
    with ReadContext(2, reader="libc") as context, ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: context.ring).result() is None
        assert context.callers == 1


def test_reading_works_where_the_system_gives_no_ring(tmp_path, monkeypatch):
    plain = values(5000, "f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("plain", data=plain, chunks=(100,))
        file.create_dataset("gzip", data=plain, chunks=(100,), compression="gzip")

    def refused():
        raise OSError(errno.EPERM, "not permitted")

    def read(name):
        ranges = [(10, 2000), (2000, 2001), (4000, 5000)]
        check(stored(tmp_path / "x.h5", name), plain, ranges, context=context)

    monkeypatch.setattr("scdataset_core.storage.io.io_uring.Ring", refused)
    for name in ("plain", "gzip"):
        with ReadContext(2) as context, ThreadPoolExecutor(1) as pool:
            pool.submit(read, name).result()
            assert pool.submit(getattr, context, "ring").result() is None
