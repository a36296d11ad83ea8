"""The tests' own server answers as object stores do, and fails as it is told."""

import http.client
import json
import os
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers.faults import (
    after,
    cut_short,
    held,
    on,
    redirect,
    refuse,
    refuse_above,
    times,
)
from tests.servers.range_server import RangeServer

CONTENT = bytes(range(256)) * 40
ROOT = Path(__file__).parents[2]


def ask(server, path="/a", method="GET", **headers):
    """Ask on a connection of its own; return status, headers and body."""
    url = getattr(server, "url", server)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=fields)
    answer = connection.getresponse()
    try:
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.fixture
def server():
    with RangeServer({"a": CONTENT, "bucket/x/b": b"bb", "bucket/c": b"c"}) as server:
        yield server


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=10000-", 10000, None), ("bytes=-7", -7, None)],
)
def test_a_range_is_answered_with_its_bytes_and_the_size(server, header, start, stop):
    status, headers, body = ask(server, range=header)
    assert (status, body) == (206, CONTENT[start:stop])
    first = CONTENT.index(body, start if start >= 0 else len(CONTENT) + start)
    assert headers["Content-Range"] == (
        f"bytes {first}-{first + len(body) - 1}/{len(CONTENT)}"
    )


def test_ranges_beyond_the_end_unknown_objects_and_other_versions_are_refused(server):
    assert ask(server, range=f"bytes={len(CONTENT)}-")[0] == 416
    assert ask(server, "/none")[0] == 404
    etag = ask(server, method="HEAD")[1]["ETag"]
    assert ask(server, if_match=etag)[0] == 200
    server.put("a", CONTENT[:100])
    assert ask(server, if_match=etag)[0] == 412
    assert ask(server)[2] == CONTENT[:100]


def test_one_connection_serves_many_requests_which_are_counted(server):
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    for _ in range(3):
        connection.request("GET", "/a", headers={"Range": "bytes=0-99"})
        assert len(connection.getresponse().read()) == 100
    connection.request("HEAD", "/a")
    answer = connection.getresponse()
    assert int(answer.headers["Content-Length"]) == len(CONTENT)
    assert answer.read() == b""
    connection.close()
    assert [request.method for request in server.requests] == 3 * ["GET"] + ["HEAD"]
    assert server.n_bytes == 300


def test_faults_meet_the_requests_they_are_meant_for(server):
    server.faults = [
        times(1, refuse(503)),
        on(refuse(403, "AccessDenied"), within="bucket"),
        after(2, on(cut_short(5), method="GET")),
    ]
    assert ask(server)[0] == 503
    status, _, body = ask(server, "/bucket/c")
    assert status == 403
    assert b"AccessDenied" in body
    with pytest.raises(http.client.IncompleteRead, match="5 bytes read"):
        ask(server)
    server.faults = [cut_short(5, reset=True)]
    with pytest.raises(
        (ConnectionResetError, http.client.IncompleteRead)
    ):  # the system chooses
        ask(server)
    server.faults = [redirect(f"{server.url}/there")]
    status, headers, _ = ask(server)
    assert (status, headers["Location"]) == (307, f"{server.url}/there/a")


def test_answers_overtake_each_other_and_too_many_at_once_are_refused(server):
    go_on: Future[None] = Future()
    server.faults = [times(1, held(go_on)), refuse_above(1)]
    netloc = urlsplit(server.url).netloc
    slow = http.client.HTTPConnection(netloc, timeout=30)
    slow.request("GET", "/a")
    while not server.requests:
        pass
    quick = http.client.HTTPConnection(netloc, timeout=30)
    quick.request("GET", "/a")
    refused = quick.getresponse()
    assert (refused.status, refused.read()[:7]) == (503, b"<Error>")
    assert server.n_in_flight == 1
    go_on.set_result(None)
    assert slow.getresponse().read() == CONTENT
    assert server.most_in_flight == 2
    slow.close()
    quick.close()


def test_an_action_comes_before_the_answer_to_its_request(server):
    server.at(1, lambda: server.put("a", b"new"))
    assert ask(server)[2] == CONTENT
    assert ask(server)[2] == b"new"
    server.ranges = False
    status, headers, body = ask(server, range="bytes=0-0")
    assert (status, body) == (200, b"new")
    assert "Accept-Ranges" not in headers


def test_buckets_are_listed_as_s3_does(server):
    obstore = pytest.importorskip("obstore")
    store = obstore.store.S3Store(
        "bucket",
        endpoint=server.url,
        skip_signature=True,
        region="us-east-1",
        client_options={"allow_http": True},
    )
    found = [item["path"] for page in obstore.list(store) for item in page]
    assert sorted(found) == ["c", "x/b"]
    assert obstore.list_with_delimiter(store)["common_prefixes"] == ["x"]
    assert obstore.get_range(store, "x/b", start=1, end=2).to_bytes() == b"b"


def test_as_a_command_it_serves_a_folder_until_its_input_ends(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    (tmp_path / "empty").touch()
    command = [sys.executable, "-m", "tests.servers.range_server", str(tmp_path)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert ask(url)[2] == CONTENT
        assert ask(url, "/empty")[2] == b""
        assert ask(url, range="bytes=3-7")[2] == CONTENT[3:8]
        process.stdin.write("\n")
        process.stdin.flush()
        found = json.loads(process.stdout.readline())
        assert found["requests"] == 3
        assert found["ranges"] == [["a", 3, 8]]
        process.stdin.close()
    assert process.returncode == 0
