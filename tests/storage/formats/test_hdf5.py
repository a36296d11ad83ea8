"""What is read through h5py, and what is not."""

import io
import os
import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from scdataset_core.errors import CorruptFileError, FileChangedError, FileFormatError
from scdataset_core.storage import ReadContext, StoredArray
from scdataset_core.storage.formats import hdf5_reads
from scdataset_core.storage.formats.hdf5 import describe
from scdataset_core.storage.formats.hdf5_chunks import make_chunk_table
from scdataset_core.storage.io.identities import Identity
from tests.storage.oracle import check, stored, values

RANGES = [(0, 0), (0, 3), (0, 3), (2, 9), (40, 100)]


def test_variable_length_strings(tmp_path) -> None:
    plain = np.array([f"cell {i}" for i in range(100)], object)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, dtype=h5py.string_dtype(), chunks=(16,))
    array = stored(tmp_path / "x.h5")
    assert array.grid is None
    assert [text.decode() for text in array.read(3, 5)] == ["cell 3", "cell 4"]
    again = pickle.loads(pickle.dumps(array))
    assert again.read(99, 100)[0] == b"cell 99"


def test_compact_and_external_and_virtual_data(tmp_path) -> None:
    plain = np.arange(100, dtype="i4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((100,))
        compact = h5py.h5d.create(
            file.id, b"compact", h5py.h5t.NATIVE_INT32, space, plist
        )
        compact.write(h5py.h5s.ALL, h5py.h5s.ALL, plain)
        file.create_dataset(
            "external", data=plain, external=[(str(tmp_path / "raw.bin"), 0, 400)]
        )
        layout = h5py.VirtualLayout((100,), "i4")
        file.create_dataset("origin", data=plain)
        layout[:] = h5py.VirtualSource(file["origin"])
        file.create_virtual_dataset("virtual", layout)
    with ReadContext(1) as context:
        for name in ("compact", "external", "virtual"):
            array = stored(tmp_path / "x.h5", name)
            assert array.grid is None
            check(array, plain, RANGES, context=context)


def test_files_that_only_this_process_sees(tmp_path) -> None:
    plain = values(100, "f4")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=plain, chunks=(16,), compression="gzip")
    image = path.read_bytes()
    path.unlink()
    with ReadContext(2) as context:
        with h5py.File(io.BytesIO(image), "r") as file:
            array = StoredArray.from_hdf5(file["x"])
            check(array, plain, RANGES, context=context)
            with pytest.raises(TypeError, match="in this process only"):
                pickle.dumps(array)
        with h5py.File(path, "w", driver="core", backing_store=False) as file:
            file.create_dataset("x", data=plain, chunks=(16,))
            check(StoredArray.from_hdf5(file["x"]), plain, RANGES, context=context)


