"""States of all ranks in the folder of a checkpoint, without a cluster."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scdataset_core as scd

pytest.importorskip("scdataset_ray")
import ray.train
import scdataset_ray.checkpoints as checkpoints
from scdataset_ray import restore, save
from scdataset_ray.ranks import Ranks

N = 400
NOTHING_LEFT = "ignore:epoch . of this Loader has no minibatch"


def make_loader(n_rows: int = N, **options: Any) -> scd.Loader:
    given: dict[str, Any] = {"batch_size": 5, "fetch_factor": 3, "seed": 7}
    return scd.Loader(np.arange(n_rows), **(given | options))


def take(loaders: list[scd.Loader], n_batches: int | None) -> list[Any]:
    """Return so many batches of each rank, or all that are left."""
    return [
        batch
        for loader in loaders
        for _, batch in zip(range(n_batches or N), loader, strict=False)
    ]


def train(
    loader: scd.Loader, folder: Path, world_size: int, n_batches: int | None
) -> list[Any]:
    """Go on from a folder as the ranks of a run do, and save; return the batches."""
    checkpoint = folder if any(folder.glob("*.json")) else None
    ranks = [
        restore(checkpoint, loader.shard(rank, world_size))
        for rank in range(world_size)
    ]
    batches = take(ranks, n_batches)
    for rank in ranks:
        save(folder, rank)
    return batches


def by_rows(batch: Any) -> Any:
    return batch["index"] if isinstance(batch, dict) else batch


@pytest.mark.parametrize("uneven", ["trim", "pad"])
@pytest.mark.parametrize("worlds", [(3, 2, 4), (2, 5, 1), (1, 3, 3), (4, 4, 2)])
def test_an_epoch_has_every_row_once_however_often_ranks_come_and_go(
    worlds: tuple[int, ...], uneven: Any, tmp_path: Path
) -> None:
    loader = make_loader(uneven=uneven)
    rows = [
        row
        for world, n_batches in zip(worlds, (5, 4, None), strict=True)
        for batch in train(loader, tmp_path / "states", world, n_batches)
        for row in batch.tolist()
    ]
    counts = np.bincount(rows, minlength=N)
    most = worlds[-1] * loader.batch_size
    if uneven == "trim":
        assert counts.max() == 1
        assert (counts == 0).sum() < most
    else:
        assert counts.min() == 1
        assert (counts - 1).sum() < most


def add_one(batch: Any) -> Any:
    return {**batch, "more": batch["index"] + 1}


@pytest.mark.parametrize("case", ["hooks", "split", "padded", "storage"])
def test_row_sets_hooks_and_outputs_are_kept_by_other_numbers_of_ranks(
    case: str, plates: Path, tmp_path: Path
) -> None:
    source = scd.open(plates / "*.h5ad", obs=["cell_line", "drug"])
    wanted, strategy = np.arange(len(source)), scd.BlockShuffling(4)
    options: dict[str, Any] = {}
    if case == "hooks":
        options = {"fetch_transform": lambda cells: cells, "batch_transform": add_one}
    elif case == "split":
        parts = scd.split(source, {"train": 0.7, "test": 0.3}, block_size=8)
        wanted = parts["train"].to_numpy()
        strategy = scd.BlockShuffling(4, indices=parts["train"])
    elif case == "padded":
        options = {"output": "padded"}
    else:
        strategy = scd.BlockShuffling("storage")
    loader = scd.Loader(
        source, strategy, batch_size=16, fetch_factor=4, uneven="pad", **options
    )
    batches = [
        batch
        for world, n_batches in ((3, 6), (2, 9), (4, None))
        for batch in train(loader, tmp_path / "states", world, n_batches)
    ]
    rows = np.concatenate([by_rows(batch) for batch in batches])
    rows = rows[rows >= 0]
    found, counts = np.unique(rows, return_counts=True)
    assert np.array_equal(found, wanted)
    assert (counts - 1).sum() < 4 * 16
    if case == "hooks":
        assert all((b["more"] == b["index"] + 1).all() for b in batches)
    read = source.read(np.sort(batches[0]["index"]))
    order = np.argsort(batches[0]["index"], kind="stable")
    assert (batches[0]["obs"]["drug"][order] == read["obs"]["drug"]).all()


def test_sets_of_cells_are_kept_by_other_numbers_of_ranks(
    plates: Path, tmp_path: Path
) -> None:
    source = scd.open(plates / "*.h5ad", obs=["cell_line", "drug"])
    groups = scd.GroupSampling(
        ["cell_line", "drug"], 8, control={"drug": "DMSO"}, match=["cell_line"]
    )
    loader = scd.Loader(source, groups, batch_size=16, fetch_factor=2, uneven="pad")
    whole = {batch["index"].tobytes(): batch for batch in loader}
    batches = [
        batch
        for world, n_batches in ((3, 3), (2, 4), (4, None))
        for batch in train(loader, tmp_path / "states", world, n_batches)
    ]
    assert {batch["index"].tobytes() for batch in batches} == set(whole)
    assert len(batches) - len(whole) < 4
    for batch in batches:
        same = whole[batch["index"].tobytes()]
        assert np.array_equal(batch["group"], same["group"])
        assert np.array_equal(batch["control"]["index"], same["control"]["index"])


def test_with_as_many_ranks_each_goes_on_with_its_very_next_batch(
    tmp_path: Path,
) -> None:
    loader = make_loader()
    for rank in range(3):
        expected = list(loader.shard(rank, 3))
        own = loader.shard(rank, 3)
        take([own], 4)
        save(tmp_path, own)
        assert len(expected) > 4
    for rank in range(3):
        rest = list(restore(tmp_path, loader.shard(rank, 3)))
        expected = list(loader.shard(rank, 3))[4:]
        assert all(map(np.array_equal, rest, expected))
        assert len(rest) == len(expected)


@pytest.mark.parametrize("world", [1, 2])
def test_a_loader_may_be_restored_before_it_is_divided(
    world: int, tmp_path: Path
) -> None:
    loader = make_loader()
    before = train(loader, tmp_path, world, 5)
    whole = restore(tmp_path, make_loader())
    after = [batch for rank in range(3) for batch in whole.shard(rank, 3)]
    rows = np.concatenate([*before, *after])
    assert len(np.unique(rows)) == len(rows)
    assert N - len(rows) < 3 * loader.batch_size


def test_after_a_finished_epoch_comes_the_next(tmp_path: Path) -> None:
    loader = make_loader()
    train(loader, tmp_path, 2, None)
    for world in (1, 2, 3):
        own = restore(tmp_path, loader.shard(0, world))
        assert own.next_epoch == 1
        expected = loader.fresh(1).shard(0, world)
        assert all(map(np.array_equal, own, expected))


def test_a_run_that_begins_has_no_checkpoint() -> None:
    loader = make_loader()
    assert restore(None, loader) is loader
    assert loader.next_epoch == 0


def test_a_checkpoint_of_ray_is_read_without_the_files_of_the_model(
    tmp_path: Path,
) -> None:
    loader = make_loader()
    take([loader], 3)
    save(tmp_path, loader)
    model = tmp_path / "model.bin"
    model.write_bytes(b"weights")
    model.chmod(0)
    checkpoint = ray.train.Checkpoint.from_directory(tmp_path)
    rest = list(restore(checkpoint, make_loader()))
    assert all(map(np.array_equal, rest, list(make_loader())[3:]))


def test_several_loaders_go_into_one_checkpoint(tmp_path: Path) -> None:
    first, second = make_loader(), make_loader(60)
    take([first], 3)
    take([second], 5)
    save(tmp_path, first, name="train")
    save(tmp_path, second, name="val-2")
    assert len(list(restore(tmp_path, make_loader(60), name="val-2"))) == 12 - 5
    with pytest.raises(scd.StateError, match="there is 'train', 'val-2': give name="):
        restore(tmp_path, make_loader())


def test_a_folder_that_is_written_again_holds_the_latest_run(tmp_path: Path) -> None:
    loader = make_loader()
    train(loader, tmp_path, 3, 2)
    for rank in range(2):
        own = loader.shard(rank, 2)
        take([own], 4)
        save(tmp_path, own)
    assert len(list(tmp_path.iterdir())) == 3
    own = restore(tmp_path, loader.shard(1, 2))
    assert all(map(np.array_equal, own, list(loader.shard(1, 2))[4:]))


def test_merged_states_are_saved_by_every_rank_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loader = make_loader()
    ranks = [loader.shard(rank, 2) for rank in range(2)]
    batches = take(ranks, 4)
    merged = scd.merge_states([rank.state_dict() for rank in ranks])
    for rank in range(2):
        monkeypatch.setattr(checkpoints, "find_ranks", lambda r=rank: Ranks(r, 2, 2))
        save(tmp_path, merged)
    rest = list(restore(tmp_path, make_loader()))
    rows = np.concatenate([*batches, *rest])
    assert np.array_equal(np.sort(rows), np.arange(N))


def test_what_cannot_be_saved_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=r"loader must be .* got list"):
        save(tmp_path, [])
    with pytest.raises(scd.StateError, match="no state of a Loader"):
        save(tmp_path, {"epoch": 1})

    class Other:
        def state_dict(self) -> dict[str, int]:
            return {"_snapshot": 1}

    with pytest.raises(scd.StateError, match=r"Other.*state_after\(n_batches"):
        save(tmp_path, Other())
    for name in ("", "a/b", "../x", 3):
        with pytest.raises(ValueError, match="name must be letters"):
            save(tmp_path, make_loader(), name=name)
    monkeypatch.setattr(checkpoints, "find_ranks", lambda: Ranks(1, 2, 2))
    with pytest.raises(ValueError, match=r"rank 0 of 1.* is rank 1 of 2; .*shard\("):
        save(tmp_path, make_loader())
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_restored_is_named(tmp_path: Path) -> None:
    loader = make_loader()
    no_loader: Any = []
    with pytest.raises(TypeError, match=r"checkpoint must be .* got int"):
        restore(3, loader)
    with pytest.raises(TypeError, match="loader must be"):
        restore(None, no_loader)
    with pytest.raises(scd.StateError, match='no state of a loader named "loader"'):
        restore(tmp_path, loader)
    own = loader.shard(0, 2)
    take([own], 1)
    save(tmp_path, own)
    with pytest.raises(scd.StateError, match=r"2 ranks.*rank00001-worker000.*every"):
        restore(tmp_path, loader)
    file = tmp_path / "scdataset-loader-rank00000-worker000.json"
    state = json.loads(file.read_text())
    endless = {**state["shard"], "world_size": 10**12}
    file.write_text(json.dumps({**state, "shard": endless, "yielded": 0}))
    with pytest.raises(scd.StateError, match="1000000000000 ranks, and there is no"):
        restore(tmp_path, loader)
    file.write_text(json.dumps(state))
    (tmp_path / "scdataset-loader-rank00001-worker000.json").write_text("{")
    with pytest.raises(scd.StateError, match="damaged"):
        restore(tmp_path, loader)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        restore(tmp_path / "nowhere", loader)


def test_states_of_different_steps_and_data_are_refused(tmp_path: Path) -> None:
    loader = make_loader()
    train(loader, tmp_path, 2, 3)
    with pytest.raises(scd.StateError, match="another data set"):
        restore(tmp_path, make_loader(90).shard(0, 2))
    file = tmp_path / "scdataset-loader-rank00001-worker000.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, "epoch": 1}))
    for world_size in (2, 3):
        with pytest.raises(scd.StateError, match="after the same step"):
            restore(tmp_path, loader.shard(1, world_size))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("world", [2, 3])
def test_a_dataset_of_pytorch_is_saved_and_restored(
    world: int, num_workers: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch = pytest.importorskip("scdataset_torch")
    data = pytest.importorskip("torch.utils.data")

    def datasets(world_size: int) -> Iterator[Any]:
        monkeypatch.setenv("WORLD_SIZE", str(world_size))
        for rank in range(world_size):
            monkeypatch.setenv("RANK", str(rank))
            yield torch.LoaderDataset(make_loader(uneven="pad"))

    begun = list(datasets(2))
    batches = take(begun, 5)
    for dataset in begun:
        save(tmp_path, dataset)
    for dataset in datasets(world):
        restore(tmp_path, dataset)
        batches += data.DataLoader(dataset, None, num_workers=num_workers)
    counts = np.bincount(np.concatenate(batches), minlength=N)
    assert counts.min() == 1
    assert (counts - 1).sum() < world * 5
