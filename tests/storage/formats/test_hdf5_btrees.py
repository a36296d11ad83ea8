"""Chunk tables read from the bytes are those that HDF5 lists, or there are none."""

import os
import shutil
import time

import h5py
import numpy as np
import pytest
from h5py import h5o

from scdataset_core.errors import CorruptFileError, FileChangedError
from scdataset_core.storage import StoredArray
from scdataset_core.storage.formats.hdf5_chunks import (
    DatasetShape,
    make_chunk_table,
    read_chunk_table,
)
from scdataset_core.storage.formats.hdf5_libraries import Hdf5TableMaker
from scdataset_core.storage.io.identities import Identity
from scdataset_core.storage.io.open_files import OpenFile

rng = np.random.default_rng(0)


def read_both(path, name="x"):
    """Return the table read from the bytes, and the one that HDF5 gives."""
    identity = Identity.of(str(path))
    with h5py.File(path) as file:
        dataset = file[name]
        shape = DatasetShape.of(dataset, str(path))
        address = h5o.get_info(dataset.id).addr
        expected = make_chunk_table(dataset, str(path), identity)
    read = OpenFile(str(path)).read_pieces
    return read_chunk_table(read, address, shape, identity), expected


def check_same(found, expected):
    assert found is not None
    assert np.array_equal(found.offsets, expected.offsets)
    assert np.array_equal(found.sizes, expected.sizes)
    assert found.sizes.dtype == expected.sizes.dtype
    assert (found.skipped is None) == (expected.skipped is None)
    if found.skipped is not None:
        assert np.array_equal(found.skipped, expected.skipped)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"data": rng.random(1000)}, id="one_piece"),
        pytest.param({"shape": (1000,), "dtype": "f4"}, id="piece_never_written"),
        pytest.param({"data": rng.random(1000), "chunks": (7,)}, id="two_levels"),
        pytest.param({"data": rng.random(9000), "chunks": (1,)}, id="three_levels"),
        pytest.param({"data": rng.random((90, 31)), "chunks": (4, 9)}, id="two_axes"),
        pytest.param({"data": rng.random((9, 8, 7)), "chunks": (2, 3, 4)}, id="three"),
        pytest.param(
            {"data": np.arange(5000), "chunks": (64,), "compression": "gzip"}, id="gzip"
        ),
        pytest.param({"shape": (0,), "maxshape": (None,), "dtype": "i8"}, id="empty"),
        pytest.param({"shape": (99,), "chunks": (10,), "dtype": "i2"}, id="no_chunks"),
    ],
)
def test_tables_are_those_of_hdf5(tmp_path, options):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for i in range(20):  # attributes push the layout into a continuation
            file.create_dataset(f"other{i}", data=i)
        dataset = file.create_dataset("x", **options)
        for i in range(8):
            dataset.attrs[f"note{i}"] = "text " * i
    check_same(*read_both(path))


def test_absent_chunks_and_skipped_filters_are_those_of_hdf5(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "x", (100,), "i4", chunks=(10,), compression="gzip", shuffle=True
        )
        data[40:50] = 3
        data.id.write_direct_chunk((70,), bytes(40), filter_mask=3)
    found, expected = read_both(path)
    check_same(found, expected)
    assert (found.offsets >= 0).sum() == 2


@pytest.mark.parametrize("libver", ["v108", "v110", "latest"])
def test_newer_layouts_are_left_to_hdf5(tmp_path, libver):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("x", data=np.arange(100), chunks=(10,))
    assert read_both(path)[0] is None


def test_an_array_is_read_without_hdf5(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(1000), chunks=(10,), compression="gzip")
    with h5py.File(path) as file:
        array = StoredArray.from_hdf5(file["x"])
    monkeypatch.setattr("scdataset_core.storage.formats.hdf5_libraries.open_hdf5", None)
    assert array.read(3, 700).tolist() == list(range(3, 700))


def test_a_file_that_changed_is_named(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(1000), chunks=(10,))
    with h5py.File(path) as file:
        array = StoredArray.from_hdf5(file["x"])
    os.utime(path, ns=(1, 1))
    with pytest.raises(FileChangedError, match=r"x\.h5 changed since"):
        array.read(0, 1)


def test_user_blocks_are_left_to_hdf5(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("x", data=np.arange(1000), chunks=(10,))
    with h5py.File(path) as file:
        array = StoredArray.from_hdf5(file["x"])
    make_table = array.needed_grid.make_table
    assert isinstance(make_table, Hdf5TableMaker)
    assert make_table.address is None
    assert array.read(5, 900).tolist() == list(range(5, 900))


def test_no_flipped_byte_hangs_or_crashes(tmp_path):
    """Any byte of headers and nodes may be wrong: a table, an error, or nothing."""
    path, broken = tmp_path / "x.h5", tmp_path / "broken.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(2000), chunks=(4,))
    with h5py.File(path) as file:
        dataset = file["x"]
        shape = DatasetShape.of(dataset, str(path))
        address = h5o.get_info(dataset.id).addr
    content = bytearray(path.read_bytes())
    at = [address + i for i in range(300)]
    node = content.find(b"TREE", address)
    while node >= 0:
        at += [node + i for i in range(64)]
        node = content.find(b"TREE", node + 1)
    identity = Identity.of(str(path))
    shutil.copy(path, broken)
    descriptor = os.open(broken, os.O_RDWR)
    read = OpenFile(str(broken)).read_pieces
    begun = time.process_time()
    for i in at:
        if i >= len(content):
            continue
        for value in (0, 0xFF, content[i] ^ 1):
            os.pwrite(descriptor, bytes([value]), i)
            try:
                found = read_chunk_table(read, address, shape, identity)
                assert found is None or len(found) in (1, 500)
            except CorruptFileError as error:
                assert "x.h5: data set /x" in str(error)  # noqa: PT017
        os.pwrite(descriptor, bytes([content[i]]), i)
    os.close(descriptor)
    assert time.process_time() - begun < 60  # a cycle would never end


def test_a_node_that_leads_to_itself_ends(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(2000), chunks=(4,))
    with h5py.File(path) as file:
        dataset = file["x"]
        shape = DatasetShape.of(dataset, str(path))
        address = h5o.get_info(dataset.id).addr
    content = bytearray(path.read_bytes())
    nodes = []
    node = content.find(b"TREE", address)
    while node >= 0:
        if content[node + 4] == 1:
            nodes.append(node)
        node = content.find(b"TREE", node + 1)
    root = next(node for node in nodes if content[node + 5] > 0)
    content[root + 24 + 24 : root + 24 + 32] = root.to_bytes(8, "little")
    path.write_bytes(content)
    read, identity = OpenFile(str(path)).read_pieces, Identity.of(str(path))
    assert read_chunk_table(read, address, shape, identity) is None
