"""Runs of Ray Train whose workers die, and that go on with another number of them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scdataset_core as scd

pytest.importorskip("scdataset_ray")
import ray.train

from tests.integrations import ray_loops

IN_CLUSTER = pytest.mark.cluster
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    # Ray sets what it has deprecated, and leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def make_trainer(
    use: str, config: dict[str, Any], n_workers: Any, storage: Path
) -> Any:
    scaling: dict[str, Any] = {"resources_per_worker": {"CPU": 1}}
    options: dict[str, Any] = {
        "train_loop_config": {"use": use, "n_epochs": 1, "die_at": None, **config},
        "scaling_config": ray.train.ScalingConfig(num_workers=n_workers, **scaling),
        "run_config": ray.train.RunConfig(name="run", storage_path=str(storage)),
    }
    if use == "torch":
        from ray.train.torch import TorchTrainer

        return TorchTrainer(ray_loops.train, **options)
    if use == "jax":
        from ray.train.v2.jax import JaxTrainer

        return JaxTrainer(ray_loops.train, **options)
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    return DataParallelTrainer(ray_loops.train, **options)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    folder.mkdir()
    return folder


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("use", "uneven", "first", "then"),
    [
        pytest.param("plain", "trim", 3, 2, id="plain_3_to_2"),
        pytest.param("torch", "pad", 2, 3, id="torch_2_to_3", marks=IN_CLUSTER),
        pytest.param("jax", "trim", 3, 2, id="jax_3_to_2", marks=IN_CLUSTER),
    ],
)
def test_a_killed_worker_costs_no_cell_and_brings_none_twice(
    use: str,
    uneven: Any,
    first: int,
    then: int,
    plates: Path,
    log: Path,
    tmp_path: Path,
) -> None:
    source = scd.open(plates / "plate1.h5ad", obs=["cell_line"])
    n = len(source)
    loader = scd.Loader(
        source,
        scd.BlockShuffling(4),
        batch_size=9,
        fetch_factor=3,
        seed=5,
        uneven=uneven,
    )
    config = {"loader": loader, "log": str(log), "save_at": [4, 7]}
    dying = {**config, "run": "dies", "die_at": [first - 1, 8]}
    with pytest.raises(ray.train.TrainingFailedError, match="Worker"):
        make_trainer(use, dying, first, tmp_path / "store").fit()
    result = make_trainer(
        use, {**config, "run": "goes on", "save_at": []}, then, tmp_path / "store"
    ).fit()
    assert result.error is None

    notes = ray_loops.read_notes(log)
    goes_on = [note for note in notes if note["run"] == "goes on"]
    (begun_at,) = {note["begun_at"] for note in goes_on}
    assert begun_at == 7
    assert {note["world_size"] for note in goes_on} == {then}
    kept = [n for n in notes if n["run"] == "dies" and n["step"] <= begun_at] + goes_on
    counts = np.bincount(np.concatenate([note["rows"] for note in kept]), minlength=n)
    if uneven == "trim":
        assert counts.max() == 1
        assert 0 <= (counts == 0).sum() < then * 9
    else:
        assert counts.min() == 1
        assert (counts - 1).sum() < then * 9


@IN_CLUSTER
@pytest.mark.usefixtures("ray_cluster")
def test_a_loop_of_jax_trains_on_every_cell_once_in_each_epoch(
    plates: Path, log: Path, tmp_path: Path
) -> None:
    loader = scd.Loader(scd.open(plates / "plate1.h5ad"), batch_size=10, fetch_factor=2)
    config = {"loader": loader, "log": str(log), "save_at": [], "run": "all"}
    trainer = make_trainer("jax", {**config, "n_epochs": 2}, 2, tmp_path / "store")
    assert trainer.fit().error is None
    notes = ray_loops.read_notes(log)
    for epoch in range(2):
        of_epoch = [note for note in notes if (note["step"] - 1) // 20 == epoch]
        rows = np.concatenate([note["rows"] for note in of_epoch])
        assert np.array_equal(np.sort(rows), np.arange(400))
    shares = [loader.shard(rank, 2) for rank in range(2)]
    for rank, share in enumerate(shares):
        own = [note["rows"] for note in notes if note["rank"] == rank]
        assert own[:20] == [batch["index"].tolist() for batch in share]


@IN_CLUSTER
def test_a_run_goes_on_with_the_machines_that_are_left(
    plates: Path, log: Path, tmp_path: Path
) -> None:
    """Ray restarts it with fewer workers; the script has a cluster of its own."""
    script = Path(ray_loops.__file__).with_name("ray_lost_machine.py")
    paths = os.pathsep.join(path for path in sys.path if path)
    subprocess.run(
        [sys.executable, script, plates / "plate1.h5ad", log, tmp_path / "store"],
        check=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    notes = ray_loops.read_notes(log)
    runs = {(note["begun_at"], note["world_size"]) for note in notes}
    assert runs == {(0, 3), (4, 2)}
    kept = [n for n in notes if n["begun_at"] == 4 or n["step"] <= 4]
    rows = np.concatenate([note["rows"] for note in kept])
    counts = np.bincount(rows, minlength=400)
    assert counts.min() == 1
    assert (counts - 1).sum() < 2 * 9


@IN_CLUSTER
@pytest.mark.usefixtures("ray_cluster")
def test_ray_restarts_a_run_by_itself_where_it_stood(
    plates: Path, log: Path, tmp_path: Path
) -> None:
    """With as many workers, each goes on with the very batches that were to come."""
    loader = scd.Loader(scd.open(plates / "plate1.h5ad"), batch_size=10, fetch_factor=4)
    config = {"loader": loader, "log": str(log), "save_at": [3], "run": "all"}
    dying = {**config, "die_at": [1, 5]}
    trainer = make_trainer("plain", dying, 2, tmp_path / "store")
    trainer.run_config.failure_config = ray.train.FailureConfig(max_failures=1)
    trainer.fit()
    notes = ray_loops.read_notes(log)
    for rank in range(2):
        expected = [batch["index"].tolist() for batch in loader.shard(rank, 2)]
        after = [
            note["rows"] for note in notes if note["begun_at"] and note["rank"] == rank
        ]
        assert after == expected[3:]
