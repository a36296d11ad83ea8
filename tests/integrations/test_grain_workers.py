"""BatchIterDataset in threads and processes of Grain, and in forked ones."""

import os
import sys
import threading
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scdataset_core as scd

grain = pytest.importorskip("grain")
pytest.importorskip("scdataset_grain")

from absl import flags  # noqa: E402  Grain's own dependency
from grain.experimental import assert_equal_output_after_checkpoint  # noqa: E402
from scdataset_grain import BatchIterDataset, loader_states  # noqa: E402

from tests.integrations.grain_batches import (  # noqa: E402
    TABLE,
    assert_same,
    make_loader,
    plate_loader,
)

flags.FLAGS.mark_as_parsed()  # Grain's processes read flags; pytest parses none

WORKERS = grain.multiprocessing.MultiprocessingOptions(num_workers=2)


def test_a_thread_of_grain_reads_ahead_and_resumes() -> None:
    dataset = grain.experimental.ThreadPrefetchIterDataset(
        BatchIterDataset(make_loader(), num_epochs=2), prefetch_buffer_size=2
    )
    assert_same(list(dataset)[:19], list(make_loader()))
    assert_equal_output_after_checkpoint(dataset)


def test_threads_that_share_an_iterator_lose_and_double_nothing() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        loader = make_loader(TABLE[:40], batch_size=8, fetch_factor=1)
        running = iter(BatchIterDataset(loader, num_epochs=30))
        taken: list[Any] = []

        def take() -> None:
            for batch in running:
                taken.append(batch)

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    rows, times = np.unique(np.concatenate(taken)[:, 0], return_counts=True)
    np.testing.assert_array_equal(rows, TABLE[:40, 0])
    assert set(times) == {30}


def tell(pipe: Any, running: Any) -> None:
    try:
        pipe.send(next(running))
    except RuntimeError as error:
        pipe.send(str(error))


def in_forked_child(running: Any) -> Any:
    here, there = get_context("fork").Pipe()
    child = get_context("fork").Process(target=tell, args=(there, running))
    child.start()
    assert here.poll(200)
    said = here.recv()
    child.join(60)
    assert child.exitcode == 0
    return said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_an_iterator_that_had_begun_before_a_fork_says_so_in_the_child() -> None:
    running = iter(BatchIterDataset(make_loader()))
    first = next(running)
    assert "before the process forked; make another with iter(dataset)" in (
        in_forked_child(running)
    )
    assert_same([first, *running], list(make_loader()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_an_iterator_that_had_not_begun_before_a_fork_works_in_the_child() -> None:
    running = iter(BatchIterDataset(make_loader()))
    assert_same(in_forked_child(running), next(running))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_slices_are_absolute_and_lose_and_double_nothing(n: int) -> None:
    dataset = BatchIterDataset(make_loader())
    seen = []
    for worker in range(n):
        for _ in range(2):  # Grain sets the slice each time it makes an iterator
            dataset.set_slice(slice(worker, None, n))
        share = make_loader().shard(worker=worker, num_workers=n)
        assert_same(list(dataset), list(share))
        seen += [batch[:, 0] for batch in dataset]
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), TABLE[:, 0])


def test_wrong_slice_is_an_error() -> None:
    dataset = BatchIterDataset(make_loader())
    with pytest.raises(ValueError, match=r"slice\(worker, None, num_workers\), got"):
        dataset.set_slice(slice(2, 5, 3))


def test_threads_of_grain_divide_the_work() -> None:
    dataset = grain.experimental.multithread_prefetch(
        BatchIterDataset(make_loader(), num_epochs=2), num_threads=2, buffer_size=1
    )
    rows = np.concatenate(list(dataset))[:, 0]
    np.testing.assert_array_equal(np.sort(rows), np.repeat(TABLE[:, 0], 2))


@pytest.mark.slow
def test_mp_prefetch_loses_and_doubles_nothing_and_resumes(plates: Path) -> None:
    loader = plate_loader(plates, batch_size=40, output="csr")
    dataset = BatchIterDataset(loader).mp_prefetch(WORKERS)
    running = iter(dataset)
    batches, states = [], [running.get_state()]
    for batch in running:
        batches.append(batch)
        states.append(running.get_state())
    running.close()
    # two workers in turn: fetches of two minibatches, dealt one by one
    shares = [list(loader.shard(worker=w, num_workers=2)) for w in range(2)]
    assert [len(share) for share in shares] == [16, 14]
    in_turn = [batch for pair in zip(*shares, strict=False) for batch in pair]
    assert_same(batches, in_turn + shares[0][14:])

    resumed = iter(dataset)
    resumed.set_state(states[7])
    assert_same(list(resumed), batches[7:])
    resumed.close()

    merged = scd.merge_states(loader_states(states[7]))
    elastic = plate_loader(plates, batch_size=40, output="csr")
    elastic.load_state_dict(merged)
    left = np.concatenate([batch["index"] for batch in BatchIterDataset(elastic)])
    done = np.concatenate([batch["index"] for batch in batches[:7]])
    assert sorted([*left, *done]) == list(range(1200))


def test_states_of_a_pipeline_that_has_not_begun_merge() -> None:
    dataset = BatchIterDataset(make_loader()).mp_prefetch(WORKERS)
    states = loader_states(iter(dataset).get_state())
    assert scd.merge_states(states)["done"] == []


def test_one_jax_process_is_rank_0_of_1() -> None:
    dataset = BatchIterDataset(make_loader(), processes="jax")
    assert_same(list(dataset), list(make_loader()))
