"""Batches on their way to a device: read ahead, sharded, and never lost."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scdataset_core as scd
from tests.integrations.contract import reading_threads
from tests.integrations.grain_loaders import N_GENES, plate_loader

jax = pytest.importorskip("jax")
pytest.importorskip("scdataset_grain")

from scdataset_grain import (  # noqa: E402
    BatchIterDataset,
    device_prefetch,
    to_sparse,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("output", ["dense", "padded"])
def test_prefetched_batches_are_the_loaders(plates: Path, output: str) -> None:
    before = reading_threads()
    loader = plate_loader(plates, output=output, drop_last=True)
    expected = list(loader)
    loader.set_epoch(0)
    given = list(device_prefetch(BatchIterDataset(loader)))
    assert isinstance(given[0]["index"], jax.Array)
    for one, other in zip(given, expected, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)
    assert reading_threads() == before


@pytest.mark.parametrize("through_grain", [True, False])
def test_state_is_of_the_batch_that_was_yielded(
    plates: Path, through_grain: bool
) -> None:
    loader = plate_loader(plates, output="padded")
    given = BatchIterDataset(loader) if through_grain else loader
    running = device_prefetch(given)
    for position in range(4):
        state = running.get_state()
        said = json.loads(state)["loader"] if through_grain else state
        assert said["yielded"] == position
        batch = next(running)
    running.close()
    resumed = plate_loader(plates, output="padded")
    resumed.load_state_dict(json.loads(json.dumps(said)))
    np.testing.assert_array_equal(next(iter(resumed))["index"], batch["index"])


def test_threads_that_share_a_prefetch_lose_nothing_and_keep_its_state() -> None:
    loader = scd.Loader(np.arange(400), batch_size=4, fetch_factor=2)
    running = device_prefetch(loader)
    taken: list[Any] = []

    def take() -> None:
        taken.extend(np.asarray(batch) for batch in running)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.sort(np.concatenate(taken)), np.arange(400))
    assert running.get_state()["yielded"] == 100


def test_prefetch_from_before_a_fork_says_so_in_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader = scd.Loader(np.arange(8), scd.Streaming(), batch_size=4)
    running = device_prefetch(loader)
    next(running)
    # as in a child: JAX warns of real forks, and may hang in them
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="called before the process forked; call it"):
        next(running)
    monkeypatch.undo()
    np.testing.assert_array_equal(next(running), np.arange(4, 8))


def test_an_error_on_the_way_to_the_device_rises_and_loses_nothing() -> None:
    fail = True

    def hook(batch: Any) -> Any:
        nonlocal fail
        if batch[0] == 4 and fail:
            fail = False
            raise OSError("the disk was gone for a moment")
        return batch

    loader = scd.Loader(
        np.arange(16), scd.Streaming(), batch_size=4, batch_transform=hook
    )
    running = device_prefetch(loader)
    rows = [*next(running).tolist()]
    with pytest.raises(OSError, match="gone for a moment"):
        next(running)
    rows += [row for batch in running for row in batch.tolist()]
    assert rows == list(range(16))


def test_a_closed_prefetch_says_so() -> None:
    running = device_prefetch(scd.Loader(np.arange(8), batch_size=4))
    next(running)
    running.close()
    with pytest.raises(ValueError, match="closed iterator"):
        next(running)


def test_prefetch_without_a_state_says_so() -> None:
    running = device_prefetch(iter([np.ones(2)]))
    with pytest.raises(TypeError, match="given an iterator without a state"):
        running.get_state()


def test_prefetch_works_ahead_and_stops_when_dropped(plates: Path) -> None:
    taken = 0
    enough = threading.Event()

    def batches() -> Iterator[Any]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            if taken == 3:
                enough.set()
            yield np.ones(4)

    before = reading_threads()
    running = device_prefetch(batches())
    next(running)
    assert enough.wait(60)
    del running
    assert taken <= 4
    assert reading_threads() == before


def test_shorter_last_batch_is_an_error_that_names_the_ways_out(plates: Path) -> None:
    running = device_prefetch(plate_loader(plates, output="dense"))
    words = (
        r"batch\['X'\] has shape \(48, 300\), and the first batch's \(128, 300\):"
        r'.*output="padded".*drop_last=True'
    )
    with pytest.raises(ValueError, match=words):
        list(running)


def test_batch_with_another_part_is_an_error() -> None:
    running = device_prefetch([{"a": np.ones(2)}, {"a": np.ones(2), "b": np.ones(2)}])
    with pytest.raises(ValueError, match=r"batch\['b'\] has shape \(2,\), and the"):
        list(running)


def test_scipy_matrix_is_an_error_that_names_the_way_out(plates: Path) -> None:
    words = r'batch\[\'X\'\] is csr_array.*output="padded".*to_sparse for CSR'
    with pytest.raises(TypeError, match=words):
        next(device_prefetch(plate_loader(plates)))


def test_what_is_no_sharding_is_an_error() -> None:
    with pytest.raises(
        TypeError, match=r"a jax\.sharding\.Sharding or None, got 'data'"
    ):
        device_prefetch([], "data")


def test_text_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"batch\['name'\] is <U1, which cannot go"):
        next(device_prefetch([{"name": np.array(["a"])}]))


def test_row_numbers_beyond_32_bits_are_an_error() -> None:
    far = np.array([3_000_000_000])
    with pytest.raises(OverflowError, match=r"3000000000, and JAX makes it int32"):
        next(device_prefetch([{"index": far}]))
    jax.config.update("jax_enable_x64", True)
    try:
        assert int(next(device_prefetch([{"index": far}]))["index"][0]) == far[0]
    finally:
        jax.config.update("jax_enable_x64", False)


def test_sparse_arrays_of_jax_pass(plates: Path) -> None:
    def convert(batch: Any) -> Any:
        return {**batch, "X": to_sparse(batch["X"], N_GENES)}

    loader = plate_loader(plates, batch_transform=convert, drop_last=True)
    stored = [batch["X"].nse for batch in device_prefetch(loader)]
    assert len(set(stored)) > 2


def run_jax(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    roots = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": roots, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(*running: subprocess.Popen[str]) -> list[Any]:
    said = [process.communicate(timeout=200) for process in running]
    for process, (_, errors) in zip(running, said, strict=True):
        assert process.returncode == 0, errors
    return [json.loads(output.splitlines()[-1]) for output, _ in said]


EIGHT_DEVICES = """
import json
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
import scdataset_core as scd
from scdataset_grain import BatchIterDataset, densify, device_prefetch

