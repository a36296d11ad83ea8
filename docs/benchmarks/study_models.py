"""The models that the study trains, all three on the same minibatches."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from study_plates import N_DRUGS, N_LINES

from scdataset_core.tools.linear import SoftmaxRegression, normalise

Floats = npt.NDArray[np.float32]

HIDDEN = 32
CLASSIFIER_RATE, AUTOENCODER_RATE = 0.03, 0.003  # of Adam, at the first minibatch


class Autoencoder:
    """A layer of 32 hyperbolic tangents between two linear maps, trained with Adam."""

    def __init__(self, n_genes: int, *, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        shape = (n_genes, HIDDEN)
        self.encoder = rng.normal(0, n_genes**-0.5, shape).astype(np.float32)
        self.bias = np.zeros(HIDDEN, np.float32)
        self.decoder = np.zeros(shape[::-1], np.float32)
        self.output = np.zeros(n_genes, np.float32)
        self.learning_rate = AUTOENCODER_RATE
        self._parts = (self.encoder, self.bias, self.decoder, self.output)
        self._moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self._parts]
        self._steps = 0

    def fit_batch(self, x: Floats) -> None:
        """Take one step on a minibatch."""
        hidden = np.tanh(x @ self.encoder + self.bias)
        error = hidden @ self.decoder + self.output - x
        error /= len(x)
        back = (error @ self.decoder.T) * (1 - hidden * hidden)
        self._step(x.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0))

    def unexplained(self, x: Floats) -> float:
        """Return the part of the variance of cells that it does not reconstruct."""
        hidden = np.tanh(x @ self.encoder + self.bias)
        error = hidden @ self.decoder + self.output - x
        return float((error**2).sum() / ((x - x.mean(axis=0)) ** 2).sum())

    def _step(self, *gradients: Floats) -> None:
        self._steps += 1
        rate = self.learning_rate * (1 - 0.999**self._steps) ** 0.5
        rate /= 1 - 0.9**self._steps
        for part, gradient, (mean, square) in zip(
            self._parts, gradients, self._moments, strict=True
        ):
            mean += np.float32(0.1) * (gradient - mean)
            square += np.float32(0.001) * (gradient * gradient - square)
            part -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-8))


class Models:
    """A linear classifier of each of two labels, and an autoencoder.

    The classifiers get cells of unit length; the autoencoder gets them with a mean of
    about 0 and a variance of about 1 a gene. Learning rates fall to 0 over the epoch.
    """

    def __init__(self, examples: Floats, *, n_steps: int, seed: int) -> None:
        self.mean = examples.mean(axis=0)
        self.scale = np.float32(examples.var(axis=0).mean() ** -0.5)
        n_genes = len(self.mean)
        self.lines = SoftmaxRegression(n_genes, N_LINES)
        self.drugs = SoftmaxRegression(n_genes, N_DRUGS)
        self.autoencoder = Autoencoder(n_genes, seed=seed)
        self._n_steps, self._steps = n_steps, 0

    def fit_batch(self, batch: dict[str, Any]) -> None:
        """Take one step of each model."""
        left = 1 - self._steps / self._n_steps
        self._steps += 1
        self.lines.learning_rate = self.drugs.learning_rate = CLASSIFIER_RATE * left
        self.autoencoder.learning_rate = AUTOENCODER_RATE * left
        x = batch["X"]
        self.lines.fit_batch(x, batch["obs"]["cell_line"])
        self.drugs.fit_batch(x, batch["obs"]["drug"])
        self.autoencoder.fit_batch((x - self.mean) * self.scale)

    def test(self, X: Floats, obs: dict[str, Any]) -> dict[str, float]:
        """Return what the models do on cells that they have not seen."""
        lines, drugs = self.lines.predict(X), self.drugs.predict(X)
        return {
            "cell line": float((lines == obs["cell_line"]).mean()),
            "drug": float((drugs == obs["drug"]).mean()),
            "autoencoder": self.autoencoder.unexplained((X - self.mean) * self.scale),
        }


def prepare(x: Any) -> Floats:
    """Return CSR counts as dense rows of unit length."""
    return np.asarray(normalise(x, counts=True).toarray(), np.float32)
