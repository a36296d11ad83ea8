"""accelerate and transformers' Trainer: every cell once over two real ranks."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scdataset_torch")
pytest.importorskip("accelerate")

from accelerate import skip_first_batches
from scdataset_torch import LoaderDataset
from scdataset_torch.accelerate import rank_dataloader

from scdataset_core import BlockShuffling, Loader, StateError

HERE = Path(__file__).parent
N_ROWS = 240


def make_loader():
    return Loader(np.arange(N_ROWS), BlockShuffling(4), batch_size=4, fetch_factor=3)


def listed(batches):
    return [batch.tolist() for batch in batches]


class DataLoaderDispatcher:
    """Calls a data set as accelerate's does."""

    def set_epoch(self, dataset):
        dataset.set_epoch(0)


def test_what_deals_out_one_ranks_share_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StateError, match=r"rank_dataloader\(dataset, device\)"):
        DataLoaderDispatcher().set_epoch(LoaderDataset(make_loader()))
    DataLoaderDispatcher().set_epoch(LoaderDataset(make_loader(), ranks=False))


def test_each_iteration_is_the_next_epoch():
    batches = rank_dataloader(LoaderDataset(make_loader()), "cpu")
    loader = make_loader()
    assert [listed(batches) for _ in range(2)] == [listed(loader) for _ in range(2)]


def test_an_epoch_is_gone_on_with_after_skipped_batches():
    loader = make_loader()
    loader.set_epoch(3)
    epoch = listed(loader)
    batches = rank_dataloader(LoaderDataset(make_loader()))
    batches.set_epoch(3)
    assert listed(skip_first_batches(batches, 7)) == epoch[7:]


def test_a_loaded_state_is_gone_on_from():
    loader = make_loader()
    loader.set_epoch(2)
    iterator = iter(loader)
    head = [next(iterator).tolist() for _ in range(5)]
    resumed = make_loader()
    resumed.load_state_dict(loader.state_dict())
    batches = rank_dataloader(LoaderDataset(resumed))
    assert head + listed(batches) == [*head, *listed(iterator)]
    assert listed(batches) == listed(loader)


def test_a_data_set_of_other_ranks_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    dataset = LoaderDataset(make_loader())
    with pytest.raises(ValueError, match="among 2 ranks, and accelerate has 1"):
        rank_dataloader(dataset)


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="must be a LoaderDataset, got Loader"):
        rank_dataloader(make_loader())
    with pytest.raises(TypeError, match="batch_size is the Loader's to decide"):
        rank_dataloader(LoaderDataset(make_loader()), batch_size=4)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Return what each of two ranks saw."""
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    out = subprocess.run(
        [sys.executable, str(HERE / "accelerate_ranks.py"), str(folder)],
        env=os.environ | shared,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert out.returncode == 0, out.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def times_seen(batches_of_ranks):
    rows = chain.from_iterable(chain.from_iterable(batches_of_ranks))
    return Counter(rows)


ONCE = Counter(range(N_ROWS))


@pytest.mark.slow
def test_a_share_is_not_dealt_out_again_by_prepare(ranks):
    for rank in ranks:
        assert "has taken one rank's share of 2 already" in rank["dealt_twice"]
        assert "among 1 ranks, and accelerate has 2" in rank["made_too_early"]


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [0, 1])
def test_every_row_comes_once_over_the_ranks(ranks, epoch):
    assert times_seen(rank["dealt"][epoch] for rank in ranks) == ONCE
    for workers in (0, 1):
        epochs = [rank["read"][workers]["epochs"][epoch] for rank in ranks]
        assert times_seen(epochs) == ONCE
    halves = slice(epoch * 30, epoch * 30 + 30)
    assert times_seen(rank["trained"][halves] for rank in ranks) == ONCE


@pytest.mark.slow
def test_ranks_go_on_where_they_stood(ranks):
    for rank in ranks:
        without_workers = rank["read"][0]
        assert without_workers["skipped"] == without_workers["epochs"][1][7:]
        for step in (20, 40):
            assert rank[f"from_{step}"] == rank["trained"][step:]
    for workers in (0, 1):
        seen = [rank["read"][workers] for rank in ranks]
        assert times_seen(r["epochs"][2] + r["after"][0] for r in seen) == ONCE
        assert times_seen(r["after"][1] for r in seen) == ONCE
