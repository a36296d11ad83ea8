"""Zarr stores in object stores are sources like local ones."""

import shutil

import numpy as np
import pytest

import scdataset_core as scd
from tests.servers.range_server import RangeServer
from tests.sources.anndata_files.zarr_stores import recut, write
from tests.sources.contract import SourceContract
from tests.sources.remote.quick_retries import options
from tests.sources.small_cells import make_parts

pytest.importorskip("obstore")
pytest.importorskip("zarr", minversion="3")


@pytest.mark.slow
class TestVersion2OverHttp(SourceContract):
    """Nothing is listed: each chunk is asked for by its name."""

    server: RangeServer

    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            write(folder / f"{i}.zarr", part, version=2)
        cls.server = RangeServer(folder)
        cls.server.__enter__()
        return [f"{cls.server.url}/{i}.zarr" for i in range(len(parts))]

    @classmethod
    def teardown_class(cls):
        cls.server.__exit__(None, None, None)


@pytest.mark.slow
class TestShardsInBucket(SourceContract):
    """Chunks lie in shards, and stores are found by a glob."""

    server: RangeServer

    @classmethod
    def write(cls, folder, parts):
        for i, part in enumerate(parts):
            path = write(folder / "bucket" / f"{i}.zarr", part, shards=True)
            for name in ("data", "indices"):
                recut(path, f"X/{name}", chunks=(7,), shards=(21,))
            recut(path, "X/indptr", chunks=(5,), shards=(10,))
        cls.server = RangeServer(folder)
        cls.server.__enter__()
        return "s3://bucket/*.zarr"

    @classmethod
    def open(cls, data, **more):
        endpoint = {"endpoint": cls.server.url, "skip_signature": True}
        return scd.open(data, storage_options=endpoint, **more)

    @classmethod
    def teardown_class(cls):
        cls.server.__exit__(None, None, None)


def read(source):
    return source.read(np.arange(len(source)))["X"].toarray()


@pytest.fixture
def part():
    return make_parts()[0]


def test_a_bucket_of_moto_gives_what_was_uploaded(s3, tmp_path, part):
    write(tmp_path / "a.zarr", part)
    s3.upload("zarrs", tmp_path)
    source = scd.open("s3://zarrs/a.zarr", obs=True, storage_options=s3.options)
    assert (read(source) == part.X.toarray()).all()
    assert source.files == ("s3://zarrs/a.zarr",)
    assert "object" not in repr(source)


def test_a_chunk_that_changes_or_goes_is_an_error(tmp_path, part):
    write(tmp_path / "a.zarr", part)
    with RangeServer(tmp_path) as server:
        source = scd.open(f"{server.url}/a.zarr", **options())
        read(source)
        names = [name for name in server.objects if "/X/data/c/" in name]
        server.put(names[0], bytes(server.objects[names[0]].content), etag="other")
        with pytest.raises(scd.FileChangedError, match="X/data/c/0 changed"):
            read(source)


def test_what_zarr_cannot_read_of_a_folder_names_it(tmp_path, part):
    write(tmp_path / "a.zarr", part)
    shutil.rmtree(tmp_path / "a.zarr" / "X" / "indices")
    with (
        RangeServer(tmp_path) as server,
        pytest.raises(FileNotFoundError, match=r"/a\.zarr/X/indices/zarr\.json"),
    ):
        scd.open(f"{server.url}/a.zarr", **options())


def test_files_of_chunks_that_a_bucket_lacks_are_noticed(tmp_path, part):
    write(tmp_path / "bucket" / "a.zarr", part)
    shutil.rmtree(tmp_path / "bucket" / "a.zarr" / "X" / "data" / "c")
    with RangeServer(tmp_path) as server:
        endpoint = {"endpoint": server.url, "skip_signature": True}
        with pytest.warns(UserWarning, match="files of chunks are not there"):
            scd.open("s3://bucket/a.zarr", storage_options=endpoint)
