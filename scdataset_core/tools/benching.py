"""Benchmarks a Loader on the user's own data: the grids of the paper of scDataset."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from ..amounts import parse_bytes
from ..candidates import Candidate, codes_of, price_settings
from ..metrics import measure_sampling
from ..sources import Source
from ..sources import open as open_source
from ..storage.context import available_cores
from ..suggestion import loader_line, needs_cache
from .arguments import StorageOptions, open_labelled
from .machine import describe_machine
from .rival_timing import Contest, check_rivals
from .timing import make_loader, time_settings
from .tuning import measure_entropy

__all__ = ["bench"]

SIZES = (1, 4, 16, 64, 256)
QUICK_SIZES = (1, 16, 64)
SECONDS, QUICK_SECONDS = 120.0, 20.0
# Everything is timed so often, by turns; the quickest time counts.
TURNS = 2
HOPELESS = 8  # times slower than the best: timed once
# Settings at which other libraries are compared, besides the best.
COMPARED = ((1, 1), (16, 16), (64, 64))
MIN_ENTROPY = 0.98

Progress = Callable[[str, int, int], object]


def bench(
    data: Any,
    *,
    label: str | None = None,
    against: Iterable[str] = (),
    memory: int | str | None = None,
    batch_size: int = 64,
    block_sizes: Sequence[int] | None = None,
    fetch_factors: Sequence[int] | None = None,
    cache: Any = None,
    converted: str | None = None,
    x: str = "X",
    storage_options: StorageOptions = None,
    seconds: float | None = None,
    quick: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time a Loader over block sizes, fetch factors and threads, and measure mixing.

    Settings are timed by turns, each twice (those that are eight times slower than the
    best once), from the end of one fetch to the end of another. The quicker turn
    counts, since what else the machine does only ever makes one slower.

    Parameters
    ----------
    data
        Files, as :func:`scdataset_core.open` takes them, or an open source.
    label
        The obs column whose entropy in minibatches is measured, such as the plate.
    against
        Other libraries to time on the same files: ``"scdataset"``, ``"annloader"``,
        ``"annbatch"``. One that is not installed, or cannot read the files, is named in
        the report with the reason.
    memory
        Most bytes that fetches may take, 1 GiB by default; settings that take more are
        not timed.
    batch_size
        Cells in a minibatch.
    block_sizes, fetch_factors
        What the grid is made of; 1, 4, 16, 64 and 256 by default.
    cache
        A cache, as of :func:`scdataset_core.open`: the grid is timed through it too,
        after it was filled, which reads everything once.
    converted
        Folder for the copy that annbatch reads, which is kept; it must not be there
        yet. By default a temporary one, removed at the end.
    x
        Which matrix to read.
    storage_options
        How URLs are reached, see :func:`scdataset_core.open`.
    seconds
        About how long to go on timing, 120 by default; filling a cache and converting
        files for annbatch come on top.
    quick
        Whether to look at fewer settings, for 20 seconds.
    progress
        Called with what is done, how much of it is done, and how much there is.

    Returns
    -------
    report
        Plain data:

        - ``machine``, ``data`` (``files``, ``cells``, ``genes``, ``stored_per_cell``,
          ``arrays``), ``batch_size``, ``label``, ``seconds`` that it took;
        - ``grid``: for each ``block_size`` and ``fetch_factor`` the ``cells_per_s``
          (None where fetches take too much memory), the rates of all ``turns``,
          ``memory`` in bytes, and with a label ``predicted_entropy`` and
          ``measured_entropy``, as shares of that of cells drawn one by one;
        - ``best``: the quickest of the grid that mixes well, and ``line``, what to
          paste: with a label its entropy is 0.98 at least, without one a fetch has as
          many minibatches as a block has cells;
        - ``threads``: ``cells_per_s`` of the best settings by number of ``threads``;
        - ``entropy``: with a label, its entropy in bits in a minibatch of cells drawn
          one by one, and in the best settings;
        - ``cache``: None, or ``fill_s``, ``bytes`` and ``grid``, timed through it;
        - ``against``: for each library its ``name``, ``version``, ``error`` (None, or
          why there are no figures), ``convert_s`` and ``settings``: ``block_size``,
          ``fetch_factor``, ``cells_per_s``, ``ours`` and ``times``, ours over theirs.

    Raises
    ------
    ValueError
        If a library is not known, or no settings fit into memory.

    Examples
    --------
    >>> from scdataset_core.tools import bench
    >>> report = bench("plates/*.h5ad", label="plate", quick=True, seconds=0.5)
    >>> report["best"]["cells_per_s"] > 0
    True
    """
    begun = time.perf_counter()
    if seconds is None:
        seconds = QUICK_SECONDS if quick else SECONDS
    if not seconds > 0:
        raise ValueError(f"seconds must be above 0, got {seconds}")
    rivals = check_rivals(against)
    source = open_labelled(data, label, x=x, storage_options=storage_options)
    codes = None if label is None else codes_of(source, label)
    sizes = QUICK_SIZES if quick else SIZES
    settings = price_settings(
        source,
        label=codes,
        batch_size=batch_size,
        block_sizes=sizes if block_sizes is None else block_sizes,
        fetch_factors=sizes if fetch_factors is None else fetch_factors,
    )
    most = parse_bytes("1GiB" if memory is None else memory)
    timed = [one for one in settings if one.memory <= most]
    if not timed:
        raise ValueError(
            f"memory={memory!r} is too little: the smallest fetches take"
            f" {min(one.memory for one in settings):,} bytes"
        )
    with ExitStack() as stack:
        filled = None
        if cache is not None:
            files = source.files if isinstance(data, Source) else data
            kept = open_source(files, x=x, cache=cache, storage_options=storage_options)
            filled = _fill(kept, progress)
        contest = Contest(source, rivals, x, batch_size, converted, stack, progress)
        bar = _Bar(progress)
        clock = _Clock(seconds, bar)
        thread_counts = _thread_counts()
        # Nothing is known of the best yet but that it will be one of these.
        n_compared = len(_compared(timed, timed[0]))
        clock.share_out(
            len(timed) * (2 if filled else 1)
            + len(thread_counts)
            + n_compared * contest.n_timed
        )
        rates = clock.time(source, [_Trial(one, None) for one in timed])
        best = _choose_best(timed, rates)
        threads = clock.time(source, [_Trial(best, n) for n in thread_counts])
        cached = None
        if filled is not None:
            cached = clock.time(filled.source, [_Trial(one, None) for one in timed])
        contest.run(_compared(timed, best), clock.step, TURNS, bar.advance)
    grid = [
        _describe(source, codes, one, rates.get(_Trial(one, None))) for one in settings
    ]
    found = next(g for g, one in zip(grid, settings, strict=True) if one is best)
    return {
        "machine": describe_machine(),
        "data": _describe_data(source),
        "batch_size": batch_size,
        "label": label,
        "grid": grid,
        "best": found,
        "line": loader_line(best),
        "threads": [
            {"threads": trial.threads, "cells_per_s": max(turns), "turns": turns}
            for trial, turns in threads.items()
        ],
        "entropy": _entropy_in_bits(source, codes, best),
        "needs_cache": needs_cache(source),
        "cache": None if filled is None else filled.describe(cached),
        "against": contest.reports,
        "seconds": time.perf_counter() - begun,
    }


