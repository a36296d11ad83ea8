"""`.h5ad` objects behind a server are sources like files, and say what is wrong."""

import multiprocessing
import pickle
import threading
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core.errors import (
    FileChangedError,
    FileFormatError,
    ObjectMissingError,
    StoreAccessError,
    StoreError,
)
from scdataset_core.storage import ReadContext
from scdataset_core.storage.remote import block_reader, requests
from tests.servers import faults
from tests.servers.answers import answer_object
from tests.servers.range_server import RangeServer
from tests.sources.contract import SourceContract
from tests.sources.remote.quick_retries import options
from tests.storage.cache.plates import digest, loader_of, write_plate

pytest.importorskip("obstore")

SECRET = "dontshowme"


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    return write_plate(tmp_path_factory.mktemp("plate") / "a.h5ad")


@pytest.fixture
def server(plate):
    with RangeServer({"a.h5ad": plate}) as running:
        yield running


@pytest.fixture
def url(server):
    return f"{server.url}/a.h5ad"


def all_text(error):
    """Return everything that shows of an error, and of what it hangs together with."""
    return "".join(traceback.format_exception(error)) + repr(
        (error.__cause__, error.__context__)
    )


@pytest.mark.slow
class TestHttp(SourceContract):
    """Three files behind a server, of which range requests are asked."""

    server: RangeServer

    @classmethod
    def write(cls, folder, parts):
        names = []
        for i, part in enumerate(parts):
            part.write_h5ad(folder / f"part{i}.h5ad", compression="gzip")
            names.append(f"part{i}.h5ad")
        cls.server = RangeServer(folder)
        cls.server.__enter__()
        return [f"{cls.server.url}/{name}" for name in names]

    @classmethod
    def teardown_class(cls):
        cls.server.__exit__(None, None, None)


def test_batches_are_those_of_the_local_file_and_many_requests_are_under_way(
    plate, server, url, monkeypatch
):
    monkeypatch.setattr(requests, "GAP_BYTES", 0)
    server.faults.append(faults.late(0.02))
    source = scd.open(url, **options())
    server.forget()
    assert digest(source) == digest(scd.open(plate))
    assert server.most_in_flight >= 8
    assert not server.asked("HEAD")


def test_every_request_demands_the_version_that_was_opened(server, url):
    source = scd.open(url, **options())
    list(loader_of(source))
    gets = server.asked("GET")
    assert gets
    assert all(request.headers.get("if-match") for request in gets)


def test_opening_asks_once_what_the_object_is_and_takes_few_requests(server, url):
    scd.open(url, **options())
    assert len(server.asked("HEAD")) == 1
    assert len(server.requests) <= 3


def test_requests_and_bytes_are_counted(server, url):
    loader = loader_of(scd.open(url, **options()))
    list(loader)
    stats = loader.stats.to_dict()
    assert stats["requests"] >= 1
    assert stats["bytes_requested"] >= stats["bytes_read"] > 0
    assert stats["bytes_used"] > 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.refuse(503), id="503"),
        pytest.param(faults.cut_short(10), id="cut_short"),
        pytest.param(faults.cut_short(10, reset=True), id="reset"),
    ],
)
def test_what_fails_for_a_while_is_asked_for_again(plate, server, url, fault):
    expected = digest(scd.open(plate))
    server.faults.append(faults.times(2, faults.on(fault, method="GET")))
    assert digest(scd.open(url, **options())) == expected


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        pytest.param(faults.refuse(503), r"status 503.*after 2 retries", id="503"),
        pytest.param(faults.cut_short(10), "broke off|fewer bytes", id="cut_short"),
        pytest.param(faults.cut_short(10, reset=True), "broke off", id="reset"),
    ],
)
def test_what_keeps_failing_is_an_error_with_url_and_bytes(server, url, fault, match):
    source = scd.open(url, **options())
    server.faults.append(faults.on(fault, method="GET"))
    with pytest.raises(StoreError, match=rf"{url}, bytes \d+ to \d+: .*({match})"):
        list(loader_of(source))


def test_an_object_that_changes_is_an_error_and_no_row_of_it_is_given(
    plate, server, url, tmp_path
):
    other = write_plate(tmp_path / "b.h5ad", seed=1)
    source = scd.open(url, **options())
    batches = iter(loader_of(source, read_ahead=0))
    expected = next(batches)["X"].toarray()
    assert (expected == next(iter(loader_of(scd.open(plate))))["X"].toarray()).all()
    server.put("a.h5ad", other)
    with pytest.raises(FileChangedError, match=f"{url} changed since it was opened"):
        list(batches)


