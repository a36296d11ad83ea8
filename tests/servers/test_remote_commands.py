"""Every command, and the function behind it, on URLs."""

import json

import pytest

import scdataset_core as scd
from scdataset_core import tools
from tests.servers.conftest import BUCKET
from tests.servers.faults import on, refuse
from tests.servers.remote_cells import HTTP_OPTIONS, assert_same_batches

pytestmark = pytest.mark.slow

pytest.importorskip("obstore")
pytest.importorskip("typer")
pytest.importorskip("rich")
testing = pytest.importorskip("typer.testing")
commands = pytest.importorskip("scdataset_core.tools.commands")


def run(*arguments, code=0, **env):
    done = testing.CliRunner().invoke(commands.app, [*map(str, arguments)], env=env)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def given(server):
    """Return the arguments that reach the bucket."""
    return [
        "--storage-options",
        f"endpoint={server.url}",
        "--storage-options",
        '{"skip_signature": true, "region": "us-east-1"}',
    ]


@pytest.fixture
def glob():
    return f"s3://{BUCKET}/gzip/*.h5ad"


def without(report, *names):
    """Return a report without what differs from run to run, and without folders."""
    if isinstance(report, dict):
        return {k: without(v, *names) for k, v in report.items() if k not in names}
    if isinstance(report, list):
        return [without(value, *names) for value in report]
    return report.rpartition("/gzip/")[2] if isinstance(report, str) else report


def test_inspect_says_the_same_as_of_local_files(files, glob, given):
    far = json.loads(run("inspect", glob, *given, "--json"))
    near = tools.inspect(files.paths("gzip"))
    assert [file["file"] for file in far["files"]] == [
        f"s3://{BUCKET}/{name}" for name in files.names["gzip"]
    ]
    assert without(far, "decoded_per_used") == without(near, "decoded_per_used")
    assert "240 cells x 40 genes" in run("inspect", glob, *given)


def test_verify_finds_damage_in_objects(files, server, glob, given):
    found = json.loads(run("verify", glob, *given, "--json"))
    near = tools.verify(files.paths("gzip"))
    for name in ("ok", "n_files", "n_chunks", "n_bytes"):
        assert found[name] == near[name]
    name = f"{BUCKET}/{files.names['gzip'][1]}"
    content = bytearray(server.objects[name].content)
    table = scd.open(files.paths("gzip")[1]).x_arrays()[0].table
    content[int(table.offsets[0]) + 20] ^= 255
    server.put(name, bytes(content))
    out = run("verify", glob, *given, code=1)
    assert "/X/data" in out
    assert "1 damaged" in out


def test_verify_goes_on_after_an_object_that_cannot_be_read(glob, server, given):
    server.faults = [on(refuse(403, "AccessDenied"), within="plate0")]
    found = json.loads(run("verify", glob, *given, "--json", code=1))
    assert not found["ok"]
    assert {damage["file"] for damage in found["damaged"]} == {
        f"s3://{BUCKET}/gzip/plate0.h5ad"
    }


def test_cache_fill_and_clear(files, server, tmp_path):
    urls = files.urls("gzip", server.url)
    out = run("cache", "fill", *urls, "--folder", tmp_path / "cache")
    assert out.count("100.0% kept") == 2
    source = scd.open(urls, cache=tmp_path / "cache")
    assert source.cached == 1.0
    listed = json.loads(run("cache", "ls", "--json", "--folder", tmp_path / "cache"))
    assert {entry["file"] for entry in listed if entry["array"].startswith("/X/")} == {
        *urls
    }
    run("cache", "clear", urls[0], "--folder", tmp_path / "cache")
    listed = json.loads(run("cache", "ls", "--json", "--folder", tmp_path / "cache"))
    assert {entry["file"] for entry in listed} == {urls[1]}


def test_rewrite_from_a_url_to_a_local_file(files, glob, given, tmp_path):
    out = tmp_path / "out.h5ad"
    printed = run("rewrite", glob, out, *given)
    assert "240 cells x 40 genes" in printed
    near = scd.open(files.paths("gzip"))
    written = scd.open(out)
    assert_same_batches(written, near, dtype="float32")
    message = run("rewrite", glob, "s3://some-bucket/out.h5ad", *given, code=1)
    assert "writes a local file" in message


def test_split_is_that_of_local_files(files, glob, given, tmp_path):
    report = json.loads(
        run("split", glob, "--out", tmp_path / "split", *given, "--json")
    )
    near = scd.open(files.paths("gzip"))
    split = scd.load_split(tmp_path / "split", near)
    assert {name: len(rows) for name, rows in split.items()} == report["parts"]


def test_suggest_and_tune(glob, given):
    line = json.loads(run("suggest", glob, *given, "--json"))["line"]
    assert "scd.Loader(source" in line
    found = json.loads(
        run("tune", glob, *given, "--json", "--seconds", "1", "--batch-size", "16")
    )
    assert found["settings"]


def test_bench_times_objects_and_compares_local_files_alone(
    files, glob, given, tmp_path
):
    pytest.importorskip("torch")
    out = run(
        *("bench", glob, *given, "--json", "--quick", "--seconds", "1"),
        *("--batch-size", "16", "--cache", tmp_path / "cache"),
        *("--against", "annloader", "-o", "retry_config.max_retries=2"),
        code=1,
    )
    report = json.loads(out)
    assert report["data"]["files"] == files.urls("gzip", f"s3://{BUCKET}")
    assert report["best"]["cells_per_s"] > 0
    assert report["cache"]["share"] == 1.0
    assert "local files alone" in report["against"][0]["error"]


def test_the_environment_gives_what_is_left_out(server, glob, given):
    out = run(
        "inspect",
        glob,
        "--storage-options",
        f"endpoint={server.url}",
        AWS_SKIP_SIGNATURE="true",
        AWS_REGION="us-east-1",
    )
    assert "240 cells x 40 genes" in out
    assert "authorization" not in server.requests[-1].headers


@pytest.mark.parametrize("command", ["inspect", "verify", "suggest", "tune"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["s3://some-bucket/none*.h5ad"], "no object matches"),
        (["s3://some-bucket/none.h5ad"], "none.h5ad"),
        (["ftp://host/a.h5ad"], "scheme ftp:// is not known"),
        (
            ["s3://some-bucket/gzip/plate0.h5ad", "--storage-options", "CANARY"],
            "KEY=VALUE",
        ),
        (
            ["s3://some-bucket/gzip/plate0.h5ad", "--storage-options", "regoin=CANARY"],
            "regoin",
        ),
    ],
)
def test_what_is_wrong_is_said_plainly(given, command, arguments, message):
    out = run(command, *arguments, *given, code=1)
    assert message in out
    assert "Traceback" not in out
    assert "CANARY" not in out


def test_options_without_a_url_are_an_error(files):
    for command in ("inspect", "verify", "suggest"):
        out = run(command, *files.paths("gzip"), "--storage-options", "a=b", code=1)
        assert "storage_options go with URLs" in out


def test_signed_addresses_are_shown_without_their_query(files, server):
    url = f"{files.urls('gzip', server.url)[0]}?sig=CANARY"
    for command in ("inspect", "verify", "suggest"):
        assert "CANARY" not in run(command, url)
    found = tools.inspect([url], storage_options=HTTP_OPTIONS)
    assert found["files"][0]["file"] == url.partition("?")[0]
    assert tools.verify(url, storage_options=HTTP_OPTIONS)["ok"]
