"""The demo: what the order in which cells are read does to a model.

One epoch of a linear classifier is trained from the files three ways: in file order,
by block sampling with batched fetching, and in truly random order. Each way is
measured by how fast it gives cells, how mixed its minibatches are, and how well the
model does on cells it has not seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..loader import Loader
from ..metrics import batch_entropies, expected_entropy
from ..permutation import Purpose, derive_key, permute
from ..strategies import BlockShuffling, Streaming
from .linear import SoftmaxRegression, normalise
from .synthetic import Compression, make_plates, plate_paths

if TYPE_CHECKING:
    from ..sources.base import Source

__all__ = ["Comparison", "Outcome", "compare", "demo_plates"]

HELD_OUT_SHARE = 0.1
HELD_OUT_MOST = 5_000
WATCHED_CELLS = 500  # of the held-out ones, for the accuracy along the epoch
WATCHED_TIMES = 20
LOADING_S = 10.0  # at most, for the pass that only loads

Rows = npt.NDArray[np.int64]
Report = Callable[[str, int, int], object]
"""Called with what is being done, how many cells of it are done, and of how many."""


@dataclass(frozen=True)
class Outcome:
    """What one way of reading gave.

    Attributes
    ----------
    name
        The way.
    block_size, fetch_factor
        Its sizes; `block_size` is 0 for file order.
    loading, training
        Cells a second, of a pass that only loads and of the epoch of training.
    entropy, entropy_std
        Of the label in a minibatch, in bits: mean and standard deviation.
    accuracy
        Share of held-out cells whose label the trained model predicts.
    curve
        Accuracy on some of them along the epoch: (cells seen, accuracy).
    """

    name: str
    block_size: int
    fetch_factor: int
    loading: float
    training: float
    entropy: float
    entropy_std: float
    accuracy: float
    curve: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Comparison:
    """The ways of reading side by side, and what they had in common.

    Attributes
    ----------
    label
        The obs column that was learned.
    n_classes, n_train, n_held_out, batch_size
        The sizes of the experiment.
    random_entropy
        Entropy to expect of cells drawn at random one by one, in bits.
    majority
        Share of the held-out cells that have the most common label: the accuracy of
        a model that has learned nothing else.
    outcomes
        One for each way.
    """

    label: str
    n_classes: int
    n_train: int
    n_held_out: int
    batch_size: int
    random_entropy: float
    majority: float
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class _Task:
    """What is learned from which cells, the same for every way."""

    source: Source
    label: str
    train: Rows
    held_out: Rows
    batch_size: int
    seed: int

    @property
    def n_classes(self) -> int:
        return len(self.source.categories[self.label])


@dataclass(frozen=True)
class _Watched:
    """Some of the held-out cells, kept in memory and tested along the epoch."""

    X: Any  # Any: CSR or dense, as stored
    labels: npt.NDArray[Any]
    counts: bool  # whether values are raw counts

    def accuracy(self, model: SoftmaxRegression) -> float:
        return float((model.predict(self.X) == self.labels).mean())


@dataclass(frozen=True)
class _Way:
    """One way of reading."""

    name: str
    block_size: int  # 0: file order
    fetch_factor: int

    def loader(self, task: _Task) -> Loader:
        strategy = (
            BlockShuffling(self.block_size, indices=task.train)
            if self.block_size
            else Streaming(indices=task.train)
        )
        return Loader(
            task.source,
            strategy,
            batch_size=task.batch_size,
            fetch_factor=self.fetch_factor,
            seed=task.seed,
        )


def demo_plates(
    folder: str | Path | None = None,
    *,
    n_plates: int = 4,
    n_cells: int = 10_000,
    n_genes: int = 62_710,
    compression: Compression | None = "gzip",
    report: Report | None = None,
) -> list[Path]:
    """Return synthetic plates, made once and kept for the next time.

    Parameters
    ----------
    folder
        Where plates of all sizes are kept; the user's cache folder by default.
    n_plates, n_cells, n_genes, compression
        As for :func:`scdataset_core.tools.synthetic.make_plates`.
    report
        Told of progress.
    """
    root = _cache_folder() if folder is None else Path(folder)
    home = root / f"plates-{n_plates}x{n_cells}x{n_genes}-{compression or 'none'}"
    paths = plate_paths(home, n_plates)
    if all(path.exists() for path in paths):
        return paths
    done = 0

    def count(written: int) -> None:
        nonlocal done
        done += written
        if report is not None:
            report("make plates", done, n_plates * n_cells)

    return make_plates(
        home,
        n_plates=n_plates,
        n_cells=n_cells,
        n_genes=n_genes,
        stored_per_cell=min(2_000, n_genes // 4),
        compression=compression,
        progress=count,
    )


def _cache_folder() -> Path:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        if os.environ.get(name):
            return Path(os.environ[name]) / "scdataset"
    return Path.home() / ".cache" / "scdataset"


def compare(
    source: Source,
    label: str,
    *,
    batch_size: int = 64,
    block_size: int = 16,
    fetch_factor: int = 16,
    seed: int = 0,
    report: Report | None = None,
) -> Comparison:
    """Train one epoch three ways from `source` and measure each.

    A tenth of the labelled cells, at most 5,000, is held out at random. A pass that
    only loads follows each epoch, so that it finds the files as warm as memory allows.

    Parameters
    ----------
    source
        Opened with `label` among its ``obs``. Whole numbers are taken for raw counts
        and log-normalised; other values are taken as they are.
    label
        An obs column of categories.
    batch_size
        Cells of a minibatch.
    block_size, fetch_factor
        Of block sampling; random order is 1 and 1.
    seed
        Of the split and of the orders.
    report
        Told of progress.

    Raises
    ------
    ValueError
        If `label` is not a column of categories, or too few cells have one.
    """
    task = _make_task(source, label, batch_size, seed)
    ways = (
        _Way("file order", 0, fetch_factor),
        _Way("block sampling", block_size, fetch_factor),
        _Way("true random", 1, 1),
    )
    watched = _watch(task)
    codes = source.obs[label]
    shares = np.bincount(codes[task.train], minlength=task.n_classes)
    of_held_out = np.bincount(codes[task.held_out])
    return Comparison(
        label=label,
        n_classes=task.n_classes,
        n_train=len(task.train),
        n_held_out=len(task.held_out),
        batch_size=batch_size,
        random_entropy=expected_entropy(shares, batch_size=batch_size),
        majority=float(of_held_out.max() / of_held_out.sum()),
        outcomes=tuple(_try(way, task, watched, report) for way in ways),
    )


def _make_task(source: Source, label: str, batch_size: int, seed: int) -> _Task:
    codes = source.obs[label]
    if label not in source.categories:
        raise ValueError(
            f'label "{label}" must be a column of categories or strings, got'
            f" {codes.dtype} numbers"
        )
    labelled = np.flatnonzero(codes >= 0).astype(np.int64)
    n_held_out = min(int(len(labelled) * HELD_OUT_SHARE), HELD_OUT_MOST)
    if n_held_out < 1:
        raise ValueError(
            f'at least 10 cells must have a label in "{label}", {len(labelled)} do'
        )
    key = derive_key(seed, 0, Purpose.DRAWS)
    chosen = permute(np.arange(n_held_out), n=len(labelled), key=key)
    is_held_out = np.zeros(len(labelled), bool)
    is_held_out[chosen] = True
    train, held_out = labelled[~is_held_out], labelled[is_held_out]
    return _Task(source, label, train, held_out, batch_size, seed)


def _watch(task: _Task) -> _Watched:
    cells = task.source.read(task.held_out[:: -(-len(task.held_out) // WATCHED_CELLS)])
    X = cells["X"]
    values = X if isinstance(X, np.ndarray) else X.data
    counts = bool(np.all((values >= 0) & (values == np.rint(values))))
    return _Watched(normalise(X, counts=counts), cells["obs"][task.label], counts)


def _try(way: _Way, task: _Task, watched: _Watched, report: Report | None) -> Outcome:
    """Train an epoch, then load another, and measure both."""
    model = SoftmaxRegression(task.source.shape[1], task.n_classes)
    labels: list[npt.NDArray[Any]] = []
    curve: list[tuple[int, float]] = []
    n_train, seen = len(task.train), 0
    watching_s, began = 0.0, time.perf_counter()
    for batch in way.loader(task):
        labels.append(batch["obs"][task.label])
        model.fit_batch(normalise(batch["X"], counts=watched.counts), labels[-1])
        before, seen = seen, seen + len(labels[-1])
        if seen * WATCHED_TIMES // n_train > before * WATCHED_TIMES // n_train:
            now = time.perf_counter()
            curve.append((seen, watched.accuracy(model)))
            watching_s += time.perf_counter() - now
        if report is not None:
            report(f"train, {way.name}", seen, n_train)
    training_s = time.perf_counter() - began - watching_s
    entropies = batch_entropies(labels)
    return Outcome(
        name=way.name,
        block_size=way.block_size,
        fetch_factor=way.fetch_factor,
        loading=_loading_rate(way.loader(task), report, f"load, {way.name}", n_train),
        training=seen / training_s,
        entropy=float(entropies.mean()),
        entropy_std=float(entropies.std()),
        accuracy=_accuracy(model, task, counts=watched.counts),
        curve=tuple(curve),
    )


def _loading_rate(
    loader: Loader, report: Report | None, stage: str, n_cells: int
) -> float:
    """Return cells a second of a pass that does nothing with them."""
    seen, began, seconds = 0, time.perf_counter(), 0.0
    for batch in loader:
        seen += len(batch["index"])
        seconds = time.perf_counter() - began
        if report is not None:
            report(stage, seen, n_cells)
        if seconds > LOADING_S:
            break
    if report is not None:
        report(stage, n_cells, n_cells)
    return seen / seconds


def _accuracy(model: SoftmaxRegression, task: _Task, *, counts: bool) -> float:
    right = 0
    for batch in Loader(task.source, Streaming(indices=task.held_out)):
        found = model.predict(normalise(batch["X"], counts=counts))
        right += int((found == batch["obs"][task.label]).sum())
    return right / len(task.held_out)
