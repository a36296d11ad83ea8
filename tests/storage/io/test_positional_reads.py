"""Every way of reading gives the same bytes."""

import ctypes
import errno
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from scdataset_core.storage import ReadContext
from scdataset_core.storage.io.byte_sources import (
    Destinations,
    Location,
    ShortReadError,
    read_fully,
)
from scdataset_core.storage.io.open_files import OpenFile, OpenSources
from scdataset_core.storage.io.positional_reads import (
    LibcReader,
    choose_reader,
    keep_within,
)
from tests.storage.oracle import check, stored, values

READERS = ["libc", "preadv", "pread", "seek"]


def reader(name: str):
    try:
        return choose_reader(name)
    except ValueError:
        pytest.skip(f"{name} is not available here")


def parts_of(buffer: np.ndarray, ranges: list[tuple[int, int]]) -> Destinations:
    base = buffer.ctypes.data
    return Destinations(np.array([(base + a, b - a) for a, b in ranges], np.uint64))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "bytes"
    path.write_bytes(np.random.default_rng(0).bytes(10_000))
    return OpenFile(str(path))


@pytest.mark.parametrize("name", READERS)
def test_places_are_filled_one_after_another(name, file) -> None:
    file = OpenFile(file.path, reader(name))
    buffer = np.zeros(1000, np.uint8)
    destinations = parts_of(buffer, [(900, 1000), (0, 0), (10, 20), (100, 400)])
    read_fully(file, 50, destinations, 0, 4, 410)
    plain = np.fromfile(file.path, np.uint8)
    np.testing.assert_array_equal(buffer[900:], plain[50:150])
    np.testing.assert_array_equal(buffer[10:20], plain[150:160])
    np.testing.assert_array_equal(buffer[100:400], plain[160:460])
    assert not buffer[400:900].any()


@pytest.mark.parametrize("name", READERS)
def test_the_end_of_the_file_is_an_error(name, file) -> None:
    buffer = np.zeros(1000, np.uint8)
    destinations = parts_of(buffer, [(0, 10), (10, 1000)])
    with pytest.raises(ShortReadError, match="ends at byte 10000"):
        read_fully(OpenFile(file.path, reader(name)), 9500, destinations, 0, 2, 1000)


@pytest.mark.parametrize("most", [1, 3, 100, 409])
def test_short_reads_are_continued(file, most) -> None:
    def short(file, position, destinations, first, count):
        """Read at most a few bytes, as a system may."""
        data = os.pread(file.descriptor, most, position)
        for address, size in destinations.table[first : first + count].tolist():
            n = min(size, len(data))
            ctypes.memmove(address, data, n)
            data = data[n:]
        return min(most, int(destinations.table[first : first + count, 1].sum()))

    buffer = np.zeros(1000, np.uint8)
    destinations = parts_of(buffer, [(0, 1), (900, 1000), (5, 5), (10, 20), (100, 400)])
    read_fully(OpenFile(file.path, short), 50, destinations, 1, 4, 410)
    plain = np.fromfile(file.path, np.uint8)
    np.testing.assert_array_equal(buffer[900:], plain[50:150])
    np.testing.assert_array_equal(buffer[10:20], plain[150:160])
    np.testing.assert_array_equal(buffer[100:400], plain[160:460])
    assert buffer[0] == 0


def read_alike(folder, *, compression=None, reader=None) -> None:
    plain = values(20_000, "i4")
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(999,), compression=compression)
    ranges = [(i, i + 7) for i in range(0, 19_000, 7)] + [(19_500, 20_000)] * 2
    with ReadContext(2, reader=reader) as context:
        check(stored(folder / "x.h5"), plain, ranges, context=context)
        columns = np.array([0])
        with h5py.File(folder / "y.h5", "w") as file:
            file.create_dataset("x", data=plain.reshape(-1, 4), compression=compression)
        check(
            stored(folder / "y.h5"),
            plain.reshape(-1, 4),
            [(0, 9), (7, 5000)],
            context=context,
            columns=columns,
        )


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_arrays_are_read_alike(name, tmp_path, compression) -> None:
    reader(name)
    read_alike(tmp_path, compression=compression, reader=name)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_threads_besides_the_main_one_read_alike(tmp_path, compression) -> None:
    """By io_uring, where the system has it."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(read_alike, tmp_path, compression=compression).result()


def test_a_failing_system_call_names_file_and_chunk(tmp_path, monkeypatch) -> None:
    for compression in (None, "gzip"):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("x", data=values(99, "f4"), compression=compression)

        def fails(*args):
            raise OSError(5, "Input/output error")

        with ReadContext(1) as context:
            monkeypatch.setattr(context.sources, "reader", fails)
            with pytest.raises(OSError, match=r"x\.h5: data set /x, .*Input/output"):
                stored(tmp_path / "x.h5").read(context=context)


def test_bad_file_descriptors_are_errors(file) -> None:
    buffer = np.zeros(10, np.uint8)
    os.close(file.descriptor)
    file.descriptor, fd = 2**30, file.descriptor
    for name in ("libc", "preadv", "pread"):
        with pytest.raises(OSError, match="Bad file descriptor"):
            reader(name)(file, 0, parts_of(buffer, [(0, 10)]), 0, 1)
    file.descriptor = -1
    assert fd >= 0


def test_an_unknown_reader_is_refused() -> None:
    with pytest.raises(ValueError, match=r'has the readers .*seek, got "mmap"'):
        choose_reader("mmap")


def test_only_so_many_files_stay_open(tmp_path) -> None:
    files = OpenSources(most=2)
    opened = []
    for number in range(4):
        path = tmp_path / str(number)
        path.write_bytes(b"cells")
        opened.append(files.get(Location(str(path))))
    assert files.get(Location(str(tmp_path / "3"))) is opened[3]
    assert files.get(Location(str(tmp_path / "0"))) is not opened[0]
    fds = [file.descriptor for file in opened]
    # A file that something still reads is open, though it was dropped.
    assert [os.pread(fd, 5, 0) for fd in fds] == [b"cells"] * 4
    files.close()
    del opened
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pread(fd, 5, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="calls C's preadv")
def test_any_number_of_interrupts_is_no_error(tmp_path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    reader, calls = LibcReader(), []
    preadv = reader._preadv

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) < 5000:
            ctypes.set_errno(errno.EINTR)
            return -1
        return preadv(*arguments)

    reader._preadv = interrupted
    out = np.zeros(3, np.uint8)
    table = np.array([[out.ctypes.data, 3]], np.uint64)
    file = OpenFile(str(tmp_path / "x"), reader)
    assert reader(file, 0, Destinations(table), 0, 1) == 3
    assert bytes(out) == b"abc"


def test_reads_of_more_than_a_system_takes_are_cut(file) -> None:
    """As on macOS, whose preadv refuses more than 2**31 - 1 bytes."""
    calls = []

    def refuses(file, position, destinations, first, count):
        n_bytes = int(destinations.table[first : first + count, 1].sum())
        assert n_bytes <= 64
        calls.append(n_bytes)
        return reader("seek")(file, position, destinations, first, count)

    file = OpenFile(file.path, keep_within(refuses, 64))
    buffer = np.zeros(1000, np.uint8)
    plain = np.fromfile(file.path, np.uint8)
    read_fully(file, 7, parts_of(buffer, [(0, 600), (600, 1000)]), 0, 2, 1000)
    np.testing.assert_array_equal(buffer, plain[7:1007])
    read_fully(file, 9, parts_of(buffer, [(0, 64)]), 0, 1, 64)
    np.testing.assert_array_equal(buffer[:64], plain[9:73])
    assert calls == [64]