class _Trial(NamedTuple):
    """Settings, and the threads that read; None: the default."""

    candidate: Candidate
    threads: int | None


class _Bar:
    """Counts trials for the user's progress."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self.total, self._done = progress, 1, 0

    def advance(self, what: str) -> None:
        """Say what is timed now."""
        if self._progress is not None:
            self._progress("bench", min(self._done, self.total), self.total)
        self._done += 1


class _Clock:
    """Times settings by turns, each for its share of the seconds there are."""

    def __init__(self, seconds: float, bar: _Bar) -> None:
        self._seconds, self._bar = seconds, bar
        self.step = seconds

    def share_out(self, n_trials: int) -> None:
        """Give each of so many trials its share of the time."""
        self._bar.total = max(n_trials, 1) * TURNS
        self.step = self._seconds / self._bar.total

    def time(
        self, source: Source, trials: Sequence[_Trial]
    ) -> dict[_Trial, list[float]]:
        """Return the cells a second of each turn of each trial."""
        rates: dict[_Trial, list[float]] = {trial: [] for trial in trials}
        for turn in range(TURNS):
            best = max((max(turns) for turns in rates.values() if turns), default=0.0)
            for trial, turns in rates.items():
                self._bar.advance(f"b={trial.candidate.block_size}")
                if turn == 0 or max(turns) > best / HOPELESS:
                    turns.append(time_settings(source, *trial, self.step))
        return rates


class _Filled(NamedTuple):
    """A source that is read through a cache which was filled."""

    source: Source
    seconds: float

    def describe(self, rates: dict[_Trial, list[float]] | None) -> dict[str, Any]:
        """Return the cache's part of the report."""
        cache = self.source.cache
        return {
            "fill_s": self.seconds,
            "bytes": 0 if cache is None else int(cache.nbytes),
            "share": float(self.source.cached),
            "grid": [
                _rates_of(trial.candidate, turns)
                for trial, turns in (rates or {}).items()
            ],
        }


