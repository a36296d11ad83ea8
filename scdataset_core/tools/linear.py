"""A linear classifier of cells, trained minibatch by minibatch in NumPy and SciPy.

It is softmax regression on log-normalised rows with Adam: the smallest model that
shows whether the order of the cells lets a model learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SoftmaxRegression", "normalise"]

TARGET_SUM = 1e4


class SoftmaxRegression:
    """Multinomial logistic regression, fitted by one Adam step a minibatch.

    Parameters
    ----------
    n_genes
        Columns of X.
    n_classes
        Number of labels; labels are codes in ``[0, n_classes)``.
    learning_rate
        Step size of Adam. The default suits rows of unit length, which
        `normalise` gives.

    Examples
    --------
    >>> model = SoftmaxRegression(2, 2, learning_rate=0.1)
    >>> X = normalise(np.array([[5.0, 0.0], [0.0, 3.0]]), counts=True)
    >>> for _ in range(20):
    ...     loss = model.fit_batch(X, np.array([0, 1]))
    >>> model.predict(X).tolist()
    [0, 1]
    """

    def __init__(
        self, n_genes: int, n_classes: int, *, learning_rate: float = 0.03
    ) -> None:
        self.weights = np.zeros((n_genes, n_classes), np.float32)
        self.bias = np.zeros(n_classes, np.float32)
        self.learning_rate = learning_rate
        self._steps = 0
        self._moments = [
            (np.zeros_like(part), np.zeros_like(part))
            for part in (self.weights, self.bias)
        ]

    def fit_batch(self, X: Any, labels: npt.NDArray[np.integer[Any]]) -> float:
        """Take one step on a minibatch; return its mean loss before that, in nats.

        Parameters
        ----------
        X
            Normalised rows, shape ``(m, n_genes)``, CSR or dense.
        labels
            Codes, shape ``(m,)``.
        """
        rows = np.arange(len(labels))
        scores = self._scores(X)
        scores -= scores.max(axis=1, keepdims=True)
        likelihood = np.exp(scores)
        likelihood /= likelihood.sum(axis=1, keepdims=True)
        loss = -np.log(likelihood[rows, labels] + 1e-12).mean()
        likelihood[rows, labels] -= 1
        likelihood /= len(labels)
        self._step([X.T @ likelihood, likelihood.sum(axis=0)])
        return float(loss)

    def predict(self, X: Any) -> npt.NDArray[np.int64]:
        """Return the most likely code of each row of `X`, shape ``(m,)``."""
        return np.asarray(self._scores(X).argmax(axis=1), np.int64)

    def _scores(self, X: Any) -> npt.NDArray[np.float32]:
        return np.asarray(X @ self.weights + self.bias)

    def _step(self, gradients: list[npt.NDArray[np.float32]]) -> None:
        """Take a step of Adam with its usual constants, in place to save memory."""
        self._steps += 1
        rate = self.learning_rate * (1 - 0.999**self._steps) ** 0.5
        rate /= 1 - 0.9**self._steps
        parts = (self.weights, self.bias)
        for part, gradient, (mean, square) in zip(
            parts, gradients, self._moments, strict=True
        ):
            mean += np.float32(0.1) * (gradient - mean)
            gradient *= gradient
            square += np.float32(0.001) * (gradient - square)
            np.sqrt(square, out=gradient)
            gradient += np.float32(1e-8)
            np.divide(mean, gradient, out=gradient)
            part -= np.float32(rate) * gradient


def normalise(X: Any, *, counts: bool) -> Any:
    """Return rows of unit length, float32, of the type of `X`.

    Parameters
    ----------
    X
        Rows of cells, shape ``(m, n_genes)``, CSR or dense; it is not changed.
    counts
        Whether `X` holds raw counts. These are scaled to 10,000 a cell, and their
        ``log1p`` is taken; other values are only scaled to unit length.

    Examples
    --------
    >>> normalise(np.array([[3.0, -4.0], [0.0, 0.0]]), counts=False).tolist()
    [[0.6000000238418579, -0.800000011920929], [0.0, 0.0]]
    """
    sparse = not isinstance(X, np.ndarray)
    X = X.astype(np.float32)  # a copy, also where X is float32
    values = X.data if sparse else X
    if counts:
        values *= _spread(X, np.float32(TARGET_SUM) / _replace_zeros(X.sum(axis=1)))
        np.log1p(values, out=values)
    squares = type(X)((values * values, X.indices, X.indptr)) if sparse else X * X
    values *= _spread(X, _replace_zeros(squares.sum(axis=1)) ** np.float32(-0.5))
    return X


def _replace_zeros(sums: Any) -> npt.NDArray[np.float32]:
    """Return the sums of rows with 1 in place of 0, so that they can be divided by."""
    flat = np.asarray(sums, np.float32).ravel()
    return np.where(flat == 0, np.float32(1), flat)


def _spread(X: Any, of_row: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the factor of its row for every value of `X`."""
    if isinstance(X, np.ndarray):
        return of_row[:, None]
    return np.repeat(of_row, np.diff(X.indptr))
