"""A few bytes of metadata that claim more chunks than there are files."""

import numpy as np
import pytest

from scdataset_core.errors import CorruptFileError, FileFormatError
from scdataset_core.storage import StoredArray

zarr = pytest.importorskip("zarr", minversion="3")
from scdataset_core.storage.formats.zarr_files import list_below  # noqa: E402  # needs zarr
from scdataset_core.storage.formats.zarr_missing import find_missing  # noqa: E402  # too

MANY = 1 << 23


def claimed(folder, shape=(MANY,), chunks=(1,), **options):
    return zarr.create_array(
        folder / "a.zarr", shape=shape, chunks=chunks, dtype="i8", **options
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="version_3"),
        pytest.param({"zarr_format": 2}, id="version_2"),
        pytest.param({"shape": (MANY, 2), "chunks": (1, 2)}, id="matrix"),
        pytest.param({"shards": (MANY,)}, id="shards"),
    ],
)
def test_claims_are_compared_with_the_files_that_are_there(tmp_path, options):
    array = StoredArray.from_zarr(claimed(tmp_path, **options))
    with pytest.raises(CorruptFileError, match="claims 8,388,608 chunks, and 0 of the"):
        array.read(0, 1)


def test_shards_of_which_the_chunks_are_looked_for(tmp_path):
    with pytest.raises(CorruptFileError, match="claims 8,388,608 chunks, and 0 of the"):
        find_missing(claimed(tmp_path, shards=(MANY,)))


def test_claims_are_compared_where_zarr_reads(tmp_path):
    numcodecs = pytest.importorskip("numcodecs")
    array = claimed(tmp_path, zarr_format=2, compressors=numcodecs.BZ2())
    with pytest.raises(CorruptFileError, match="claims 8,388,608 chunks, and 0 of the"):
        StoredArray.from_zarr(array)


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (3,)}, {"chunks": (1,), "shards": (1 << 30,)}]
)
def test_more_chunks_than_any_array_has_are_refused(tmp_path, options):
    array = claimed(tmp_path, shape=(1 << 34,), **options)
    with pytest.raises(FileFormatError, match=r"a\.zarr: .*chunks, more than 2,147,"):
        StoredArray.from_zarr(array)


def test_few_chunks_of_many_are_read_as_zarr_reads_them(tmp_path):
    array = claimed(tmp_path, shape=(200_000,), fill_value=7)
    array[1234] = 5
    found = StoredArray.from_zarr(array).read(1233, 1236)
    np.testing.assert_array_equal(found, [7, 5, 7])


def test_links_that_lead_back_are_followed_no_further_than_files_lie(tmp_path):
    for name in ("0", "1"):
        (tmp_path / name).symlink_to(".")
    assert len(list(list_below(str(tmp_path), 3))) == 2**4
