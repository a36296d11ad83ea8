"""Secrets that users give lie nowhere but where they gave them."""

import io
import json
import logging
import pickle
import re
import traceback

import pytest

import scdataset_core as scd
from tests.servers.conftest import BUCKET
from tests.servers.faults import cut_short, on, refuse
from tests.servers.remote_cells import RETRIES, batches

pytest.importorskip("obstore")

KEY, SECRET, TOKEN, HEADER = (f"CANARY-{what}" for what in "abcd")
CANARY = re.compile("CANARY")


@pytest.fixture
def options(server):
    return {
        "endpoint": server.url,
        "region": "us-east-1",
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "session_token": TOKEN,
        "client_options": {
            "allow_http": True,
            "default_headers": {"x-secret": HEADER},
        },
        "retry_config": RETRIES,
    }


@pytest.fixture
def urls(files):
    return files.urls("gzip", f"s3://{BUCKET}")


def shown(error):
    """Return all that is printed of an error, with those it came from."""
    return "".join(traceback.format_exception(error)) + repr(error.__dict__)


def test_they_reach_the_server(urls, options, server):
    scd.open(urls, storage_options=options)
    headers = server.requests[-1].headers
    assert KEY in headers["authorization"]
    assert headers["x-amz-security-token"] == TOKEN
    assert headers["x-secret"] == HEADER


def test_reprs_states_and_fingerprints_hold_none(urls, options, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    source = scd.open(urls, obs=True, storage_options=options)
    loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=8)
    next(iter(loader))
    objects = [source, loader, loader.stats, source.where(line="A549")]
    texts = [text for one in objects for text in (repr(one), str(one))]
    texts += [one._repr_html_() for one in objects if hasattr(one, "_repr_html_")]
    texts += [json.dumps(loader.state_dict()), str(source.fingerprint)]
    texts += [repr(source.files), repr(vars(loader)), caplog.text]
    texts += [*capfd.readouterr()]
    assert not [text for text in texts if CANARY.search(text)]


def test_no_attribute_that_is_printed_shows_one(urls, options):
    source = scd.open(urls, storage_options=options)
    seen, found = set(), []

    def look(one, path, depth):
        if id(one) in seen or depth > 6:
            return
        seen.add(id(one))
        if CANARY.search(repr(one)) and not isinstance(one, str | bytes | dict):
            found.append(f"{path}: {type(one).__name__}")
        for name, value in getattr(one, "__dict__", {}).items():
            look(value, f"{path}.{name}", depth + 1)

    look(source, "source", 0)
    assert found == []


@pytest.mark.parametrize(
    "fault",
    [
        refuse(403, "AccessDenied"),
        refuse(403, "ExpiredToken"),
        refuse(401, "Unauthorized"),
        refuse(404, "NoSuchKey"),
        refuse(503, "SlowDown"),
        refuse(400, "BadRequest"),
        refuse(412, "PreconditionFailed"),
        on(cut_short(3), method="GET"),
    ],
)
def test_errors_hold_none(urls, options, server, fault):
    source = scd.open(urls, storage_options=options)
    server.faults = [fault]
    with pytest.raises(OSError, match="plate") as caught:
        list(batches(source))
    assert not CANARY.search(shown(caught.value))
    with pytest.raises(OSError, match="some-bucket") as caught:
        scd.open(f"s3://{BUCKET}/*.h5ad", storage_options=options)
    assert not CANARY.search(str(caught.value))


def test_addresses_of_http_are_shown_without_user_and_query(files, server):
    name = files.names["gzip"][0]
    host = server.url.removeprefix("http://")
    secret = f"http://user:CANARY@{host}/{name}?sig=CANARY&other=CANARY"
    source = scd.open(secret)
    assert server.requests[-1].query == "sig=CANARY&other=CANARY"
    assert not CANARY.search(repr(source) + repr(source.files))
    loader = scd.Loader(source, scd.BlockShuffling(4), batch_size=8)
    next(iter(loader))
    assert not CANARY.search(json.dumps(loader.state_dict()) + repr(loader))
    server.faults = [refuse(403, "AccessDenied")]
    with pytest.raises(PermissionError, match=name) as caught:
        list(batches(source))
    assert not CANARY.search(shown(caught.value))
    for wrong in (secret.replace("h5ad", "none"), secret.replace("http:", "ftp:")):
        with pytest.raises((ValueError, OSError), match="plate0") as of_wrong:
            scd.open(wrong)
        assert not CANARY.search(str(of_wrong.value))


def test_a_signed_address_may_change_and_the_state_still_fits(files, server):
    url = files.urls("gzip", server.url)[0]
    loader = scd.Loader(scd.open(f"{url}?sig=1"), batch_size=8)
    next(iter(loader))
    again = scd.Loader(scd.open(f"{url}?sig=2"), batch_size=8)
    again.load_state_dict(loader.state_dict())
    assert len(list(again)) == len(loader) - 1


def test_the_cache_holds_none(urls, options, tmp_path):
    source = scd.open(urls, storage_options=options, cache=tmp_path / "cache")
    source.fill_cache()
    list(batches(source))
    held = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert held
    assert not [path for path in held if b"CANARY" in path.read_bytes()]
    assert not list((tmp_path / "cache").rglob("*CANARY*"))
    cache = scd.Cache(tmp_path / "cache")
    assert not CANARY.search(repr(source.cache) + repr(cache.entries()))


def test_pickles_hold_what_the_user_gave_and_no_more(urls, options, monkeypatch):
    source = scd.open(urls, storage_options=options)
    given = pickle.dumps(source)
    assert {
        canary for canary in (KEY, SECRET, TOKEN, HEADER) if canary.encode() in given
    }
    copy = pickle.load(io.BytesIO(given))
    assert len(list(batches(copy))) == 30
    # What the environment gives is taken from the environment of whoever unpickles.
    few = {name: options[name] for name in ("endpoint", "region", "client_options")}
    few["client_options"] = {"allow_http": True}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    source = scd.open(urls, storage_options=few)
    next(batches(source))
    assert not CANARY.search(pickle.dumps(source).decode("latin-1"))
