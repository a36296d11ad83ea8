"""A cache over URLs: what is kept is not asked for again, and is never stale."""

import contextlib

import pytest

import scdataset_core as scd
from scdataset_core.storage.remote import block_reader
from tests.servers.conftest import BUCKET
from tests.servers.remote_cells import (
    HTTP_OPTIONS,
    assert_same_batches,
    batches,
    make_cells,
)

pytest.importorskip("obstore")


@pytest.fixture(params=["gzip", "zarr3"])
def kind(request):
    return request.param


def open_far(files, kind, server, folder, **options):
    urls = files.urls(kind, server.url)
    return scd.open(
        urls, storage_options=HTTP_OPTIONS, cache=folder, **{"obs": ["line"]} | options
    )


def test_an_empty_a_part_filled_and_a_full_cache_give_the_same(
    files, kind, server, tmp_path
):
    near = scd.open(files.paths(kind), obs=["line"])
    source = open_far(files, kind, server, tmp_path / "cache")
    assert source.cached == 0
    next(batches(source))
    assert_same_batches(source, near, epochs=2)
    assert source.fill_cache() == source.cached == 1.0
    assert_same_batches(source, near)
    again = open_far(files, kind, server, tmp_path / "cache")
    assert again.cached == 1.0
    assert_same_batches(again, near)


def test_with_a_full_cache_opening_costs_a_request_and_reading_none(
    files, server, tmp_path, monkeypatch
):
    list(batches(scd.open(files.urls("gzip", server.url))))  # without a cache
    kept = {"obs": True, "folder": tmp_path / "cache"}
    source = open_far(files, "gzip", server, **kept)
    source.fill_cache()
    list(batches(source))
    assert source.cached == 1.0  # what is being written is waited for
    monkeypatch.setattr(block_reader, "_held", block_reader._HeldBlocks())
    server.forget()
    source = open_far(files, "gzip", server, **kept)
    loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=8, fetch_factor=3)
    list(loader)
    assert loader.stats.to_dict()["requests"] == 0
    # Not even for row pointers and labels.
    assert [request.method for request in server.requests] == ["HEAD", "HEAD"]


def test_with_a_full_cache_no_chunk_of_a_zarr_store_is_asked_for(
    files, server, tmp_path
):
    open_far(files, "zarr3", server, tmp_path / "cache").fill_cache()
    source = open_far(files, "zarr3", server, tmp_path / "cache")
    server.forget()
    list(batches(source))
    asked = server.asked("GET", within="/X/")
    assert not [request.path for request in asked if "/X/indptr/" not in request.path]


def test_a_file_that_changed_is_read_anew_and_the_old_never_again(
    files, server, tmp_path
):
    url = files.urls("gzip", server.url)[0]
    folder = tmp_path / "cache"
    old = scd.open(url, storage_options=HTTP_OPTIONS, cache=folder)
    old.fill_cache()
    new = make_cells(5)
    new.write_h5ad(tmp_path / "new.h5ad", compression="gzip")
    server.put(files.names["gzip"][0], tmp_path / "new.h5ad")
    source = scd.open(url, storage_options=HTTP_OPTIONS, cache=folder)
    assert source.cached == 0
    assert_same_batches(source, scd.open(tmp_path / "new.h5ad"), epochs=2)
    # What was opened before reads what it was, or says that it changed.
    before = scd.open(files.paths("gzip")[0])
    with contextlib.suppress(scd.errors.FileChangedError):
        assert_same_batches(old, before)


def test_the_same_bytes_with_another_etag_are_another_version(files, server, tmp_path):
    url, name = files.urls("gzip", server.url)[0], files.names["gzip"][0]
    folder = tmp_path / "cache"
    scd.open(url, storage_options=HTTP_OPTIONS, cache=folder).fill_cache()
    server.put(name, files.folder / name, etag="other")
    source = scd.open(url, storage_options=HTTP_OPTIONS, cache=folder)
    assert source.cached == 0
    assert_same_batches(source, scd.open(files.paths("gzip")[0]))


def test_two_hosts_and_buckets_do_not_share_what_is_kept(files, uploaded, tmp_path):
    folder = tmp_path / "cache"
    other = tmp_path / "other.h5ad"
    make_cells(6).write_h5ad(other, compression="gzip")
    [url] = uploaded.upload("other-bucket", {"gzip/plate0.h5ad": other})
    first = scd.open(
        f"s3://{BUCKET}/gzip/plate0.h5ad",
        storage_options=uploaded.options,
        cache=folder,
    )
    first.fill_cache()
    second = scd.open(url, storage_options=uploaded.options, cache=folder)
    assert second.cached == 0
    assert_same_batches(second, scd.open(other))
    assert_same_batches(first, scd.open(files.paths("gzip")[0]))
    files_of = {entry.file for entry in scd.Cache(folder).entries()}
    assert files_of == {f"s3://{BUCKET}/gzip/plate0.h5ad", url}
    assert scd.Cache(folder).clear(files=url) > 0
    assert {entry.file for entry in scd.Cache(folder).entries()} == files_of - {url}


def test_two_endpoints_of_one_bucket_name_do_not_share(files, tmp_path, s3):
    """Two stores may both have a bucket of a name, and objects with one ETag."""
    from tests.servers.range_server import RangeServer

    other = tmp_path / "other.h5ad"
    make_cells(6).write_h5ad(other, compression="gzip")
    near = files.paths("gzip")[0]
    sources = []
    for path in (near, other):
        with RangeServer() as server:
            server.put("one-bucket/a.h5ad", path)
            options = {
                "endpoint": server.url,
                "skip_signature": True,
                "region": "us-east-1",
            }
            source = scd.open(
                "s3://one-bucket/a.h5ad",
                storage_options=options,
                cache=tmp_path / "cache",
            )
            sources.append(assert_same_batches(source, scd.open(path)))
    assert sources == [15, 15]


def test_stats_count_requests_and_bytes(files, server, tmp_path):
    source = open_far(files, "gzip", server, None)
    loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=8, fetch_factor=3)
    source.read([0, 239])  # the row pointers are read once for all
    server.forget()
    list(loader)
    stats = loader.stats.to_dict()
    asked = server.asked("GET")
    assert stats["requests"] == len(asked) > 0
    assert stats["bytes_requested"] == sum(request.n_bytes for request in asked)
    assert 0 < stats["bytes_read"] <= stats["bytes_requested"]