def test_a_file_open_for_writing_is_read_through_h5py(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", data=np.arange(10), chunks=(4,))
        array = StoredArray.from_hdf5(data)
        data[3] = 77
        assert array.read(3, 4)[0] == 77


def test_an_unknown_filter_is_announced_and_read_through_h5py(tmp_path) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin")
    plain = values(100, "f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(16,), **hdf5plugin.Bitshuffle())
        file.create_dataset("y", data=plain.astype("i4"), chunks=(16,), scaleoffset=0)
    with ReadContext(1) as context:
        for name, label in (("x", "bitshuffle"), ("y", "scaleoffset")):
            with pytest.warns(UserWarning, match=f"x.h5.*data set /{name}.*{label}"):
                array = stored(tmp_path / "x.h5", name)
            check(array, plain, RANGES, context=context)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                pickle.loads(pickle.dumps(array)).read(0, 3)


def test_an_unknown_filter_is_announced_once_for_a_file(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in "xy":
            file.create_dataset(name, data=np.arange(99), chunks=(9,), scaleoffset=0)
    for _ in range(2):
        with h5py.File(tmp_path / "x.h5", "r") as file:
            with pytest.warns(UserWarning, match="data set /x.*all of this file"):
                describe(file["x"])
            describe(file["y"])  # a warning would be an error


def test_arrays_behind_links_are_read_from_their_own_file(tmp_path) -> None:
    plain = values(100, "f4")
    with h5py.File(tmp_path / "origin.h5", "w") as file:
        file.create_dataset("group/x", data=plain, chunks=(16,))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = h5py.ExternalLink("origin.h5", "/group/x")
    array = stored(tmp_path / "x.h5")
    assert array.file == str(tmp_path / "origin.h5")
    np.testing.assert_array_equal(array.read(), plain)


def test_scalars_and_nulls_are_refused(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["scalar"] = 3
        file["null"] = h5py.Empty("f4")
    for name in ("scalar", "null"):
        with pytest.raises(FileFormatError, match=f"/{name} must be an array"):
            stored(tmp_path / "x.h5", name)


def test_latest_file_formats(tmp_path) -> None:
    # Newer files index their chunks in other ways: fixed and extensible arrays, ...
    plain = values(1000, "f4")
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        file.create_dataset("fixed", data=plain, chunks=(16,))
        file.create_dataset("grows", data=plain, chunks=(16,), maxshape=(None,))
        file.create_dataset("single", data=plain, chunks=(1000,), compression="gzip")
        file.create_dataset(
            "wide", data=plain.reshape(50, 20), chunks=(7, 6), maxshape=(None, None)
        )
    for name in ("fixed", "grows", "single"):
        np.testing.assert_array_equal(stored(tmp_path / "x.h5", name).read(), plain)
    wide = stored(tmp_path / "x.h5", "wide")
    np.testing.assert_array_equal(wide.read(), plain.reshape(50, 20))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="in_one_piece"),
        pytest.param({"chunks": (4,)}, id="in_chunks"),
        pytest.param({"chunks": (4,), "compression": "gzip"}, id="compressed"),
    ],
)
def test_text_in_latest_file_formats(tmp_path, options) -> None:
    text = [f"gene {i}" for i in range(10)]
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        file.create_dataset("x", data=text, dtype=h5py.string_dtype(), **options)
    array = stored(tmp_path / "x.h5")
    assert array.references is not None
    assert [x.decode() for x in array.read()] == text


def test_a_changed_file_is_noticed(tmp_path) -> None:
    path = tmp_path / "x.h5"
    for compression in (None, "gzip"):
        with h5py.File(path, "w") as file:
            file.create_dataset(
                "x", data=np.arange(100), chunks=(16,), compression=compression
            )
            file.create_dataset("text", data=["a", "b"], dtype=h5py.string_dtype())
        first, text = stored(path), stored(path, "text")
        second = pickle.loads(pickle.dumps(first))
        with ReadContext(1) as context:
            first.read(context=context)
            with path.open("ab") as file:
                file.write(b"more")
            for array in (first, second, text):
                with pytest.raises(FileChangedError, match=r"x.h5 changed since"):
                    array.read(context=context)


def test_a_chunk_outside_the_shape_is_refused(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.arange(100), chunks=(16,))
    with h5py.File(tmp_path / "x.h5", "r") as file:
        data = file["x"]
        lying = SimpleNamespace(
            shape=(32,),
            chunks=(16,),
            dtype=data.dtype,
            id=data.id,
            file=file,
            name="/x",
        )
        with pytest.raises(OSError, match=r"/x: it has a chunk outside its shape"):
            make_chunk_table(lying, "x.h5", Identity(0, 0))


def test_few_files_stay_open_for_the_library(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        "scdataset_core.storage.formats.hdf5_libraries.most_open", lambda: 3
    )
    arrays = []
    for number in range(9):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["x"] = [f"{number}", "b"]
        arrays.append(stored(tmp_path / f"{number}.h5"))
    for _ in range(2):
        for number, array in enumerate(arrays):
            assert array.read(0, 2).tolist() == [str(number).encode(), b"b"]
    still_open = sorted(Path(reads.path).stem for reads in hdf5_reads._open.values())
    assert still_open == ["6", "7", "8"]


def test_metadata_damaged_since_names_file_and_data_set(tmp_path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", data=np.arange(100), chunks=(16,))
    array = stored(path)
    status, contents = path.stat(), bytearray(path.read_bytes())
    header = contents.rindex(b"OHDR")  # of the dataset, with a checksum
    contents[header + 12] ^= 1
    path.write_bytes(contents)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    match = r"x\.h5: data set /x: HDF5 cannot list its chunks"
    with pytest.raises(CorruptFileError, match=match), ReadContext(1) as context:
        array.read(context=context)


def test_chunks_that_hdf5_cannot_list_name_file_and_data_set(tmp_path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(100), chunks=(16,))
    array = stored(path)
    contents = bytearray(path.read_bytes())
    node = contents.index(b"TREE\x01")  # the B-tree of the chunks
    contents[node + 32] = 5  # corner of the first: no multiple of 16
    path.write_bytes(contents)
    array = stored(path)
    match = r"x\.h5: data set /x: HDF5 cannot list its chunks"
    with pytest.raises(CorruptFileError, match=match), ReadContext(1) as context:
        array.read(context=context)
