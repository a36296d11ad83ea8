"""Chunk tables of HDF5 datasets: contradictions, and chunks left without filters."""

import ctypes
import os
import struct
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t, h5z

from scdataset_core.errors import CorruptFileError, FileFormatError
from scdataset_core.storage import ReadContext, StoredArray
from scdataset_core.storage.formats.hdf5 import describe
from scdataset_core.storage.formats.hdf5_libraries import Hdf5TableMaker
from scdataset_core.storage.io.identities import Identity
from tests.storage.oracle import check, stored, values

N = 90


def written(path, **layout):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", data=values(N, "i4"), **layout)
        return [data.id.get_chunk_info(i) for i in range(data.id.get_num_chunks())]


def rewritten(path, old: bytes, new: bytes):
    """Replace bytes of a file that are there once."""
    contents = path.read_bytes()
    assert contents.count(old) == 1
    path.write_bytes(contents.replace(old, new))


def key(chunk, corner):
    """Return what HDF5 before 1.10 writes of a chunk in the tree that lists them."""
    return struct.pack("<IIQQ", chunk.size, chunk.filter_mask, corner, 0)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_chunk_that_is_listed_twice_is_an_error(tmp_path, compression):
    path = tmp_path / "x.h5"
    chunk = written(path, chunks=(10,), compression=compression)[3]
    rewritten(path, key(chunk, 30), key(chunk, 20))
    with pytest.raises(
        CorruptFileError, match=r"x\.h5: data set /x: chunk 2 is listed"
    ):
        stored(path).read()


def test_chunks_that_share_bytes_are_an_error(tmp_path):
    path = tmp_path / "x.h5"
    chunks = written(path, chunks=(10,))
    old, new = (
        struct.pack("<QIIQQ", chunks[i].byte_offset, 40, 0, 40, 0) for i in (3, 2)
    )
    rewritten(path, old, new)
    with pytest.raises(CorruptFileError, match="chunks 2 and 3 lie on the same bytes"):
        stored(path).read()


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_what_must_be_whole_may_not_lack_chunks(tmp_path, compression):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        layout = {"chunks": (10,), "dtype": "i4", "compression": compression}
        data = file.create_dataset("x", shape=(N,), **layout)
        data[:30] = 1
        data[40:] = 1
        file.create_dataset("never", shape=(N,), dtype="i4")
    with h5py.File(tmp_path / "x.h5", "r") as file:
        whole = StoredArray.from_hdf5(file["x"], whole=True)
        other = StoredArray.from_hdf5(file["x"])
        never = StoredArray.from_hdf5(file["never"], whole=True)
    assert other.read(28, 33).tolist() == [1, 1, 0, 0, 0]
    assert whole.read(0, 30).tolist() == [1] * 30
    match = r"data set /x, chunk 3 \(elements 30 to 40\): it is missing"
    with pytest.raises(CorruptFileError, match=match):
        whole.read(28, 33)
    with pytest.raises(CorruptFileError, match="/never, its data: it is missing"):
        never.read(0, 1)


