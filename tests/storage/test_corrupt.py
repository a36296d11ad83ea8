"""Files that lie: an error with file, data set and chunk, never wrong data."""

import zlib

import h5py
import numpy as np
import pytest

from scdataset_core.errors import CorruptFileError, FileChangedError
from scdataset_core.storage import ReadContext, StoredArray
from scdataset_core.storage.chunks import ChunkTable
from tests.storage.oracle import check, stored, values

N = 1000


def with_table(array: StoredArray, *, chunk: int, **columns: int) -> StoredArray:
    """Return an array whose table says something else about one chunk."""
    table = array.table
    changed = {
        "offsets": table.offsets.copy(),
        "sizes": table.sizes.astype(np.uint64),
    }
    for name, value in columns.items():
        changed[name][chunk] = value
    array._table = ChunkTable(table.files, table.identities, **changed)
    return array


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"offsets": 2**40}, id="far_past_the_end"),
        pytest.param({"offsets": 2**63 - 1}, id="overflows"),
        pytest.param({"offsets": -7}, id="negative"),
        pytest.param({"sizes": 2**63}, id="huge"),
        pytest.param({"sizes": 2**32}, id="large"),
        pytest.param({"sizes": 0}, id="none"),
        pytest.param({"sizes": 3}, id="small"),
    ],
)
@pytest.mark.parametrize("some_columns", [False, True])
def test_chunks_that_cannot_be_where_the_table_says(
    tmp_path, compression, columns, some_columns
) -> None:
    plain = np.arange(N * 2).reshape(N, 2)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=plain, chunks=(64, 2), compression=compression)
    array = with_table(stored(tmp_path / "x.h5"), chunk=3, **columns)
    wanted = np.array([1]) if some_columns else None
    with ReadContext(2) as context:
        check(array, plain, [(0, 192), (256, N)], context=context, columns=wanted)
        with pytest.raises(CorruptFileError, match=r"x\.h5: data set /x, chunk 3 "):
            check(array, plain, [(0, 5), (180, 300)], context=context, columns=wanted)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(zlib.compress(bytes(10**6)), "more than the 256 bytes", id="bomb"),
        pytest.param(zlib.compress(bytes(255)), "less than the 256 bytes", id="short"),
        pytest.param(b"no stream", "not a whole zlib stream", id="nonsense"),
        pytest.param(zlib.compress(bytes(256))[:-3], "not a whole", id="cut"),
    ],
)
def test_chunks_that_do_not_decode_to_their_size(tmp_path, body, message) -> None:
    plain = values(N, "f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", data=plain, chunks=(64,), compression="gzip")
        data.id.write_direct_chunk((128,), body)
    array = stored(tmp_path / "x.h5")
    with ReadContext(2) as context:
        check(array, plain, [(0, 128), (192, N)], context=context)
        with pytest.raises(CorruptFileError, match=rf"/x, chunk 2 .*{message}"):
            check(array, plain, [(0, N)], context=context)
        check(array, plain, [(192, N)], context=context)


@pytest.mark.parametrize("layout", [{}, {"chunks": (64,)}])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_file_cut_short_after_it_was_opened(tmp_path, layout, compression) -> None:
    if compression and not layout:
        pytest.skip("contiguous data are not compressed")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "x", data=values(N, "f4"), compression=compression, **layout
        )
    array = stored(path)
    with ReadContext(2) as context:
        array.read(context=context)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 500)
        with pytest.raises(FileChangedError, match=r"x\.h5 changed since"):
            array.read(context=context)
        # The end of the file is noticed too where its size is not checked.
        table = array.table
        array._table = ChunkTable(table.files, [None], table.offsets, table.sizes)
        where = "chunk" if layout else "its data"
        with pytest.raises(
            CorruptFileError, match=rf"x\.h5: data set /x, {where}.* the file ends at"
        ):
            array.read(context=context)


def test_a_vanished_file_is_named(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=values(N, "f4"), chunks=(64,))
    array = stored(tmp_path / "x.h5")
    assert len(array.table) == 16
    (tmp_path / "x.h5").unlink()
    with (
        pytest.raises(FileChangedError, match=r"x\.h5 is not"),
        ReadContext(1) as context,
    ):
        array.read(context=context)


def test_errors_of_many_threads_leave_the_context_usable(tmp_path) -> None:
    plain = values(100_000, "f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", data=plain, chunks=(100,), compression="gzip")
        for chunk in range(500, 1000):
            data.id.write_direct_chunk((chunk * 100,), b"x" * 50)
    array = stored(tmp_path / "x.h5")
    with ReadContext(4) as context:
        for _ in range(20):
            with pytest.raises(CorruptFileError, match="chunk"):
                array.read(context=context)
            np.testing.assert_array_equal(
                array.read(0, 50_000, context=context), plain[:50_000]
            )
