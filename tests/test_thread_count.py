"""The cores are divided among the workers and ranks of a machine."""

import numpy as np
import pytest

from scdataset_core import Loader, thread_count
from scdataset_core.shares import Shard
from scdataset_core.thread_count import choose_threads

LOCAL, MASTER = "LOCAL_WORLD_SIZE", "MASTER_ADDR"


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (LOCAL, MASTER):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cores(monkeypatch):
    return lambda n: monkeypatch.setattr(thread_count, "available_cores", lambda: n)


@pytest.mark.parametrize(
    ("n_cores", "num_workers", "expected"),
    [
        (1, 1, 1),
        (2, 1, 2),
        (2, 2, 1),
        (2, 5, 1),
        (8, 3, 2),
        (32, 1, 8),
        (32, 2, 8),
        (32, 8, 4),
    ],
)
def test_workers_divide_the_cores(cores, n_cores, num_workers, expected):
    cores(n_cores)
    assert choose_threads(None, Shard(num_workers=num_workers)) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, 4, id="ranks_may_be_anywhere"),
        pytest.param({LOCAL: "4"}, 1, id="four_here"),
        pytest.param({LOCAL: "2", MASTER: "node-1"}, 2, id="two_here"),
        pytest.param({LOCAL: "1", MASTER: "node-1"}, 4, id="one_here"),
        pytest.param({LOCAL: "100"}, 1, id="no_more_than_there_are"),
        pytest.param({LOCAL: "0"}, 4, id="nonsense"),
        pytest.param({LOCAL: "two"}, 4, id="no_number"),
        pytest.param({LOCAL: "-2"}, 4, id="negative"),
        pytest.param({MASTER: "node-1"}, 4, id="elsewhere"),
        pytest.param({MASTER: "localhost"}, 1, id="all_here"),
        pytest.param({MASTER: "127.0.0.1"}, 1, id="all_here_by_number"),
    ],
)
def test_ranks_of_this_machine_divide_the_cores(
    cores, monkeypatch, environment, expected
):
    cores(8)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shard = Shard(world_size=4, num_workers=2)
    assert choose_threads(None, shard) == expected


def test_a_launcher_of_others_changes_nothing_for_an_undivided_loader(
    cores, monkeypatch
):
    cores(8)
    monkeypatch.setenv(LOCAL, "4")
    assert choose_threads(None, Shard()) == 8


def test_what_the_user_gives_is_taken(cores):
    cores(2)
    assert choose_threads(5, Shard(num_workers=4)) == 5


def test_an_iterator_reads_with_its_share(cores):
    cores(6)
    loader = Loader(np.arange(40), batch_size=2)
    shares = [loader, loader.shard(num_workers=3), loader.shard(num_workers=50)]
    assert [iter(share)._context.threads for share in shares] == [6, 2, 1]
    told = Loader(np.arange(40), batch_size=2, threads=3).shard(num_workers=2)
    assert iter(told)._context.threads == 3


@pytest.mark.parametrize(
    ("threads", "limit"), [(1025, "at most 1024"), (2**70, r"below 2\*\*63")]
)
def test_more_threads_than_can_be_started_are_an_error(threads, limit):
    with pytest.raises(ValueError, match=rf"threads must be {limit}, got {threads}"):
        Loader(np.arange(10), threads=threads)
