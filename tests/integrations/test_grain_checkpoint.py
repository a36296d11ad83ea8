"""Orbax saves and restores every iterator of the adapter through `grain.checkpoint`."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scdataset_core as scd

jax = pytest.importorskip("jax")
grain = pytest.importorskip("grain")
ocp = pytest.importorskip("orbax.checkpoint")
pytest.importorskip("scdataset_grain")

from absl import flags  # noqa: E402
from scdataset_grain import (  # noqa: E402
    BatchIterDataset,
    CellSource,
    FetchDataset,
    SplitFetches,
    device_prefetch,
)

if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # mp_prefetch asks for this outside of absl's app.run

READ = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
# Each imports Grain and JAX first; test_grain_workers.py resumes two of them.
WORKERS = grain.multiprocessing.MultiprocessingOptions(num_workers=1)
Pipeline = Callable[[Path], Any]


def make_loader(plates: Path, **options: Any) -> scd.Loader:
    source = scd.open(plates / "*.h5ad", obs=["drug"])
    given: dict[str, Any] = {"batch_size": 64, "fetch_factor": 4, "seed": 1}
    given |= {"output": "padded"}
    return scd.Loader(source, scd.BlockShuffling(8), **(given | options))


def batches(plates: Path, num_epochs: int | None = 2) -> Any:
    return BatchIterDataset(make_loader(plates), num_epochs)


def single_cells(plates: Path) -> Any:
    source = CellSource(scd.open(plates / "*.h5ad", obs=["drug"]))
    return grain.MapDataset.source(source).shuffle(seed=1)


def grain_loader(plates: Path) -> Any:
    source = CellSource(scd.open(plates / "*.h5ad"))
    sampler = grain.samplers.IndexSampler(
        num_records=60, num_epochs=1, shuffle=True, seed=1
    )
    batch = grain.transforms.Batch(batch_size=4)
    return grain.DataLoader(data_source=source, sampler=sampler, operations=[batch])


PIPELINES: dict[str, Pipeline] = {
    "batches": batches,
    "map": lambda plates: batches(plates).map(lambda batch: batch["X"]),
    "grain_thread": lambda plates: grain.experimental.ThreadPrefetchIterDataset(
        batches(plates), prefetch_buffer_size=3
    ),
    "mix": lambda plates: grain.IterDataset.mix(
        [batches(plates), batches(plates, None)], weights=[0.5, 0.5]
    ),
    "fetches": lambda plates: (
        FetchDataset(make_loader(plates))
        .shuffle(seed=1)
        .to_iter_dataset(READ)
        .apply(SplitFetches())
    ),
    "cells": lambda plates: single_cells(plates).to_iter_dataset(READ).batch(50),
    "batched_cells": lambda plates: (
        single_cells(plates).batch(50).to_iter_dataset(READ)
    ),
    "grain_loader": grain_loader,
    "loader": make_loader,
}
IN_PROCESSES: dict[str, Pipeline] = {
    "batches_mp": lambda plates: batches(plates).mp_prefetch(WORKERS),
    "cells_mp": lambda plates: (
        single_cells(plates).to_iter_dataset(READ).batch(50).mp_prefetch(WORKERS)
    ),
}


def some(running: Iterator[Any], n: int) -> list[Any]:
    return [jax.tree.map(np.asarray, next(running)) for _ in range(n)]


def save(manager: Any, step: int, running: Any) -> None:
    data = grain.checkpoint.CheckpointSave(running)
    manager.save(step, args=ocp.args.Composite(data=data))
    manager.wait_until_finished()


def restore(manager: Any, step: int, running: Any) -> None:
    data = grain.checkpoint.CheckpointRestore(running)
    manager.restore(step, args=ocp.args.Composite(data=data))


def check_goes_on(start: Callable[[], Any], folder: Path, n_left: int = 5) -> None:
    """Save after 3 batches; restore into a fresh iterator, and into one that has run.

    The pipeline is read on after the save, so what a thread had ready by then is there.
    """
    with ocp.CheckpointManager(folder) as manager:
        running = start()
        some(running, 3)
        save(manager, 3, running)
        expected = some(running, n_left)
        fresh = start()
        restore(manager, 3, fresh)
        assert jax.tree.all(jax.tree.map(np.array_equal, some(fresh, n_left), expected))
        restore(manager, 3, running)
        assert jax.tree.all(
            jax.tree.map(np.array_equal, some(running, n_left), expected)
        )
        for iterator in (running, fresh):
            if hasattr(iterator, "close"):
                iterator.close()


@pytest.mark.parametrize("name", sorted(set(PIPELINES) - {"loader"}))
def test_orbax_restores_the_very_next_batch(
    name: str, plates: Path, tmp_path: Path
) -> None:
    check_goes_on(lambda: iter(PIPELINES[name](plates)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", PIPELINES)
def test_orbax_restores_what_device_prefetch_returns(
    name: str, plates: Path, tmp_path: Path
) -> None:
    check_goes_on(lambda: device_prefetch(PIPELINES[name](plates)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "name"), [(iter, "batches_mp"), (device_prefetch, "cells_mp")]
)
def test_orbax_restores_pipelines_with_a_worker_process(
    start: Any, name: str, plates: Path, tmp_path: Path
) -> None:
    check_goes_on(lambda: start(IN_PROCESSES[name](plates)), tmp_path)


@pytest.mark.parametrize("at", [0, 18, 19, 20, 38])
def test_prefetched_state_at_the_ends_of_epochs(
    at: int, plates: Path, tmp_path: Path
) -> None:
    with ocp.CheckpointManager(tmp_path) as manager:
        running = device_prefetch(batches(plates))
        some(running, at)
        save(manager, at, running)
        rest = [batch["index"].tolist() for batch in running]
        assert len(rest) == 38 - at
        resumed = device_prefetch(batches(plates))
        restore(manager, at, resumed)
        assert [batch["index"].tolist() for batch in resumed] == rest


def test_a_loader_that_was_at_the_end_of_an_epoch_yields_no_more_of_it(
    plates: Path, tmp_path: Path
) -> None:
    loader = make_loader(plates)
    with ocp.CheckpointManager(tmp_path) as manager:
        running = device_prefetch(loader)
        assert len(list(running)) == 19
        save(manager, 19, running)
        again = make_loader(plates)
        resumed = device_prefetch(again)
        restore(manager, 19, resumed)
        assert list(resumed) == []
    np.testing.assert_array_equal(
        next(device_prefetch(again))["index"], next(iter(loader))["index"]
    )
    assert again.epoch == loader.epoch == 1


def test_what_was_prefetched_and_not_yielded_is_not_saved(
    plates: Path, tmp_path: Path
) -> None:
    seen = []
    ahead = threading.Event()

    def look(batch: Any) -> Any:
        seen.append(batch["index"])
        if len(seen) == 3:
            ahead.set()
        return batch

    running = device_prefetch(batches(plates).map(look))
    first = next(running)
    assert ahead.wait(60)  # three taken, one yielded
    with ocp.CheckpointManager(tmp_path) as manager:
        save(manager, 1, running)
        saved = json.loads(next(tmp_path.rglob("process_0-of-1.json")).read_text())
        resumed = device_prefetch(batches(plates).map(lambda batch: batch))
        restore(manager, 1, resumed)
    assert json.loads(saved)["loader"]["yielded"] == 1
    np.testing.assert_array_equal(first["index"], seen[0])
    np.testing.assert_array_equal(next(resumed)["index"], seen[1])
    running.close()
    resumed.close()


def test_state_of_other_data_is_refused_by_name(plates: Path, tmp_path: Path) -> None:
    with ocp.CheckpointManager(tmp_path) as manager:
        save(manager, 1, device_prefetch(batches(plates)))
        other = device_prefetch(BatchIterDataset(make_loader(plates, seed=2)))
        with pytest.raises(scd.StateError, match="seed"):
            restore(manager, 1, other)


def test_without_a_state_there_is_nothing_to_save_or_to_go_on_from() -> None:
    running = device_prefetch(iter([np.ones(2)]))
    with pytest.raises(TypeError, match="an iterator without a state; give it a Batch"):
        running.get_state()
    with pytest.raises(TypeError, match="an iterator without a state; give it a Batch"):
        running.set_state({})
