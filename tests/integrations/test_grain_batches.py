"""BatchIterDataset gives the Loader's minibatches to Grain, and resumes exactly."""

import json
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import scdataset_core as scd

grain = pytest.importorskip("grain")
pytest.importorskip("scdataset_grain")

from absl import flags  # noqa: E402  Grain's own dependency
from grain.experimental import assert_equal_output_after_checkpoint  # noqa: E402
from scdataset_grain import BatchIterDataset, loader_states  # noqa: E402

flags.FLAGS.mark_as_parsed()  # Grain's processes read flags; pytest parses none

N_ROWS = 600
TABLE = np.arange(N_ROWS * 3, dtype=np.float32).reshape(N_ROWS, 3)
WORKERS = grain.multiprocessing.MultiprocessingOptions(num_workers=2)


def make_loader(collection: Any = TABLE, **options: Any) -> scd.Loader:
    sizes: dict[str, Any] = {"batch_size": 32, "fetch_factor": 4, "seed": 3}
    return scd.Loader(collection, scd.BlockShuffling(8), **(sizes | options))


def plate_loader(plates: Path, **options: Any) -> scd.Loader:
    source = scd.open(plates / "*.h5ad", obs=["cell_line", "drug"])
    return make_loader(source, **({"batch_size": 150, "fetch_factor": 2} | options))


