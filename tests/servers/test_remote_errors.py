"""Wrong URLs, options and buckets: each an error that names the URL and what to do."""

from pathlib import Path

import pytest

import scdataset_core as scd
from tests.servers.conftest import BUCKET
from tests.servers.faults import refuse
from tests.servers.remote_cells import HTTP_OPTIONS, RETRIES

pytest.importorskip("obstore")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/a.h5ad", r"scheme ftp:// is not known"),
        ("file:///tmp/a.h5ad", "a local file is opened by its path"),
        ("hdfs://host/a.h5ad", "s3://, gs://, az://"),
        ("s3://", "expected s3://BUCKET/PATH"),
        ("s3://bucket", "expected s3://BUCKET/PATH"),
        ("s3:///a.h5ad", "expected s3://BUCKET/PATH"),
        ("http://", "expected http://HOST/PATH"),
        ("https://host", "expected https://HOST/PATH"),
    ],
)
def test_urls_that_name_nothing(url, message):
    with pytest.raises(ValueError, match=message) as caught:
        scd.open(url)
    assert url in str(caught.value)
    with pytest.raises(ValueError, match=message):
        scd.open([url, url])


@pytest.mark.parametrize(
    "name",
    ["a.parquet", "a.arrow", "a.tiledb", "a.h5", "a.csv", "a", "a.loom", "a.rds"],
)
def test_other_formats_are_refused_and_those_read_in_place_are_named(server, name):
    server.put(name, b"PAR1" * 100)
    with pytest.raises((ValueError, OSError), match=r"\.h5ad") as caught:
        scd.open(f"{server.url}/{name}", storage_options=HTTP_OPTIONS)
    assert isinstance(caught.value, scd.errors.FileFormatError)


def test_no_such_object_or_bucket(uploaded, server):
    for url, options in (
        (f"s3://{BUCKET}/none.h5ad", uploaded.options),
        (f"s3://{BUCKET}/none.zarr", uploaded.options),
        (f"{server.url}/none.h5ad", HTTP_OPTIONS),
    ):
        with pytest.raises(FileNotFoundError, match="no such object") as caught:
            scd.open(url, storage_options=options)
        assert url in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"s3://no-such-bucket/a\.h5ad"):
        scd.open("s3://no-such-bucket/a.h5ad", storage_options=uploaded.options)
    with pytest.raises(
        FileNotFoundError, match="s3://no-such-bucket: there is no such"
    ):
        scd.open("s3://no-such-bucket/*.h5ad", storage_options=uploaded.options)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "Unauthorized", "asks for credentials"),
        (403, "AccessDenied", "refuses access"),
        (403, "InvalidAccessKeyId", "refuses access"),
        (403, "SignatureDoesNotMatch", "refuses access"),
        (403, "ExpiredToken", "have expired"),
    ],
)
@pytest.mark.parametrize("glob", [False, True])
def test_no_permission(server, status, code, message, glob):
    server.faults = [refuse(status, code)]
    options = {
        "endpoint": server.url,
        "region": "us-east-1",
        "access_key_id": "KEY",
        "secret_access_key": "CANARY",
        "retry_config": RETRIES,
    }
    url = f"s3://{BUCKET}/gzip/{'*' if glob else 'plate0'}.h5ad"
    with pytest.raises(PermissionError, match=message) as caught:
        scd.open(url, storage_options=options)
    assert f"s3://{BUCKET}/gzip" in str(caught.value)
    assert "storage_options" in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_a_host_that_is_not_there():
    options = HTTP_OPTIONS | {"retry_config": {"max_retries": 0}}
    with pytest.raises(OSError, match="cannot be reached") as caught:
        scd.open("http://127.0.0.1:9/a.h5ad", storage_options=options)
    assert "http://127.0.0.1:9/a.h5ad" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regoin": "CANARY"}, "regoin"),
        ({"client_options": {"alow_http": "CANARY"}}, "client_options"),
        ({"region": object()}, "region|storage_options"),
    ],
)
def test_options_that_the_store_does_not_know(options, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        scd.open("s3://some-bucket/a.h5ad", storage_options=options)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("options", ["region=a", 3, ["region"], ("a", "b")])
def test_options_are_a_mapping(options):
    with pytest.raises(TypeError, match="storage_options"):
        scd.open("s3://some-bucket/a.h5ad", storage_options=options)


def test_options_without_a_url_are_an_error(files):
    with pytest.raises(ValueError, match="storage_options"):
        scd.open(files.paths("gzip"), storage_options={"region": "a"})


def test_a_url_that_pathlib_made_a_path_of(files):
    for options in (None, {"region": "a"}):
        with pytest.raises(FileNotFoundError, match="give the URL as text, 's3://"):
            scd.open(Path("s3://some-bucket/a.h5ad"), storage_options=options)


def test_a_folder_of_files_gets_the_glob_of_what_is_in_it(uploaded):
    with pytest.raises(
        FileNotFoundError, match=r"open\('s3://some-bucket/gzip/\*"
    ) as it:
        scd.open(f"s3://{BUCKET}/gzip/", storage_options=uploaded.options)
    assert "folder of objects" in str(it.value)


def test_urls_and_paths_may_be_mixed(files, server):
    near = files.paths("gzip")
    url = files.urls("gzip", server.url)[1]
    source = scd.open([near[0], url], storage_options=HTTP_OPTIONS)
    assert len(source) == 240
    assert list(source.files) == [near[0], url]


@pytest.mark.parametrize("keep", [0, 1, 100, 2000, 20_000])
def test_files_that_were_cut_short(files, server, keep):
    content = (files.folder / files.names["gzip"][0]).read_bytes()
    server.put("cut.h5ad", content[:keep])
    url = f"{server.url}/cut.h5ad"
    with pytest.raises((ValueError, OSError), match=r"cut\.h5ad") as caught:
        scd.open(url, storage_options=HTTP_OPTIONS).read([0])
    assert isinstance(caught.value, scd.errors.ScdatasetError)
    assert url in str(caught.value)


def test_errors_of_content_name_the_url(files, server):
    url = files.urls("gzip", server.url)[0]
    with pytest.raises(KeyError, match="score"):
        scd.open(url, obs=["scor"], storage_options=HTTP_OPTIONS)
    with pytest.raises((KeyError, ValueError), match="counts"):
        scd.open(url, x="layers/count", storage_options=HTTP_OPTIONS)
