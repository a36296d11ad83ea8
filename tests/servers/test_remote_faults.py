"""What servers do wrong is tried again, or is an error that says what it is."""

import re

import pytest

import scdataset_core as scd
from tests.servers.faults import (
    after,
    cut_short,
    late,
    on,
    redirect,
    refuse,
    refuse_above,
    times,
)
from tests.servers.range_server import RangeServer
from tests.servers.remote_cells import (
    HTTP_OPTIONS,
    RETRIES,
    assert_same_batches,
    batches,
    make_cells,
)

pytest.importorskip("obstore")


def s3_options(server, **more):
    return {
        "endpoint": server.url,
        "region": "us-east-1",
        "access_key_id": "KEY",
        "secret_access_key": "SECRET",
        "client_options": {"allow_http": True},
        "retry_config": RETRIES,
    } | more


@pytest.fixture(params=["http", "s3"])
def opened(request, files, server):
    """Return a function that opens the gzip files over the server of faults."""

    def open_files(retries=2):
        if request.param == "http":
            urls, given = files.urls("gzip", server.url), HTTP_OPTIONS
        else:
            urls, given = files.urls("gzip", "s3://some-bucket"), s3_options(server)
        policy = RETRIES | {"max_retries": retries}
        return scd.open(urls, storage_options=given | {"retry_config": policy})

    return open_files


@pytest.fixture
def near(files):
    return scd.open(files.paths("gzip"))


@pytest.mark.parametrize(
    "make_faults",
    [
        pytest.param(lambda: [late(0.03, 0.0, 0.01)], id="out_of_order"),
        pytest.param(lambda: [times(2, refuse(503, "SlowDown"))], id="slow_down"),
        pytest.param(lambda: [times(1, refuse(500, "InternalError"))], id="internal"),
        pytest.param(lambda: [times(1, cut_short(10))], id="cut_short"),
        pytest.param(lambda: [times(1, cut_short(10, reset=True))], id="reset"),
        pytest.param(lambda: [times(1, cut_short(0, reset=True))], id="reset_at_once"),
    ],
)
def test_what_passes_is_tried_again(opened, near, server, make_faults):
    server.faults = make_faults()  # while it is opened
    source = opened()
    server.faults = make_faults()  # while it is read
    assert assert_same_batches(source, near) == 30


def test_more_requests_than_a_server_takes_are_tried_again(opened, near, server):
    source = opened(retries=50)
    server.faults = [late(0.002), refuse_above(4)]
    assert assert_same_batches(source, near) == 30


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (refuse(503, "SlowDown"), "status 503"),
        (refuse(500, "InternalError"), "status 500"),
        (cut_short(10), "broke off"),
        (cut_short(10, reset=True), "broke off"),
        (refuse(403, "AccessDenied"), "refuses access"),
        (refuse(403, "ExpiredToken"), "credentials have expired"),
        (refuse(400, "ExpiredToken"), "credentials have expired"),
        (refuse(401, "Unauthorized"), "asks for credentials"),
        (refuse(404, "NoSuchKey"), "is not there any more"),
        (refuse(416, "InvalidRange"), "shrunk|416"),
    ],
)
def test_what_does_not_pass_in_an_epoch_names_url_and_range(
    opened, server, fault, message
):
    source = opened()
    iterator = batches(source)
    next(iterator)
    server.faults = [fault]
    with pytest.raises(OSError, match=message) as caught:
        list(iterator)
    assert isinstance(caught.value, scd.errors.ScdatasetError)
    assert re.search(r"gzip/plate[01]\.h5ad", str(caught.value))
    if "not there" not in message:
        assert re.search(r"bytes \d+ to \d+", str(caught.value))


def test_after_new_credentials_the_epoch_goes_on(opened, near, server):
    source = opened()
    loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=8, fetch_factor=3)
    server.faults = [after(24, refuse(403, "ExpiredToken"))]
    n = 0
    with pytest.raises(PermissionError, match="expired"):
        for n, _ in enumerate(loader, 1):  # noqa: B007  # counted
            pass
    assert 0 < n < 30
    state = loader.state_dict()
    server.faults = []
    again = scd.Loader(opened(), scd.BlockShuffling(4), batch_size=8, fetch_factor=3)
    again.load_state_dict(state)
    assert sum(1 for _ in again) == 30 - n


