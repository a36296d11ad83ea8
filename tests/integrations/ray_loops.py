"""Training functions that the workers of Ray run in the tests.

Each notes the rows of every step, so that a test can count what a run has trained on.
"""

import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray.train
import scdataset_ray


def train(config: dict[str, Any]) -> None:
    """Go through a Loader's epochs.

    Parameters
    ----------
    config
        ``loader``; ``log``, a folder for the notes; ``run``, the name of the run;
        ``n_epochs``; ``save_at``, the steps after which a checkpoint is written;
        ``die_at``, the rank and the step at which a worker is killed, or None: only
        once, in the run that begins at the beginning; ``stop_at``, the step after which
        that run waits until it is killed, or None;
        ``use``: "plain", "torch" or "jax".
    """
    context = ray.train.get_context()
    checkpoint = ray.train.get_checkpoint()
    step = begun_at = _step_of(checkpoint)
    note = _Notes(config, context.get_world_rank(), context.get_world_size(), begun_at)
    batches = {"plain": _plain, "torch": _torch, "jax": _jax}[config["use"]]
    for batch, state in batches(config, checkpoint):
        step += 1
        note(step, batch["index"].tolist())
        if step in config["save_at"]:
            _report(step, state())
        if config["die_at"] == [context.get_world_rank(), step] and not begun_at:
            # Ray notes a checkpoint a while after it was written.
            ray.train.get_all_reported_checkpoints()
            os.kill(os.getpid(), signal.SIGKILL)
        if config.get("stop_at") == step and not begun_at:
            ray.train.get_all_reported_checkpoints()
            Path(config["log"], f"stopped-{context.get_world_rank()}").touch()
            threading.Event().wait()


Batches = Iterator[tuple[Any, Any]]  # each with a function that gives what is saved


def _plain(config: dict[str, Any], checkpoint: Any) -> Batches:
    loader = scdataset_ray.shard(config["loader"])
    scdataset_ray.restore(checkpoint, loader)
    while loader.next_epoch < config["n_epochs"]:
        for batch in loader:
            yield batch, lambda: loader


def _torch(config: dict[str, Any], checkpoint: Any) -> Batches:
    import torch
    from scdataset_torch import LoaderDataset, to_tensors
    from torch.utils.data import DataLoader

    loader = scdataset_ray.restore(checkpoint, config["loader"])
    dataset = LoaderDataset(loader, collate=to_tensors("dense"))
    batches = DataLoader(dataset, batch_size=None, num_workers=0)
    model = torch.nn.Linear(loader.source.shape[1], 1)
    model = ray.train.torch.prepare_model(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    while dataset.next_epoch < config["n_epochs"]:
        for n_batches, batch in enumerate(batches, 1):
            optimizer.zero_grad()
            model(batch["X"]).mean().backward()
            optimizer.step()
            yield batch, lambda: dataset.state_after(n_batches)  # noqa: B023  # at once


def _jax(config: dict[str, Any], checkpoint: Any) -> Batches:
    import jax
    import jax.numpy as jnp

    @jax.jit
    def update(weights: Any, X: Any) -> Any:
        return weights - 1e-6 * jax.grad(lambda w: (X @ w).mean())(weights)

    assert jax.process_count() == 1  # on CPUs Ray joins processes only where asked
    weights = jnp.zeros(config["loader"].source.shape[1])
    for batch, state in _plain(config, checkpoint):
        weights = update(weights, jnp.asarray(batch["X"].toarray()))
        yield batch, state


class _Notes:
    """A file of the rows of each step of a worker."""

    def __init__(self, config: Any, rank: int, world_size: int, begun_at: int) -> None:
        self._path = Path(config["log"], f"{config['run']}-{begun_at}-{rank}.jsonl")
        self._same = {"rank": rank, "world_size": world_size, "begun_at": begun_at}
        self._same["run"] = config["run"]

    def __call__(self, step: int, rows: list[int]) -> None:
        line = json.dumps({**self._same, "step": step, "rows": rows})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def read_notes(log: Path) -> list[dict[str, Any]]:
    """Return what all workers of all runs have noted."""
    return [
        json.loads(line)
        for path in sorted(log.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def _report(step: int, loader: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scdataset_ray.save(folder, loader)
        Path(folder, "step.txt").write_text(str(step), encoding="utf-8")
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"step": step}, checkpoint=checkpoint)


def _step_of(checkpoint: Any) -> int:
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        return int(Path(folder, "step.txt").read_text(encoding="utf-8"))
