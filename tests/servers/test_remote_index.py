"""An index of URLs opens them without a request, and finds out that they changed."""

import pickle

import pytest

import scdataset_core as scd
from scdataset_core.errors import FileChangedError, FileFormatError
from tests.servers.remote_cells import (
    HTTP_OPTIONS,
    assert_same_batches,
    make_cells,
)

pytest.importorskip("obstore")

on_both = pytest.mark.parametrize("remote", ["http", "s3"], indirect=True)


@on_both
def test_an_index_of_urls_opens_as_the_files_do(files, remote, tmp_path):
    root, options = remote
    urls = files.urls("gzip", root)
    scd.Index.build(urls, storage_options=options).save(tmp_path / "x.scdindex")
    settings = {"obs": True, "x": "raw/X", "obs_names": True}
    near = scd.open(files.paths("gzip"), **settings)
    for cache in (None, tmp_path / "cache"):
        far = scd.open(
            tmp_path / "x.scdindex", storage_options=options, cache=cache, **settings
        )
        assert far.files == tuple(urls)
        assert far.categories == near.categories
        assert_same_batches(pickle.loads(pickle.dumps(far)), near)
        assert far.contents == near.contents


def test_opening_asks_nothing_and_secrets_are_not_saved(files, server, tmp_path):
    urls = files.urls("gzip", server.url)
    options = {
        **HTTP_OPTIONS,
        "client_options": {"allow_http": True, "default_headers": {"x-key": "sesame"}},
    }
    scd.Index.build(urls, storage_options=options).save(tmp_path / "x.scdindex")
    assert b"sesame" not in (tmp_path / "x.scdindex").read_bytes()
    before = len(server.requests)
    source = scd.open(tmp_path / "x.scdindex", obs=["line"], storage_options=options)
    assert len(server.requests) == before
    assert "sesame" not in repr(source)
    with pytest.raises(FileFormatError, match="without anything secret"):
        scd.Index.build(f"{urls[0]}?key=sesame", storage_options=options)
    with pytest.raises(ValueError, match="none of the files is one"):
        scd.Index.build(files.paths("gzip")).update(storage_options=options)


def test_a_changed_object_is_named_and_update_reads_it(files, server, tmp_path):
    urls = files.urls("gzip", server.url)
    index = scd.Index.build(urls, storage_options=HTTP_OPTIONS)
    assert index.update(storage_options=HTTP_OPTIONS) == ((), (), ())
    make_cells(7).write_h5ad(tmp_path / "new.h5ad", compression="gzip")
    server.put(files.names["gzip"][0], (tmp_path / "new.h5ad").read_bytes())
    source = scd.open(index, storage_options=HTTP_OPTIONS)
    with pytest.raises(FileChangedError, match=r"plate0\.h5ad"):
        source.read([0])
    changes = index.update(storage_options=HTTP_OPTIONS)
    assert changes == ((urls[0],), (), ())
    far = scd.open(index, storage_options=HTTP_OPTIONS)
    assert far.read([0])["X"][0, 0] == 7 * 120 + 1