assert len(jax.devices()) == 8
sharding = NamedSharding(jax.make_mesh((8,), ("data",)), PartitionSpec("data"))


def make(batch_size):
    source = scd.open("*.h5ad")
    strategy = scd.BlockShuffling(8)
    return scd.Loader(source, strategy, batch_size=batch_size, output="padded")


sums = jax.jit(lambda x: densify(x, 300).sum(axis=1))
equal = []
for batch, other in zip(
    device_prefetch(BatchIterDataset(make(128)), sharding), make(128), strict=True
):
    assert batch["X"]["values"].sharding == sharding
    assert len(batch["index"].addressable_shards) == 8
    assert batch["index"].addressable_shards[3].data.shape == (16,)
    jax.tree.map(np.testing.assert_array_equal, batch, other)
    close = np.allclose(sums(batch["X"]), other["X"]["values"].sum(axis=1))
    equal.append(bool(close))
try:
    next(device_prefetch(make(100), sharding))
except ValueError as error:
    note = error.__notes__[0]
print(json.dumps([equal, sums._cache_size(), note]))
"""


@pytest.mark.slow
def test_batches_lie_over_eight_devices(plates: Path) -> None:
    flags = "--xla_force_host_platform_device_count=8"
    ((equal, compiled, note),) = results(
        run_jax(EIGHT_DEVICES, plates, XLA_FLAGS=flags)
    )
    assert equal == [True] * 10
    assert compiled == 1
    assert "must be a multiple of the devices along axis 0" in note


TWO_PROCESSES = """
import json
import os
import jax
jax.distributed.initialize(
    os.environ["COORDINATOR"], num_processes=2, process_id=int(os.environ["RANK"])
)
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
import scdataset_core as scd
from scdataset_grain import BatchIterDataset, densify, device_prefetch, loader_states

source = scd.open("*.h5ad")
loader = scd.Loader(source, scd.BlockShuffling(8), batch_size=128, output="padded")
dataset = BatchIterDataset(loader, processes="jax")
sharding = NamedSharding(jax.make_mesh((2,), ("data",)), PartitionSpec("data"))
total = jax.jit(lambda batch: densify(batch["X"], 300).sum())
mine, shapes, totals = [], [], []
running = device_prefetch(dataset, sharding)
for batch in running:
    shapes.append(batch["index"].shape)
    mine.append(np.asarray(batch["index"].addressable_shards[0].data).tolist())
    totals.append(float(total(batch)))
states = loader_states(running.get_state())
print(json.dumps([mine, shapes, totals, states]))
jax.distributed.shutdown()
"""


@pytest.mark.slow
def test_two_processes_share_the_work_and_make_global_arrays(plates: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    running = [
        run_jax(TWO_PROCESSES, plates, COORDINATOR=coordinator, RANK=str(rank))
        for rank in range(2)
    ]
    said = results(*running)
    source = scd.open(plates / "*.h5ad")
    whole = scd.Loader(source, scd.BlockShuffling(8), batch_size=128, output="padded")
    for rank, (mine, shapes, totals, states) in enumerate(said):
        share = list(whole.shard(rank=rank, world_size=2))
        assert mine == [batch["index"].tolist() for batch in share]
        assert shapes == [[256]] * 5
        assert totals == said[0][2]
        assert states[0]["shard"]["rank"] == rank
    merged = scd.merge_states([state for *_, states in said for state in states])
    assert merged["done"] == [[0, 10]]
