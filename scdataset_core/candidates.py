"""The settings of a Loader that a tool chooses among: what each takes and gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .amounts import parse_bytes
from .cell_labels import read_columns
from .checks import check_count
from .fetch_memory import RowMemory
from .sources import Source

if TYPE_CHECKING:
    from .metrics import LabelRuns

__all__ = ["Candidate", "codes_of", "list_candidates", "price_settings"]

BLOCK_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FETCH_FACTORS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# Buffers of larger fetches are not kept for the next ones (see BufferPool).
_KEPT_BYTES = 128 << 20
# About how long the steps of reading take on two cores, in seconds, from the tables of
# docs/benchmarks.md of 2026-11-24; only their ratios matter.
_DECODE_S = 1 / 1.4e9  # a byte that deflate gives
_QUICK_DECODE_S = 1 / 4e9  # a byte that any other encoding gives
_COPY_S = 1 / 12e9  # a byte that is placed
_PAGE_S = 1 / 6e9  # a byte of memory that the system has to give anew
_RUN_S = 1e-6  # a run of neighbouring elements of one array
_FETCH_S = 4e-4
_BATCH_S = 4e-5


@dataclass(frozen=True)
class Candidate:
    """Settings of a Loader.

    Parameters
    ----------
    block_size, fetch_factor, batch_size
        As of :class:`scdataset_core.BlockShuffling` and :class:`scdataset_core.Loader`.
    memory
        Mean bytes that fetches take, those being read among them.
    entropy
        Predicted entropy of the label in a minibatch, as a share of what cells drawn
        one by one have; None without a label.
    cost
        Estimated seconds of work for a cell; only good for comparisons.
    """

    block_size: int
    fetch_factor: int
    batch_size: int
    memory: int
    entropy: float | None
    cost: float

    def mixes(self, min_entropy: float) -> bool:
        """Return whether the label is mixed well enough.

        Without a label, a fetch must hold as many minibatches as a block has cells, so
        that most cells of a minibatch are of different blocks.
        """
        if self.entropy is None:
            return self.fetch_factor >= self.block_size
        return self.entropy >= min_entropy


def list_candidates(
    source: Source,
    *,
    memory: int | str | None,
    label: Any,
    min_entropy: float,
    batch_size: int,
    block_sizes: Sequence[int] = BLOCK_SIZES,
    fetch_factors: Sequence[int] = FETCH_FACTORS,
) -> list[Candidate]:
    """Return the settings that fit memory and mix a label well, the cheapest first.

    Parameters
    ----------
    source
        The cells.
    memory
        Most bytes that fetches may take, see :class:`scdataset_core.Loader`.
    label
        Name of an obs column, or one code a cell; None: the fetch factor must be the
        block size at least, so that most cells of a minibatch are of different blocks.
    min_entropy
        Least entropy of the label, as a share of what cells drawn one by one have.
    batch_size
        Cells in a minibatch.

    Raises
    ------
    ValueError
        If nothing fits; the message says what comes nearest.
    """
    if not 0 <= min_entropy <= 1:
        raise ValueError(
            "min_entropy must be a share of the entropy of cells drawn at random, from"
            f" 0 to 1, got {min_entropy}"
        )
    most = parse_bytes("1GiB" if memory is None else memory)
    fits = [
        candidate
        for candidate in price_settings(
            source,
            label=label,
            batch_size=batch_size,
            block_sizes=block_sizes,
            fetch_factors=fetch_factors,
        )
        if candidate.memory <= most
    ]
    if not fits:
        row = RowMemory.of(source, source.stored_form)
        least = memory_of(row, batch_size, min(fetch_factors))
        raise ValueError(
            f"memory={memory!r} is too little: fetches of one minibatch of {batch_size}"
            f" cells take {least:,} bytes"
        )
    mixed = [candidate for candidate in fits if candidate.mixes(min_entropy)]
    if not mixed:
        best = max(fits, key=lambda candidate: candidate.entropy or 0.0)
        raise ValueError(
            f"no settings reach min_entropy={min_entropy} in this memory; the best is"
            f" {best.entropy:.3f} with block_size={best.block_size},"
            f" fetch_factor={best.fetch_factor}: give more memory, or a smaller"
            " min_entropy"
        )
    return sorted(mixed, key=lambda candidate: candidate.cost)


def price_settings(
    source: Source,
    *,
    label: Any,
    batch_size: int,
    block_sizes: Sequence[int] = BLOCK_SIZES,
    fetch_factors: Sequence[int] = FETCH_FACTORS,
) -> list[Candidate]:
    """Return all settings, and what each takes and gives, by block and fetch size.

    Parameters
    ----------
    source, label, batch_size
        As of :func:`list_candidates`.
    block_sizes, fetch_factors
        What to combine; blocks and fetches that hold more cells than there are, or
        blocks longer than a fetch, are left out.
    """
    check_count("batch_size", batch_size)
    mixing = _Mixing(source, label, batch_size)
    row = RowMemory.of(source, source.stored_form)
    return [
        Candidate(
            b,
            f,
            batch_size,
            memory_of(row, batch_size, f),
            mixing.share(b, f),
            cost_of(source, b, f, batch_size),
        )
        for b, f in _settings(source, batch_size, block_sizes, fetch_factors)
    ]


def _settings(
    source: Source,
    batch_size: int,
    block_sizes: Sequence[int],
    fetch_factors: Sequence[int],
) -> Iterator[tuple[int, int]]:
    n = max(len(source), 1)
    for b in block_sizes:
        for f in fetch_factors:
            # A block or a fetch of more cells than there are is another's twin.
            small = b <= n and (f == 1 or batch_size * f <= 2 * n)
            if small and b <= batch_size * f:
                yield b, f


def memory_of(row: RowMemory, batch_size: int, fetch_factor: int) -> int:
    """Return the mean bytes that a Loader's fetches take, as it counts `memory=`."""
    return round(row.total * batch_size * fetch_factor)