@pytest.mark.parametrize("same_etag", [False, True])
def test_an_object_that_changes_is_an_error_and_never_mixed_rows(
    opened, server, tmp_path, same_etag
):
    new = make_cells(7)
    new.X *= 2
    new.write_h5ad(tmp_path / "new.h5ad", compression="gzip")
    source = opened()
    iterator = batches(source)
    next(iterator)
    for name in list(server.objects):
        if name.endswith("gzip/plate0.h5ad"):
            etag = server.objects[name].etag.strip('"')
            content = (tmp_path / "new.h5ad").read_bytes()
            # A server may lie of ETags; of the size it cannot.
            given = {"etag": etag} if same_etag else {}
            server.put(name, content + b"\0" * same_etag, **given)
    with pytest.raises(scd.errors.FileChangedError, match=r"gzip/plate0\.h5ad"):
        list(iterator)


def test_an_object_that_shrinks_is_an_error(opened, server):
    source = opened()
    iterator = batches(source)
    next(iterator)
    for name, stored in list(server.objects.items()):
        if "gzip" in name:
            etag = stored.etag.strip('"')
            server.put(
                name, bytes(stored.content[: len(stored.content) // 2]), etag=etag
            )
    with pytest.raises(OSError, match=r"gzip/plate[01]\.h5ad"):
        list(iterator)


def test_every_request_for_bytes_demands_a_version(opened, server):
    source = opened()
    server.forget()
    list(batches(source))
    reads = server.asked("GET")
    assert reads
    etags = {stored.etag for stored in server.objects.values()}
    assert {request.headers.get("if-match") for request in reads} <= etags


def test_a_server_without_ranges_is_an_error_that_says_so(files):
    with RangeServer(files.folder, ranges=False) as server:
        url = files.urls("gzip", server.url)[0]
        with pytest.raises(OSError, match="does not serve ranges") as caught:
            scd.open(url, storage_options=HTTP_OPTIONS)
        assert url in str(caught.value)


def test_redirects_are_followed(files, server):
    with RangeServer(faults=[redirect(server.url)]) as first:
        far = scd.open(files.urls("gzip", first.url), storage_options=HTTP_OPTIONS)
        assert_same_batches(far, scd.open(files.paths("gzip")))


def test_a_circle_of_redirects_is_an_error(server):
    server.faults = [redirect(server.url)]
    with pytest.raises(OSError, match=r"gzip/plate0\.h5ad"):
        scd.open(f"{server.url}/gzip/plate0.h5ad", storage_options=HTTP_OPTIONS)


def test_one_bad_file_of_several_is_named(opened, server):
    source = opened()
    server.faults = [on(refuse(403, "AccessDenied"), within="plate1")]
    with pytest.raises(PermissionError, match=r"gzip/plate1\.h5ad"):
        list(batches(source))


def test_what_failed_once_is_asked_for_anew(opened, near, server):
    source = opened()
    server.faults = [refuse(403, "AccessDenied")]
    with pytest.raises(PermissionError, match="refuses access") as caught:
        source.read([0, 200])
    server.faults = []
    # The traceback holds whatever was asked for.
    assert caught.value.__traceback__ is not None
    assert assert_same_batches(source, near) == 30


def test_objects_of_one_name_in_two_stores_are_told_apart(files, server, tmp_path):
    other = tmp_path / "other.h5ad"
    make_cells(1).write_h5ad(other, compression="gzip")
    with RangeServer({"some-bucket/gzip/plate0.h5ad": other}) as second:
        sources = [
            scd.open(
                "s3://some-bucket/gzip/plate0.h5ad", storage_options=s3_options(where)
            )
            for where in (server, second)
        ]
        near = [scd.open(path) for path in (files.paths("gzip")[0], other)]
        assert assert_same_batches(scd.concat(sources), scd.concat(near)) == 30


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_requests_are_in_flight_than_the_environment_says(
    opened, near, server, monkeypatch, most
):
    monkeypatch.setenv("SCDATASET_REQUESTS", str(most))
    source = opened()
    server.faults = [late(0.002)]
    server.forget()
    assert assert_same_batches(source, near, fetch_factor=8, threads=4) == 30
    assert 1 <= server.most_in_flight <= most