def test_a_server_that_ignores_what_is_demanded_is_found_out(server, url, tmp_path):
    other = write_plate(tmp_path / "b.h5ad", seed=1)

    def ignore(request, answer):
        headers = {k: v for k, v in request.headers.items() if k != "if-match"}
        stored = server.objects[request.name]
        return answer_object(replace(request, headers=headers), stored, ranges=True)

    source = scd.open(url, **options())
    server.put("a.h5ad", other)
    server.faults.append(ignore)
    with pytest.raises(FileChangedError, match="changed since it was opened"):
        list(loader_of(source))


def test_an_object_that_shrinks_or_goes_is_an_error(plate, server, url):
    source = scd.open(url, **options())
    content = Path(plate).read_bytes()
    etag = server.objects["a.h5ad"].etag
    server.put("a.h5ad", content[: len(content) // 2], etag=etag)
    with pytest.raises(FileChangedError, match=url):
        list(loader_of(source))
    del server.objects["a.h5ad"]
    with pytest.raises(FileChangedError, match="is not there any more"):
        list(loader_of(source))


@pytest.mark.parametrize(
    ("status", "error", "match"),
    [
        (401, StoreAccessError, "asks for credentials"),
        (403, StoreAccessError, "refuses access"),
        (404, ObjectMissingError, "there is no such object"),
        (500, StoreError, "status 500"),
    ],
)
def test_an_object_that_cannot_be_had_is_named_with_what_to_do(
    server, url, status, error, match
):
    server.faults.append(faults.refuse(status))
    with pytest.raises(error, match=match) as caught:
        scd.open(f"{url}?sig={SECRET}", **options())
    assert url in str(caught.value)
    assert SECRET not in all_text(caught.value)


def test_a_server_without_ranges_is_an_error(plate):
    with (
        RangeServer({"a.h5ad": plate}, ranges=False) as server,
        pytest.raises(FileFormatError, match=r"does not serve ranges.*download it"),
    ):
        scd.open(f"{server.url}/a.h5ad", **options())


def test_a_host_that_is_not_there_is_an_error():
    with pytest.raises(StoreError, match="the host cannot be reached"):
        scd.open("http://127.0.0.1:1/a.h5ad", **options())


def test_other_formats_are_refused_with_those_that_are_read_in_place(server):
    server.put("a.parquet", b"PAR1" + bytes(100))
    server.put("empty.h5ad", b"")
    with pytest.raises(FileFormatError, match=r"only an .h5mu file, an .h5ad file"):
        scd.open(f"{server.url}/a.parquet", **options())
    with pytest.raises(FileFormatError, match="the object is empty"):
        scd.open(f"{server.url}/empty.h5ad", **options())


def test_nothing_secret_shows(server, url):
    secret = url.replace("http://", f"http://user:{SECRET}@") + f"?sig={SECRET}"
    headers = {"client_options": {"default_headers": {"x-token": SECRET}}}
    source = scd.open(secret, **options(**headers))
    loader = loader_of(source)
    next(iter(loader))
    shown = [repr(source), str(source.files), repr(loader), repr(loader.state_dict())]
    assert SECRET not in "".join(shown)
    assert source.files == (url,)
    del server.objects["a.h5ad"]
    with pytest.raises(FileChangedError, match=url) as caught:
        list(loader)
    assert SECRET not in all_text(caught.value)


def test_a_state_of_a_local_file_goes_on_at_its_url(plate, url):
    local, remote = loader_of(scd.open(plate)), loader_of(scd.open(url, **options()))
    batches = iter(local)
    next(batches)
    remote.load_state_dict(local.state_dict())
    for mine, other in zip(remote, batches, strict=True):
        assert (mine["index"] == other["index"]).all()


def _read_digest(source, queue):
    queue.put(digest(source))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.slow
def test_worker_processes_read_what_their_parent_reads(plate, url, method):
    source = scd.open(url, **options())
    expected = digest(source)  # the parent has threads now
    with multiprocessing.get_context(method).Pool(2) as pool:
        # What is sent is of a module that does not import AnnData.
        sent = [pool.apply_async(digest, (source,)) for _ in range(2)]
        found = [each.get(200) for each in sent]
    assert found == [expected] * 2 == [digest(scd.open(plate))] * 2


def test_a_forked_process_reads_though_its_parent_used_obstore(plate, url):
    source = scd.open(url, **options())
    expected = digest(source)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=_read_digest, args=(source, queue))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert queue.get() == expected
    assert digest(source) == expected  # and the parent goes on


def test_it_pickles_without_asking_again(server, url, plate):
    source = pickle.loads(pickle.dumps(scd.open(url, **options())))
    assert digest(source) == digest(scd.open(plate))
    assert len(server.asked("HEAD")) == 1


def test_no_thread_is_left_when_a_loader_is_closed(url):
    source = scd.open(url, **options())
    before = threading.active_count()
    loader = loader_of(source, fetch_factor=8)
    iterator = iter(loader)
    next(iterator)
    iterator.close()
    assert threading.active_count() <= before


def test_columns_of_obs_that_are_asked_for_later_are_read(plates):
    with RangeServer(plates) as server:
        urls = [f"{server.url}/plate{i}.h5ad" for i in (1, 2)]
        source = scd.open(urls, **options())
        rows = source.where(drug="DMSO")
        local = scd.open([plates / "plate1.h5ad", plates / "plate2.h5ad"])
        assert rows == local.where(drug="DMSO")
        assert source.var.equals(local.var)


def test_two_urls_that_differ_in_what_is_secret_are_two_files(plates):
    with RangeServer(plates) as server:
        url = f"{server.url}/plate1.h5ad"
        source = scd.open([f"{url}?a=1", f"{url}?a=2"], **options())
        assert len(source) == 800
        assert source.files == (url, f"{url} (2)")


def test_local_files_and_urls_go_together(plates):
    local = str(plates / "plate2.h5ad")
    with RangeServer(plates) as server:
        mixed = scd.open([f"{server.url}/plate1.h5ad", local], **options())
        rows = np.arange(0, 800, 7)
        whole = scd.open([plates / "plate1.h5ad", local])
        assert (mixed.read(rows)["X"] != whole.read(rows)["X"]).nnz == 0


def test_dense_rows_and_chosen_genes_are_read(tmp_path):
    import anndata as ad

    X = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    ad.AnnData(X).write_h5ad(tmp_path / "dense.h5ad")
    with RangeServer(tmp_path) as server:
        source = scd.open(f"{server.url}/dense.h5ad", genes=[3, 1, 30], **options())
        with ReadContext(2):
            rows = np.array([0, 5, 5, 49])
            assert (source.read(rows)["X"] == X[rows][:, [3, 1, 30]]).all()


def test_the_cache_knows_objects_by_url_and_version(plate, server, url, tmp_path):
    cache = scd.Cache(tmp_path / "cache")
    expected = digest(scd.open(plate))
    source = scd.open(f"{url}?sig={SECRET}", cache=cache, **options())
    source.fill_cache()
    assert source.cached == 1.0
    again = scd.open(url, cache=cache, **options())
    list(loader_of(again))
    server.forget()
    assert digest(again) == expected
    assert not server.asked("GET")
    kept = list((tmp_path / "cache").rglob("*.json"))
    assert not any(SECRET in path.read_text() for path in kept)
    assert cache.clear(url) > 0
    assert scd.open(url, cache=cache, **options()).cached == 0.0
    again.fill_cache()
    server.put("a.h5ad", Path(plate).read_bytes(), etag="other")
    assert scd.open(url, cache=cache, **options()).cached == 0.0


def test_with_a_cache_the_next_open_of_a_known_file_asks_once(
    plates, tmp_path, monkeypatch
):
    folder = tmp_path / "cache"
    path = plates / "plate1.h5ad"
    with RangeServer({"a.h5ad": path}) as server:
        url = f"{server.url}/a.h5ad"
        first = scd.open(url, obs=True, cache=folder, **options())
        expected = digest(first)
        scd.Cache(folder).process.writer.flush(5.0)
        monkeypatch.setattr(block_reader, "_held", block_reader._HeldBlocks())
        server.forget()
        source = scd.open(url, obs=True, cache=folder, **options())
        assert [request.method for request in server.requests] == ["HEAD"]
        assert all(len(array.table) for array in source.x_arrays())
        assert len(server.requests) == 1
        assert digest(source) == expected == digest(scd.open(path))
        server.put("a.h5ad", plates / "plate2.h5ad")
        other = scd.open(url, obs=True, cache=folder, **options())
        assert digest(other) == digest(scd.open(plates / "plate2.h5ad"))
