"""Processes that are killed while they fill a cache leave one that is right."""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import time
import warnings

import pytest

import scdataset_core as scd
from tests.storage.cache.plates import digest, write_plate

pytest.importorskip("anndata")
if not hasattr(os, "fork"):
    pytest.skip("the processes are forked", allow_module_level=True)

# Rounds of the slow test; 200 were run when it was written.
ROUNDS = int(os.environ.get("SCDATASET_KILL_ROUNDS", "6"))
N_PROCESSES = 4


def fill(plates, folder, limit, number, ready):
    """Fill a cache in one way or another until the end."""
    warnings.simplefilter("error")
    source = scd.open(plates, cache=scd.Cache(folder, limit))
    ready.release()
    for epoch in itertools.count():
        if number % 2:
            digest(source, epoch)
        else:
            source.fill_cache(threads=1)
            scd.Cache(folder, limit).clear(plates[number % len(plates)])


def run_and_kill(plates, folder, limit, rng):
    context = multiprocessing.get_context("fork")
    ready = context.Semaphore(0)
    processes = [
        context.Process(target=fill, args=(plates, folder, limit, number, ready))
        for number in range(N_PROCESSES)
    ]
    for process in processes:
        process.start()
    if rng.random() < 0.8:  # else while they open it
        ready.acquire(timeout=20)
    for process in processes:
        time.sleep(rng.expovariate(50))
        assert process.exitcode is None, "it failed before it was killed"
        os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        process.join()


def check_rounds(plates, folder, n_rounds, seed):
    rng = random.Random(seed)
    expected = [digest(scd.open(plates), epoch) for epoch in range(2)]
    for number in range(n_rounds):
        limit = rng.choice([None, None, 60_000, 200_000])
        run_and_kill(plates, folder, limit, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            source = scd.open(plates, cache=scd.Cache(folder, limit))
            for epoch in range(2):
                assert digest(source, epoch) == expected[epoch], (number, epoch)
            source.fill_cache()
            assert digest(source, 0) == expected[0], number
        assert all(entry.in_use for entry in scd.Cache(folder).entries())
        # This process has one for each limit; those of killed ones are removed.
        assert len(list((folder / "users").iterdir())) <= 4
        if rng.random() < 0.3:
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plates")
    return [write_plate(folder / f"plate{i}.h5ad", i) for i in range(3)]


def test_a_cache_is_right_after_processes_that_filled_it_were_killed(plates, tmp_path):
    check_rounds(plates, tmp_path / "cache", 1, seed=0)


@pytest.mark.slow
def test_a_cache_is_right_after_many_rounds_of_killed_processes(plates, tmp_path):
    check_rounds(plates, tmp_path / "cache", ROUNDS, seed=1)
