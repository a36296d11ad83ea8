"""URLs are taken apart, and shown without what must stay secret."""

import pytest

from scdataset_core.storage.remote.urls import is_url, parse_url


@pytest.mark.parametrize(
    ("url", "name", "bucket", "key"),
    [
        ("s3://b/x/y.h5ad", "s3://b/x/y.h5ad", "b", "x/y.h5ad"),
        ("gs://b/a b%20c", "gs://b/a b%20c", "b", "a b%20c"),
        ("az://container/x.zarr/", "az://container/x.zarr", "container", "x.zarr"),
        ("https://h/a.h5ad", "https://h/a.h5ad", "https://h/a.h5ad", ""),
        (
            "http://u:p@h:80/a%20b?sig=x#part",
            "http://h:80/a%20b",
            "http://u:p@h:80/a%20b?sig=x",
            "",
        ),
    ],
)
def test_a_url_is_taken_apart(url, name, bucket, key):
    found = parse_url(url)
    assert (found.name, found.bucket, found.key) == (name, bucket, key)


@pytest.mark.parametrize("text", ["a/b", "C:/x.h5ad", "/x://y"[:2], "x y://z", "://"])
def test_paths_are_no_urls(text):
    assert not is_url(text)


@pytest.mark.parametrize(
    "url", ["ftp://u:hidden@h/a?hidden", "s3://k:hidden@b/a?hidden", "http://?hidden"]
)
def test_errors_hide_what_is_secret(url):
    with pytest.raises(ValueError, match="://") as caught:
        parse_url(url)
    assert "hidden" not in str(caught.value)