def _fill(source: Source, progress: Progress | None) -> _Filled:
    """Fill the cache of a source."""
    begun = time.perf_counter()
    report = None
    if progress is not None:

        def report(done: int, total: int) -> None:
            progress("fill the cache", done, total)

    source.fill_cache(progress=report)
    return _Filled(source, time.perf_counter() - begun)


def _thread_counts() -> list[int]:
    """Return 1, 2, 4, ... and the number of cores."""
    cores = available_cores()
    return sorted({2**power for power in range(cores.bit_length())} | {cores})


def _choose_best(
    timed: Sequence[Candidate], rates: dict[_Trial, list[float]]
) -> Candidate:
    """Return the quickest that mixes well; the one that mixes best if none does."""

    def rate(one: Candidate) -> float:
        return max(rates[_Trial(one, None)])

    mixed = [one for one in timed if one.mixes(MIN_ENTROPY)]
    if not mixed and timed[0].entropy is not None:
        return max(timed, key=lambda one: (one.entropy, rate(one)))
    return max(mixed or timed, key=rate)


def _compared(timed: Sequence[Candidate], best: Candidate) -> list[Candidate]:
    """Return the settings at which libraries are compared."""
    return [
        one
        for one in timed
        if one is best or (one.block_size, one.fetch_factor) in COMPARED
    ]


def _rates_of(one: Candidate, turns: list[float] | None) -> dict[str, Any]:
    return {
        "block_size": one.block_size,
        "fetch_factor": one.fetch_factor,
        "cells_per_s": max(turns) if turns else None,
        "turns": turns or [],
    }


def _describe(
    source: Source, codes: Any, one: Candidate, turns: list[float] | None
) -> dict[str, Any]:
    return _rates_of(one, turns) | {
        "memory": one.memory,
        "predicted_entropy": one.entropy,
        "measured_entropy": measure_entropy(source, codes, one),
    }


def _entropy_in_bits(
    source: Source, codes: Any, best: Candidate
) -> dict[str, float] | None:
    if codes is None:
        return None
    found = measure_sampling(make_loader(source, best, None), codes, x=False)
    return {
        "random": float(found.independent.entropy),
        "best": float(found.measured.entropy),
    }


def _describe_data(source: Source) -> dict[str, Any]:
    arrays = {array.name: array for array in reversed(source.x_arrays())}
    return {
        "files": [str(file) for file in source.files],
        "cells": source.shape[0],
        "genes": source.shape[1],
        "stored_per_cell": float(source.mean_stored),
        "arrays": [
            {
                "name": name,
                "dtype": str(array.dtype),
                "codec": "read through its library"
                if array.grid is None
                else str(array.grid.pipeline or "none"),
            }
            for name, array in reversed(arrays.items())
        ],
    }