class _Mixing:
    """How well settings mix a label."""

    def __init__(self, source: Source, label: Any, batch_size: int) -> None:
        self._batch_size = batch_size
        self._runs: LabelRuns | None = None
        if label is None:
            return
        # Imported here: `import scdataset_core` needs none of the metrics.
        from . import metrics

        self._predict = metrics.predict_sampling
        self._runs = metrics.LabelRuns.of(codes_of(source, label))
        shares = self._runs.shares
        self._most = metrics.expect_independent(shares, batch_size=batch_size).entropy

    def share(self, block_size: int, fetch_factor: int) -> float | None:
        """Return the predicted share of the entropy of independent cells."""
        if self._runs is None:
            return None
        if self._most <= 0:
            return 1.0
        found = self._predict(self._runs, block_size, fetch_factor, self._batch_size)
        return float(min(found.entropy / self._most, 1.0))


def codes_of(source: Source, label: Any) -> Any:
    """Return the label of each cell, of an obs column or given."""
    if isinstance(label, str):
        return read_columns(source, [label])[0].codes
    labels = np.asarray(label)
    if labels.shape != (len(source),):
        raise ValueError(
            f"label must be the name of an obs column, or one label for each of the"
            f" {len(source)} cells, got shape {labels.shape}"
        )
    return labels


def cost_of(
    source: Source, block_size: int, fetch_factor: int, batch_size: int
) -> float:
    """Return about how many seconds of work a cell takes.

    What is decoded is estimated from the sizes of chunks: a chunk of ``c`` cells is
    touched by ``(c + b - 1) / b`` blocks, of which a fetch holds each with the chance
    ``m f / n``, and is decoded once if any of them is there.
    """
    n_cells = max(len(source), 1)
    n_fetch = min(batch_size * fetch_factor, n_cells)
    chance = n_fetch / n_cells
    # Each of several arrays side by side is read by itself.
    arrays = source.x_arrays()
    cost = _FETCH_S / n_fetch + _BATCH_S / batch_size
    n_runs = max(len(arrays) / max(len(source.files), 1), 1.0) / block_size
    cost += n_runs * _RUN_S
    row_bytes = source.row_bytes(source.stored_form)
    if row_bytes * n_fetch > _KEPT_BYTES:
        cost += row_bytes * _PAGE_S
    if not arrays:
        return cost + row_bytes * _COPY_S
    for array in arrays:
        n_bytes = prod(array.shape) * array.dtype.itemsize
        used = n_bytes / n_cells
        cost += used * _COPY_S
        grid = array.grid
        if grid is None or not grid.pipeline or array.chunk_cache is not None:
            continue
        chunk_cells = grid.n_bytes / max(n_bytes / _cells_of(array, source), 1e-9)
        n_blocks = (chunk_cells + block_size - 1) / block_size
        touched = 1 - (1 - chance) ** n_blocks
        rate = _DECODE_S if "deflate" in str(grid.pipeline) else _QUICK_DECODE_S
        cost += n_bytes * touched / n_fetch * rate
    return cost


def _cells_of(array: Any, source: Source) -> float:
    """Return about how many cells an array holds, of those of all files."""
    same = [a for a in source.x_arrays() if a.name == array.name]
    total = sum(len(a) for a in same)
    return max(len(array) / max(total, 1) * len(source), 1.0)