def assert_same(one: Any, other: Any) -> None:
    """Compare two minibatches or lists of them, bit for bit."""
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        return
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert set(one) == set(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for parts in zip(one, other, strict=True):
            assert_same(*parts)
    elif sp.issparse(one):
        for part in ("data", "indices", "indptr"):
            assert_same(getattr(one, part), getattr(other, part))
    else:
        assert one == other


@given(
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
    world_size=st.integers(1, 3),
    rank=st.integers(0, 2),
    num_epochs=st.integers(1, 2),
    drop_last=st.booleans(),
)
def test_batches_equal_the_loaders(
    seed: int, epoch: int, world_size: int, rank: int, num_epochs: int, drop_last: bool
) -> None:
    def make() -> scd.Loader:
        loader = make_loader(
            seed=seed,
            drop_last=drop_last,
            rank=rank % world_size,
            world_size=world_size,
            read_ahead=0,
        )
        loader.set_epoch(epoch)
        return loader

    reference = make()
    expected = [batch for _ in range(num_epochs) for batch in reference]
    assert_same(list(BatchIterDataset(make(), num_epochs)), expected)


@pytest.mark.parametrize("output", ["csr", "dense", "padded"])
def test_batches_of_files_equal_the_loaders(plates: Path, output: str) -> None:
    dataset = BatchIterDataset(plate_loader(plates, output=output))
    assert_same(list(dataset), list(plate_loader(plates, output=output)))


def test_iterators_start_at_the_loaders_epoch_and_leave_it_alone() -> None:
    loader = make_loader()
    loader.set_epoch(2)
    dataset = BatchIterDataset(loader)
    before = loader.state_dict()
    running = iter(dataset)
    first = next(running)
    assert_same(list(dataset), [first, *running])
    assert loader.state_dict() == before
    assert_same(first, next(iter(loader)))


def test_without_num_epochs_there_is_no_end() -> None:
    reference = make_loader()
    expected = [batch for _ in range(3) for batch in reference]
    running = iter(BatchIterDataset(make_loader(), num_epochs=None))
    assert_same([next(running) for _ in expected], expected)


def test_without_num_epochs_a_share_of_nothing_ends() -> None:
    loader = make_loader(batch_size=N_ROWS, fetch_factor=1)
    dataset = BatchIterDataset(loader, num_epochs=None)
    dataset.set_slice(slice(1, None, 2))
    assert list(dataset) == []


@pytest.mark.parametrize("num_epochs", [1, 2])
@pytest.mark.parametrize("output", ["dense", "padded"])
def test_passes_grains_checkpoint_check(
    plates: Path, output: str, num_epochs: int
) -> None:
    loader = plate_loader(plates, output=output, threads=1)
    dataset = BatchIterDataset(loader, num_epochs)
    assert_equal_output_after_checkpoint(dataset)
    assert_equal_output_after_checkpoint(dataset.map(lambda batch: batch["X"]))


@pytest.mark.parametrize("num_epochs", [1, 2])
def test_every_state_goes_on_exactly_with_csr(plates: Path, num_epochs: int) -> None:
    dataset = BatchIterDataset(plate_loader(plates, output="csr"), num_epochs)
    running = iter(dataset)
    states, batches = [running.get_state()], []
    for batch in running:
        batches.append(batch)
        states.append(running.get_state())
    assert len(batches) == 8 * num_epochs
    for position, state in enumerate(states):
        resumed = iter(dataset)
        resumed.set_state(state)
        assert resumed.get_state() == state
        assert_same(list(resumed), batches[position:])


def test_state_is_one_json_string() -> None:
    running = iter(BatchIterDataset(make_loader(), num_epochs=2))
    for _ in range(25):
        next(running)
        state = running.get_state()
        assert isinstance(state, str)
        assert json.loads(state)["scdataset_grain"] == 1
    assert json.loads(state)["ended"] == 1


def test_state_is_only_what_was_yielded_not_what_was_read() -> None:
    running = iter(BatchIterDataset(make_loader(read_ahead=4)))
    running.start_prefetch()
    assert json.loads(running.get_state())["loader"]["yielded"] == 0
    first = next(running)
    assert json.loads(running.get_state())["loader"]["yielded"] == 1
    assert_same(first, next(iter(make_loader())))


def test_starts_in_another_process_from_a_state_text() -> None:
    running = iter(BatchIterDataset(make_loader(), num_epochs=3))
    for _ in range(22):  # of 19 an epoch
        next(running)
    state = json.loads(json.dumps(running.get_state()))
    resumed = iter(BatchIterDataset(make_loader(), num_epochs=3))
    resumed.set_state(state)
    assert_same(list(resumed), list(running))


@pytest.mark.parametrize("after", [3, 19])
def test_goes_on_from_a_merged_state_with_other_ranks(after: int) -> None:
    loader = make_loader()
    expected = list(loader)
    running = iter(loader)  # epoch 1
    seen = [next(running) for _ in range(after)]
    merged = scd.merge_states([loader.state_dict()])
    rest = []
    for rank in range(2):
        share = make_loader(rank=rank, world_size=2, uneven="pad")
        source = make_loader(uneven="pad")
        state = {**merged, "uneven": "pad"}
        share.load_state_dict(state)
        rest.append(list(BatchIterDataset(share)))
        source.load_state_dict(state)
    rows = np.concatenate([*rest[0], *rest[1]])[:, 0]
    if after == 19:  # the epoch was finished: the next one begins
        assert set(rows) == set(TABLE[:, 0])
    else:
        done = np.concatenate(seen)[:, 0]
        assert set(rows) == set(TABLE[:, 0]) - set(done)
    assert len(rest[0]) == len(rest[1])
    assert len(expected) == 19


def test_map_and_mix() -> None:
    one = BatchIterDataset(make_loader(), num_epochs=None).map(lambda rows: rows + 1)
    other = BatchIterDataset(make_loader(TABLE[:200]), num_epochs=None)
    mixed = grain.IterDataset.mix([one, other], weights=[0.5, 0.5])
    batches = [batch for batch, _ in zip(mixed, range(8), strict=False)]
    assert_same(batches[0], next(iter(make_loader())) + 1)
    assert_same(batches[1], next(iter(make_loader(TABLE[:200]))))
    limited = grain.experimental.LimitIterDataset(mixed, 12)
    assert_equal_output_after_checkpoint(limited)


def test_a_thread_of_grain_reads_ahead_and_resumes() -> None:
    dataset = grain.experimental.ThreadPrefetchIterDataset(
        BatchIterDataset(make_loader(), num_epochs=2), prefetch_buffer_size=2
    )
    assert_same(list(dataset)[:19], list(make_loader()))
    assert_equal_output_after_checkpoint(dataset)


def test_grains_repeat_repeats_one_epoch() -> None:
    dataset = BatchIterDataset(make_loader())
    repeated = grain.experimental.RepeatIterDataset(dataset, num_epochs=2)
    assert_same(list(repeated), list(make_loader()) * 2)
    assert_equal_output_after_checkpoint(repeated)


def test_an_error_rises_and_loses_nothing() -> None:
    failures = iter([False, False, True, False])

    def fail_once(rows: Any) -> Any:
        if next(failures, False):
            raise ArithmeticError("the hook's own error")
        return rows

    running = iter(BatchIterDataset(make_loader(batch_transform=fail_once)))
    seen = [next(running), next(running)]
    with pytest.raises(ArithmeticError, match="the hook's own error"):
        next(running)
    assert_same([*seen, *running], list(make_loader()))


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
    assert here.poll(60)
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


def test_close_ends_the_iterator() -> None:
    running = iter(BatchIterDataset(make_loader()))
    next(running)
    running.close()
    with pytest.raises(ValueError, match="closed iterator"):
        next(running)


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


def test_states_of_ranks_merge_for_other_ranks() -> None:
    states, seen = [], []
    for rank in range(2):
        running = iter(BatchIterDataset(make_loader(rank=rank, world_size=2)).map(len))
        seen.append([next(running) for _ in range(3)])
        states += loader_states({"step": 3, "data": [running.get_state()]})
    loader = make_loader()
    loader.load_state_dict(scd.merge_states(states))
    rest = list(BatchIterDataset(loader))
    assert sum(map(len, rest)) == N_ROWS - sum(map(sum, seen))


def test_orbax_round_trip(tmp_path: Path) -> None:
    ocp = pytest.importorskip("orbax.checkpoint")
    dataset = BatchIterDataset(make_loader(), num_epochs=2).map(lambda rows: rows * 2)
    running = iter(dataset)
    for _ in range(21):
        next(running)
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(
            21,
            args=ocp.args.Composite(data=grain.checkpoint.CheckpointSave(running)),
        )
        manager.wait_until_finished()
        resumed = iter(dataset)
        manager.restore(
            21,
            args=ocp.args.Composite(data=grain.checkpoint.CheckpointRestore(resumed)),
        )
    assert_same(list(resumed), list(running))


def test_one_jax_process_is_rank_0_of_1() -> None:
    dataset = BatchIterDataset(make_loader(), processes="jax")
    assert_same(list(dataset), list(make_loader()))


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        pytest.param(
            lambda: BatchIterDataset(make_loader(worker=1, num_workers=2)),
            ValueError,
            "already divided: worker 1 of 2",
            id="worker",
        ),
        pytest.param(
            lambda: BatchIterDataset(
                make_loader(rank=1, world_size=2), processes="jax"
            ),
            ValueError,
            "already divided: rank 1 of 2",
            id="rank",
        ),
        pytest.param(
            lambda: BatchIterDataset(make_loader(), num_epochs=0),
            ValueError,
            "num_epochs must be at least 1, got 0",
            id="no_epoch",
        ),
        pytest.param(
            lambda: BatchIterDataset(make_loader(), num_epochs=1.5),
            TypeError,
            r"num_epochs must be an integer, got 1\.5",
            id="half_an_epoch",
        ),
        pytest.param(
            lambda: BatchIterDataset(make_loader(), processes="torch"),
            ValueError,
            'processes must be "jax" or None',
            id="processes",
        ),
        pytest.param(
            lambda: BatchIterDataset(TABLE),
            TypeError,
            "loader must be a Loader, got ndarray",
            id="no_loader",
        ),
    ],
)
def test_wrong_arguments(
    make: Callable[[], Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        make()


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        pytest.param(make_loader(TABLE[:500]), "another data set", id="data"),
        pytest.param(make_loader(seed=4), "another seed", id="seed"),
        pytest.param(
            scd.Loader(TABLE, scd.Streaming(), batch_size=32, fetch_factor=4, seed=3),
            "another strategy",
            id="strategy",
        ),
        pytest.param(
            make_loader(rank=1, world_size=2), "merge the states", id="topology"
        ),
    ],
)
def test_a_state_of_something_else_is_refused(loader: scd.Loader, words: str) -> None:
    state = iter(BatchIterDataset(make_loader())).get_state()
    with pytest.raises(scd.StateError, match=words):
        iter(BatchIterDataset(loader)).set_state(state)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param("nonsense", "no state of a BatchIterDataset", id="no_json"),
        pytest.param({"next_index": 3}, "no state of a BatchIterDataset", id="dict"),
        pytest.param(
            '{"scdataset_grain": 9, "ended": 0, "loader": {}}',
            "version 9",
            id="version",
        ),
        pytest.param(
            '{"scdataset_grain": 1, "ended": 0, "loader": {"version": 9}}',
            "version 9",
            id="loader_version",
        ),
        pytest.param('{"scdataset_grain": 1}', "is damaged", id="no_loader"),
        pytest.param(
            '{"scdataset_grain": 1, "ended": -1, "loader": {}}',
            "is damaged",
            id="ended",
        ),
    ],
)
def test_what_is_no_state_is_refused(state: Any, words: str) -> None:
    running = iter(BatchIterDataset(make_loader()))
    with pytest.raises(scd.StateError, match=words):
        running.set_state(state)


def test_a_tree_without_states_has_none_to_merge() -> None:
    with pytest.raises(scd.StateError, match="no Loader's state in this Grain state"):
        loader_states({"next_index": 3, "names": ["a", "b"]})