def test_what_is_read_through_h5py_may_not_lack_chunks_either(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        text = file.create_dataset("x", (N,), h5py.string_dtype(), chunks=(10,))
        text[:50] = "cell"
    with h5py.File(tmp_path / "x.h5", "r") as file:
        assert StoredArray.from_hdf5(file["x"]).read(49, 51).tolist() == [b"cell", b""]
        with pytest.raises(CorruptFileError, match="/x: 4 of its 9 chunks are missing"):
            StoredArray.from_hdf5(file["x"], whole=True)
    with h5py.File(tmp_path / "x.h5", "r+") as file:  # of which others know nothing
        data = file["x"]
        with pytest.raises(CorruptFileError, match="/x: 4 of its 9 chunks are missing"):
            StoredArray.from_hdf5(data, whole=True)


def leave_edges_unfiltered(properties) -> None:
    """Set H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS, for which h5py has no function."""
    folder = Path(h5py.__file__).parents[1] / "h5py.libs"
    for path in (h5d.__file__, *sorted(folder.glob("libhdf5-*"))):
        function = getattr(ctypes.CDLL(str(path)), "H5Pset_chunk_opts", None)
        if function is not None:
            function.argtypes = (ctypes.c_int64, ctypes.c_uint)
            assert function(properties.id, 2) == 0
            return
    pytest.skip("this build of h5py does not let HDF5 be called")


@pytest.mark.parametrize("filters", ["deflate", "shuffle", "both", "fletcher32"])
@pytest.mark.parametrize("plain", ["counts", "zeros", "zeros_first"])
@pytest.mark.parametrize(("shape", "chunks"), [((93,), (10,)), ((33, 23), (10, 9))])
def test_chunks_at_the_edges_may_be_unfiltered(tmp_path, filters, plain, shape, chunks):
    data = values(int(np.prod(shape)), "i4").reshape(shape) * 1000
    if plain != "counts":
        data[: 1 if plain == "zeros_first" else None] = 0
    for unfiltered in (True, False):
        properties = h5p.create(h5p.DATASET_CREATE)
        properties.set_chunk(chunks)
        if filters in ("shuffle", "both"):
            properties.set_shuffle()
        if filters in ("deflate", "both"):
            properties.set_deflate(4)
        if filters == "fletcher32":
            properties.set_fletcher32()
        if unfiltered:
            leave_edges_unfiltered(properties)
        path = tmp_path / f"{unfiltered}.h5"
        with h5py.File(path, "w", libver="latest") as file:
            space = h5s.create_simple(shape)
            h5d.create(file.id, b"x", h5t.NATIVE_INT32, space, properties)
            file["x"][...] = data
        with ReadContext(1) as context:
            ranges = [(0, 5), (7, 12), (25, 33), (30, 33), (0, 33)]
            check(stored(path), data, ranges, context=context)


def test_an_unfiltered_edge_cannot_hide_damage(tmp_path):
    # A damaged chunk at the edge that happens to have the size of an unfiltered one.
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset(
            "x", data=values(93, "i4"), chunks=(10,), shuffle=True
        )
        data.id.write_direct_chunk((90,), os.urandom(40))
        gzip = file.create_dataset(
            "y", data=values(93, "i4"), chunks=(10,), compression=1
        )
        gzip.id.write_direct_chunk((90,), os.urandom(40))
    with h5py.File(tmp_path / "x.h5", "r") as file:
        seen = file["x"][()]
    np.testing.assert_array_equal(stored(tmp_path / "x.h5").read(), seen)
    with pytest.raises(CorruptFileError, match="data set /y, chunk 9"):
        stored(tmp_path / "x.h5", "y").read()


def test_a_filter_whose_plug_in_is_not_there_is_seen_at_once(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.arange(99), chunks=(9,), scaleoffset=0)
    monkeypatch.setattr(h5z, "filter_avail", lambda code: False)
    match = (
        r"x.h5: data set /x .* filter scaleoffset \(number 6\), .*import the package"
    )
    with h5py.File(tmp_path / "x.h5", "r") as file:
        data = file["x"]
        with pytest.raises(FileFormatError, match=match):
            describe(data)


def test_a_codec_whose_package_is_not_there_is_seen_at_once(tmp_path, monkeypatch):
    plugin = pytest.importorskip("hdf5plugin")
    from scdataset_core.storage.decoding import registry

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.arange(99), chunks=(9,), **plugin.Zstd())

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(registry, "decompressor", missing)
    with h5py.File(tmp_path / "x.h5", "r") as file:
        with pytest.warns(UserWarning, match="it is read through h5py"):
            array = StoredArray.from_hdf5(file["x"])
        assert array.read(8, 10).tolist() == [8, 9]
        monkeypatch.setattr(h5z, "filter_avail", lambda code: False)
        with pytest.raises(
            FileFormatError, match=r"or pip install 'scdataset-core\[codecs\]'"
        ):
            describe(file["x"])


@pytest.mark.parametrize("address", [1 << 63, 1 << 40], ids=["flipped_bit", "beyond"])
def test_data_in_one_piece_that_would_lie_outside_the_file(tmp_path, address):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(N)
        offset = file["x"].id.get_offset()
    array = stored(path)
    maker = array.needed_grid.make_table
    assert isinstance(maker, Hdf5TableMaker)
    assert maker.address is not None  # HDF5 itself does not open such data
    old = struct.pack("<QQ", offset, 8 * N)
    rewritten(path, old, struct.pack("<QQ", offset | address, 8 * N))
    maker = replace(maker, identity=Identity.of(str(path)))
    with pytest.raises(CorruptFileError, match=r"x\.h5: data set /x: it would lie at"):
        maker()
