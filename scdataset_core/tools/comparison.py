"""What the demo measures: what the order in which cells are read does to a model.

One epoch of a linear classifier is trained from the files three ways: in file order,
by block sampling with batched fetching, and in truly random order. Each way is
measured by how fast it gives cells, how mixed its minibatches are, how well the model
does on a plate it has not seen, and after how many seconds of reading.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..loader import Loader
from ..metrics import batch_entropies, expected_entropy
from ..strategies import BlockShuffling, Streaming
from .held_out import Split, make_split
from .linear import SoftmaxRegression, normalise

if TYPE_CHECKING:
    from ..sources.base import Source

__all__ = ["Comparison", "Outcome", "compare"]

WATCHED_CELLS = 500  # held-out cells that give the accuracy along the epoch
WATCHED_TIMES = 20
LOADING_S = 10.0  # longest time of the pass that only loads
TARGET_SHARE = 0.9  # share of the best accuracy that a way should reach soon
FETCHES_LEAST = 20  # fetches of an epoch; with 10 block sampling learned visibly less

Report = Callable[[str, int, int], object]
"""A function of the stage, the number of cells that are done, and their total."""


@dataclass(frozen=True)
class Outcome:
    """The results of one way of reading.

    Attributes
    ----------
    name
        Name of the way.
    block_size, fetch_factor
        Its sizes; `block_size` is 0 for file order.
    loading
        Cells a second in a pass that only loads.
    entropy, entropy_std
        Mean and standard deviation of the label's entropy in a minibatch, in bits.
    accuracy
        Share of held-out cells whose label the trained model predicts.
    curve
        Accuracy on some held-out cells along the epoch: (cells seen, accuracy).
    """

    name: str
    block_size: int
    fetch_factor: int
    loading: float
    entropy: float
    entropy_std: float
    accuracy: float
    curve: tuple[tuple[int, float], ...]

    def seconds_to(self, accuracy: float) -> float | None:
        """Return the seconds of loading before an accuracy is reached, None if never.

        Between two points of the curve the accuracy is interpolated.
        """
        cells_before, before = 0, 0.0
        for cells, reached in self.curve:
            if reached >= accuracy:
                part = (accuracy - before) / (reached - before) if accuracy > 0 else 0.0
                return (cells_before + part * (cells - cells_before)) / self.loading
            cells_before, before = cells, reached
        return None


@dataclass(frozen=True)
class Comparison:
    """The ways of reading side by side, and what they have in common.

    Attributes
    ----------
    label
        The obs column that was learned.
    n_classes, n_train, n_held_out, batch_size
        The sizes of the experiment.
    plate
        The file that was held out, or None if cells of all files were.
    random_entropy
        Expected entropy of cells drawn at random one by one, in bits.
    majority
        Share of the held-out cells that have the most common label: the accuracy of
        a model that has learned nothing else.
    outcomes
        The results of each way.
    too_few
        Why the ways cannot be compared (an epoch has too few fetches), or None.
    notes
        Remarks for the reader of the results.
    """

    label: str
    n_classes: int
    n_train: int
    n_held_out: int
    batch_size: int
    plate: str | None
    random_entropy: float
    majority: float
    outcomes: tuple[Outcome, ...]
    too_few: str | None
    notes: tuple[str, ...]

    @property
    def target(self) -> float:
        """The accuracy that ways are timed to: nine tenths of the best."""
        return TARGET_SHARE * max(outcome.accuracy for outcome in self.outcomes)

    def report(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        timed = self.too_few is None
        outcomes = [
            asdict(outcome)
            | {
                "seconds_to_target": outcome.seconds_to(self.target) if timed else None,
                "curve": [list(point) for point in outcome.curve],
            }
            for outcome in self.outcomes
        ]
        plain = {"target": self.target, "outcomes": outcomes, "notes": list(self.notes)}
        return asdict(self) | plain


@dataclass(frozen=True)
class _Task:
    """What is learned, and from which cells; it is the same for every way."""

    source: Source
    split: Split
    part: str | None  # name of an array of X, where X is several
    batch_size: int
    seed: int

    def rows(self, batch: Any) -> tuple[Any, npt.NDArray[np.int64]]:
        """Return X and the labels of a batch, or of cells that were read."""
        X = batch["X"] if self.part is None else batch["X"][self.part]
        return X, self.split.codes[batch["index"]]

    @property
    def n_genes(self) -> int:
        parts = self.source.parts
        return (self.source if self.part is None else parts[self.part]).shape[1]


@dataclass(frozen=True)
class _Watched:
    """Some held-out cells that are kept in memory and tested along the epoch."""

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
            BlockShuffling(self.block_size, indices=task.split.train)
            if self.block_size
            else Streaming(indices=task.split.train)
        )
        return Loader(
            task.source,
            strategy,
            batch_size=task.batch_size,
            fetch_factor=self.fetch_factor,
            seed=task.seed,
        )


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

    Cells of one plate are held out, see
    :func:`scdataset_core.tools.held_out.make_split`.
    A pass that only loads follows each epoch, so that it finds the files as warm as
    memory allows.

    Parameters
    ----------
    source
        A source opened with `label` among its ``obs``. Whole numbers are taken for raw
        counts and log-normalised; other values are used as they are. Where X is several
        arrays, the first is used.
    label
        An obs column. Numbers are labels where there are at most 50 different ones;
        otherwise the labels are their quarters.
    batch_size
        Cells of a minibatch.
    block_size, fetch_factor
        Sizes of block sampling; those of random order are 1 and 1.
    seed
        Seed of the split and of the orders.
    report
        Called with the progress.

    Raises
    ------
    ValueError
        If there is nothing to learn from `label`.
    """
    split = make_split(source, label, seed=seed)
    part = next(iter(source.parts), None)
    task = _Task(source, split, part, batch_size, seed)
    ways = (
        _Way("file order", 0, fetch_factor),
        _Way("block sampling", block_size, fetch_factor),
        _Way("true random", 1, 1),
    )
    watched = _watch(task)
    notes = list(split.notes)
    if part is not None:
        notes.append(f"X is several arrays: {part} is learned from")
    shares = np.bincount(split.codes[split.train], minlength=split.n_classes)
    of_held_out = np.bincount(split.codes[split.held_out])
    return Comparison(
        label=label,
        n_classes=split.n_classes,
        n_train=len(split.train),
        n_held_out=len(split.held_out),
        batch_size=batch_size,
        plate=split.plate,
        random_entropy=expected_entropy(shares, batch_size=batch_size),
        majority=float(of_held_out.max() / of_held_out.sum()),
        outcomes=tuple(_try(way, task, watched, report) for way in ways),
        too_few=_explain_too_few(len(split.train), batch_size, ways[1]),
        notes=tuple(notes),
    )


