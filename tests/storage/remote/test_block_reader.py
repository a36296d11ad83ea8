"""An object is read as a file is, in few requests."""

import io
import threading

import h5py
import numpy as np
import pytest

from scdataset_core.storage.remote.block_reader import BLOCK_BYTES, BlockReader
from scdataset_core.storage.remote.identity import ObjectIdentity
from scdataset_core.storage.remote.object_source import ObjectSource

DATA = np.random.default_rng(0).integers(0, 256, 5 * BLOCK_BYTES + 77, np.uint8)


@pytest.fixture
def opened(request):
    asked = []

    def fetch(name, start, stop, expected):
        asked.append((start, stop))
        return DATA[start:stop].tobytes()

    identity = ObjectIdentity(len(DATA), request.node.name)
    return BlockReader(ObjectSource("mem://x", identity, fetch)), asked


def test_any_reads_give_what_a_file_gives(opened):
    reader, asked = opened
    plain = io.BytesIO(DATA.tobytes())
    rng = np.random.default_rng(1)
    for _ in range(60):
        at, n = int(rng.integers(0, len(DATA) + 10)), int(rng.integers(0, 3_000_000))
        assert reader.seek(at) == plain.seek(at)
        assert reader.read(n) == plain.read(n)
        assert reader.tell() == plain.tell()
    assert reader.seek(-5, 2) == plain.seek(-5, 2)
    assert reader.readall() == plain.read()
    assert sum(stop - start for start, stop in asked) == len(DATA)


def test_small_reads_come_by_few_requests(opened):
    reader, asked = opened
    for at in range(0, 3 * BLOCK_BYTES, 5000):
        reader.seek(at)
        reader.read(100)
    assert len(asked) <= 4


def test_hdf5_waits_for_no_other_thread(tmp_path, request):
    """That thread may collect an object of HDF5's, and wait for HDF5 to let it go."""
    path = tmp_path / "large.h5"
    values = np.arange(5 * BLOCK_BYTES, dtype=np.uint8)
    with h5py.File(path, "w") as file:
        file["values"] = values  # one piece, of which HDF5 reads all at once
    stored = path.read_bytes()

    def fetch(name, start, stop, expected):
        if threading.current_thread() is not threading.main_thread():
            raise AssertionError("HDF5 waits for another thread")
        return stored[start:stop]

    identity = ObjectIdentity(len(stored), request.node.name)
    reader = BlockReader(ObjectSource("mem://x", identity, fetch))
    with h5py.File(reader) as file:
        assert np.array_equal(file["values"][:], values)
