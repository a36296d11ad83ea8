"""BatchIterDataset gives the Loader's minibatches to Grain, and resumes exactly."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import scdataset_core as scd

grain = pytest.importorskip("grain")
pytest.importorskip("scdataset_grain")

from absl import flags  # noqa: E402  Grain's own dependency
from grain.experimental import assert_equal_output_after_checkpoint  # noqa: E402
from scdataset_grain import BatchIterDataset, loader_states  # noqa: E402

from tests.integrations.contract import InProcessContract, Running  # noqa: E402
from tests.integrations.grain_batches import (  # noqa: E402
    N_ROWS,
    TABLE,
    assert_same,
    make_loader,
    plate_loader,
)

flags.FLAGS.mark_as_parsed()  # Grain's processes read flags; pytest parses none


class RunningDataset:
    """An iterator that does not end, with Grain's own state."""

    def __init__(self, loader: scd.Loader, state: Any) -> None:
        self.iterator = iter(BatchIterDataset(loader, num_epochs=None))
        if state is not None:
            self.iterator.set_state(state)

    def __iter__(self) -> Any:
        return self.iterator

    def state(self) -> Any:
        return self.iterator.get_state()


class TestBatchIterDataset(InProcessContract):
    """A rank is the Loader's own; Grain divides among its workers."""

    takes_shards = ("rank",)

    def one_epoch(self, loader: Any) -> Any:
        return BatchIterDataset(loader)

    def run(self, loader: scd.Loader, state: Any = None) -> Running:
        return RunningDataset(loader, state)

    def merge(self, state: Any) -> dict[str, Any]:
        return scd.merge_states(loader_states(state))


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


def test_map_and_mix() -> None:
    one = BatchIterDataset(make_loader(), num_epochs=None).map(lambda rows: rows + 1)
    other = BatchIterDataset(make_loader(TABLE[:200]), num_epochs=None)
    mixed = grain.IterDataset.mix([one, other], weights=[0.5, 0.5])
    batches = [batch for batch, _ in zip(mixed, range(8), strict=False)]
    assert_same(batches[0], next(iter(make_loader())) + 1)
    assert_same(batches[1], next(iter(make_loader(TABLE[:200]))))
    limited = grain.experimental.LimitIterDataset(mixed, 12)
    assert_equal_output_after_checkpoint(limited)


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


def test_close_ends_the_iterator() -> None:
    running = iter(BatchIterDataset(make_loader()))
    next(running)
    running.close()
    with pytest.raises(ValueError, match="closed iterator"):
        next(running)


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


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
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
    ],
)
def test_wrong_arguments(
    make: Callable[[], Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        make()


def test_a_state_of_another_rank_is_refused() -> None:
    state = iter(BatchIterDataset(make_loader())).get_state()
    rank = make_loader(rank=1, world_size=2)
    with pytest.raises(scd.StateError, match="merge the states"):
        iter(BatchIterDataset(rank)).set_state(state)


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


def test_a_state_of_more_epochs_than_there_are_has_ended() -> None:
    longer = iter(BatchIterDataset(make_loader(), num_epochs=3))
    for _ in range(50):
        next(longer)
    assert json.loads(longer.get_state())["ended"] == 2
    running = iter(BatchIterDataset(make_loader()))
    running.set_state(longer.get_state())
    running.start_prefetch()
    assert list(running) == []


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"shard": 5}, id="shard"),
        pytest.param({"shard": {"num_workers": "1"}}, id="part_of_a_shard"),
        pytest.param({"yielded": None}, id="yielded"),
        pytest.param({"length": 2 * 10**9, "fetch_factor": 3 * 10**9}, id="sizes"),
    ],
)
def test_a_damaged_state_of_the_loader_is_refused(parts: dict[str, Any]) -> None:
    running = iter(BatchIterDataset(make_loader()))
    held = json.loads(running.get_state())
    state = json.dumps({**held, "loader": {**held["loader"], **parts}})
    with pytest.raises(scd.StateError, match=r"damaged|another number of rows"):
        running.set_state(state)
    if "length" not in parts:
        with pytest.raises(scd.StateError, match="damaged"):
            loader_states({"data": state})
    lacking = {k: v for k, v in held["loader"].items() if k not in parts}
    with pytest.raises(scd.StateError, match=f"no {next(iter(parts))}|damaged"):
        running.set_state(json.dumps({**held, "loader": lacking}))


def test_nesting_without_end_is_no_state() -> None:
    running = iter(BatchIterDataset(make_loader()))
    nested = "[" * 10**5 + "]" * 10**5
    with pytest.raises(scd.StateError, match="no state of a BatchIterDataset"):
        running.set_state(nested)
    with pytest.raises(scd.StateError, match=r"version|no state"):
        running.set_state(f'{{"scdataset_grain": {"[" * 5000 + "]" * 5000}}}')