def _explain_too_few(n_train: int, batch_size: int, way: _Way) -> str | None:
    cells = batch_size * way.fetch_factor
    if n_train >= FETCHES_LEAST * cells:
        return None
    fetches = -(-n_train // cells)
    plural = "fetch" if fetches == 1 else "fetches"
    return (
        f"too few fetches for blocks of {way.block_size}: {n_train:,} cells make"
        f" {fetches} {plural} of {cells:,}, each of few blocks. Take more cells, or a"
        " smaller --block-size and --fetch-factor"
    )


def _watch(task: _Task) -> _Watched:
    held_out = task.split.held_out
    rows = held_out[:: -(-len(held_out) // WATCHED_CELLS)]
    X, labels = task.rows(task.source.read(rows))
    values = X if isinstance(X, np.ndarray) else X.data
    counts = bool(np.all((values >= 0) & (values == np.rint(values))))
    return _Watched(normalise(X, counts=counts), labels, counts)


def _try(way: _Way, task: _Task, watched: _Watched, report: Report | None) -> Outcome:
    """Train one epoch, load another, and measure both."""
    model = SoftmaxRegression(task.n_genes, task.split.n_classes)
    labels: list[npt.NDArray[Any]] = []
    curve: list[tuple[int, float]] = []
    n_train, seen = len(task.split.train), 0
    for batch in way.loader(task):
        X, of_batch = task.rows(batch)
        labels.append(of_batch)
        model.fit_batch(normalise(X, counts=watched.counts), of_batch)
        before, seen = seen, seen + len(of_batch)
        if seen * WATCHED_TIMES // n_train > before * WATCHED_TIMES // n_train:
            curve.append((seen, watched.accuracy(model)))
        if report is not None:
            report(f"train, {way.name}", seen, n_train)
    entropies = batch_entropies(labels)
    return Outcome(
        name=way.name,
        block_size=way.block_size,
        fetch_factor=way.fetch_factor,
        loading=_measure_loading(
            way.loader(task), report, f"load, {way.name}", n_train
        ),
        entropy=float(entropies.mean()),
        entropy_std=float(entropies.std()),
        accuracy=_measure_accuracy(model, task, counts=watched.counts),
        curve=tuple(curve),
    )


def _measure_loading(
    loader: Loader, report: Report | None, stage: str, n_cells: int
) -> float:
    """Return the cells a second of a pass that only loads them."""
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


def _measure_accuracy(model: SoftmaxRegression, task: _Task, *, counts: bool) -> float:
    right = 0
    for batch in Loader(task.source, Streaming(indices=task.split.held_out)):
        X, labels = task.rows(batch)
        right += int((model.predict(normalise(X, counts=counts)) == labels).sum())
    return right / len(task.split.held_out)
