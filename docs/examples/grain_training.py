"""Train a small JAX model on .h5ad files through Grain; stop it at any time, and go on.

    python docs/examples/grain_training.py "plates/*.h5ad" --model probe --label drug \
        --steps 200 --checkpoint run.npz

Started again after it was killed, it goes on from its last checkpoint: the batches, and
so the losses, are those of a run that was never stopped. Needs optax.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scdataset_grain import BatchIterDataset, densify, device_prefetch

import scdataset_core as scd

Params = dict[str, jax.Array]


def init_params(model: str, n_genes: int, n_labels: int, seed: int) -> Params:
    """Return the first weights of a linear probe or an autoencoder."""
    keys = jax.random.split(jax.random.key(seed))
    if model == "probe":
        return {"W": jnp.zeros((n_genes, n_labels)), "b": jnp.zeros(n_labels)}
    scale, n_hidden = n_genes**-0.5, 16
    return {
        "encode": scale * jax.random.normal(keys[0], (n_genes, n_hidden)),
        "decode": scale * jax.random.normal(keys[1], (n_hidden, n_genes)),
        "b": jnp.zeros(n_genes),
    }


def probe_loss(params: Params, x: jax.Array, label: jax.Array) -> jax.Array:
    """Return the cross-entropy of each cell's label."""
    logits = x @ params["W"] + params["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def autoencoder_loss(params: Params, x: jax.Array, label: jax.Array) -> jax.Array:
    """Return the mean squared error of each cell; labels play no part."""
    del label
    hidden = jnp.tanh(x @ params["encode"])
    return ((hidden @ params["decode"] + params["b"] - x) ** 2).mean(axis=1)


LOSSES = {"probe": probe_loss, "autoencoder": autoencoder_loss}


def make_step(
    model: str, optimizer: optax.GradientTransformation, n_genes: int, label: str
) -> Callable[..., tuple[Params, Any, jax.Array]]:
    """Return the compiled step: dense rows exist on the device alone."""

    def mean_loss(params: Params, batch: dict[str, Any]) -> jax.Array:
        x = jnp.log1p(densify(batch["X"], n_genes))
        codes = batch["obs"][label]
        counted = (batch["index"] >= 0) & (
            codes >= 0
        )  # no filled row, no missing label
        losses = LOSSES[model](params, x, jnp.maximum(codes, 0))
        return jnp.where(counted, losses, 0).sum() / jnp.maximum(counted.sum(), 1)

    @jax.jit
    def step(params: Params, moments: Any, batch: dict[str, Any]) -> Any:
        loss, gradients = jax.value_and_grad(mean_loss)(params, batch)
        updates, moments = optimizer.update(gradients, moments, params)
        return optax.apply_updates(params, updates), moments, loss

    return step


def save(path: Path, step: int, trained: Any, data_state: str) -> None:
    """Write a checkpoint in full before it takes the place of the last one."""
    leaves = {f"leaf{i}": leaf for i, leaf in enumerate(jax.tree.leaves(trained))}
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, step=step, data_state=data_state, **leaves)
    partial.replace(path)


def load(path: Path, trained: Any) -> tuple[int, Any, str]:
    """Return the step, what was trained, and where the data stands."""
    with np.load(path) as saved:
        tree = jax.tree.structure(trained)
        leaves = [jnp.asarray(saved[f"leaf{i}"]) for i in range(tree.num_leaves)]
        step, state = int(saved["step"]), str(saved["data_state"])
    return step, jax.tree.unflatten(tree, leaves), state


def train(options: argparse.Namespace) -> None:
    """Train, and print the loss of every step."""
    source = scd.open(options.files, obs=[options.label])
    loader = scd.Loader(
        source,
        scd.BlockShuffling(block_size=16),
        batch_size=options.batch_size,
        seed=options.seed,
        output="padded",
        dtype="float32",
    )
    n_genes, n_labels = source.shape[1], len(source.categories[options.label])
    optimizer = optax.adam(options.learning_rate)
    params = init_params(options.model, n_genes, n_labels, options.seed)
    moments = optimizer.init(params)
    step_of = make_step(options.model, optimizer, n_genes, options.label)

    data = iter(BatchIterDataset(loader, num_epochs=None))
    first = 0
    if options.checkpoint.exists():
        first, (params, moments), state = load(options.checkpoint, (params, moments))
        data.set_state(state)
    batches = device_prefetch(data)
    for step in range(first, options.steps):
        params, moments, loss = step_of(params, moments, next(batches))
        print(step, float(loss).hex(), f"{loss:.4f}", flush=True)
        if (step + 1) % options.save_every == 0:
            state = batches.get_state()
            save(options.checkpoint, step + 1, (params, moments), state)
    batches.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files")
    parser.add_argument("--model", choices=sorted(LOSSES), default="probe")
    parser.add_argument("--label", default="drug")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--save-every", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, default=Path("run.npz"))
    train(parser.parse_args())
