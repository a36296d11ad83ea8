"""A worker of Ray Train finds its rank, and takes its share of a Loader."""

from typing import Any

import numpy as np
import pytest

import scdataset_core as scd

pytest.importorskip("scdataset_ray")
import ray.train
from scdataset_ray import shard

import scdataset_core.thread_count as thread_count


class Context:
    """What ``ray.train.get_context()`` returns in a worker."""

    def __init__(self, rank: Any, world_size: Any, n_here: int = 1) -> None:
        self.get_world_rank = lambda: rank
        self.get_world_size = lambda: world_size
        self.get_local_world_size = lambda: n_here


def as_worker(monkeypatch: pytest.MonkeyPatch, *context: Any) -> None:
    monkeypatch.setattr(ray.train, "get_context", lambda: Context(*context))


def test_the_shares_of_all_workers_are_the_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader = scd.Loader(np.arange(96), batch_size=4, fetch_factor=2)
    rows = []
    for rank in range(3):
        as_worker(monkeypatch, rank, 3)
        share = shard(loader)
        assert (share.rank, share.world_size) == (rank, 3)
        rows += [row for batch in share for row in batch.tolist()]
    assert sorted(rows) == list(range(96))


def test_workers_of_one_machine_divide_its_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(thread_count, "available_cores", lambda: 8)
    as_worker(monkeypatch, 1, 6, 2)
    assert shard(scd.Loader(np.arange(9), batch_size=1)).threads == 4
    assert shard(scd.Loader(np.arange(9), batch_size=1, threads=3)).threads == 3
    as_worker(monkeypatch, 1, 6, 1)
    assert shard(scd.Loader(np.arange(9), batch_size=1)).threads == 8


def test_elsewhere_it_is_said_where_to_call_it() -> None:
    with pytest.raises(RuntimeError, match=r"train_loop_per_worker.*loader\.shard"):
        shard(scd.Loader(np.arange(9), batch_size=1))


def test_what_says_no_rank_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    as_worker(monkeypatch, None, None)
    with pytest.raises(RuntimeError, match="this process is none"):
        shard(scd.Loader(np.arange(9), batch_size=1))


def test_wrong_loaders_are_refused() -> None:
    with pytest.raises(TypeError, match=r"must be a scdataset_core\.Loader, got ndarr"):
        shard(np.arange(9))
    with pytest.raises(ValueError, match=r"already divided.*finds the rank"):
        shard(scd.Loader(np.arange(9), batch_size=1).shard(1, 2))
