"""URLs in worker processes of every start method, and in forks by hand."""

import multiprocessing
import os
import sys

import pytest

import scdataset_core as scd
from tests.servers.remote_cells import HTTP_OPTIONS, assert_same, batches
from tests.storage.cache.plates import digest

pytest.importorskip("obstore")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="has no fork")


@pytest.fixture
def far(files, server):
    return scd.open(files.urls("gzip", server.url), storage_options=HTTP_OPTIONS)


def loader_of(source, **options):
    return scd.Loader(
        source, scd.BlockShuffling(4), batch_size=8, fetch_factor=3, seed=3, **options
    )


def rows_of(loader):
    return [batch["index"].tolist() for batch in loader]


@pytest.mark.parametrize(
    ("method", "used"),
    [
        ("fork", False),
        ("fork", True),
        pytest.param("spawn", True, marks=pytest.mark.slow),
        pytest.param("forkserver", True, marks=pytest.mark.slow),
    ],
)
def test_a_process_reads_what_its_parent_reads(far, method, used):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"has no {method}")
    expected = digest(far) if used else None
    with multiprocessing.get_context(method).Pool(1) as pool:
        got = pool.apply(digest, (far,))
    assert got == (expected or digest(far))


@needs_fork
def test_forks_of_forks_while_the_parent_reads(far):
    iterator = batches(far)
    first = next(iterator)
    children = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert_same(next(batches(far)), first)
                grandchild = os.fork()
                if grandchild == 0:
                    code = 2
                    assert_same(next(batches(far)), first)
                    code = 0
                else:
                    code = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
            finally:
                os._exit(code)
        children.append(pid)
    assert len(list(iterator)) == 29
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert codes == [0, 0]


@pytest.mark.parametrize(
    ("method", "cached"),
    [("fork", False), ("fork", True), ("spawn", True), ("forkserver", False)],
)
@pytest.mark.slow
def test_workers_of_a_dataloader_and_resuming(files, server, tmp_path, method, cached):
    pytest.importorskip("scdataset_torch")
    from scdataset_torch import LoaderDataset
    from torch.utils.data import DataLoader

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"has no {method}")
    source = scd.open(
        files.urls("gzip", server.url),
        storage_options=HTTP_OPTIONS,
        cache=tmp_path / "cache" if cached else None,
    )
    near = scd.open(files.paths("gzip"))
    expected = sorted(rows_of(loader_of(near)))
    next(batches(source))  # so that the parent has a store of its own
    dataset = LoaderDataset(loader_of(source))
    data = DataLoader(
        dataset,
        batch_size=None,
        num_workers=2 if method == "fork" else 1,  # which imports PyTorch first
        multiprocessing_context=method,
    )
    got = sorted(batch["index"].tolist() for batch in data)
    assert got == expected


def test_a_state_fits_copies_and_urls_alike(far, files):
    loader = loader_of(far)
    iterator = iter(loader)
    for _ in range(7):
        next(iterator)
    rest = [batch["index"].tolist() for batch in iterator]
    state = loader_of(far)
    iterator = iter(state)
    for _ in range(7):
        next(iterator)
    again = loader_of(far)
    again.load_state_dict(state.state_dict())
    assert rows_of(again) == rest
    halves = [loader_of(far).shard(rank=rank, world_size=2) for rank in (0, 1)]
    merged = scd.merge_states([half.state_dict() for half in halves])
    whole = loader_of(far)
    whole.load_state_dict(merged)
    assert sum(map(len, rows_of(whole))) == 240
