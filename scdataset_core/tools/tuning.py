"""Tunes a Loader: times its settings on the user's own data and disk."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..candidates import Candidate, codes_of, list_candidates
from ..loader import Loader
from ..metrics import measure_sampling
from ..sources import Source
from ..sources import open as open_source
from ..storage.context import available_cores
from ..strategies import BlockShuffling
from ..suggestion import loader_line, needs_cache

__all__ = ["tune"]

BLOCK_SIZES = FETCH_FACTORS = (1, 4, 16, 64, 256)
# The settings that are estimated to be cheapest are timed, so many in the first round,
# and the quickest of these again, for longer.
ROUNDS = ((14, 1), (6, 2), (3, 4))
MEASURED_BATCHES = 300


def tune(
    data: Any,
    *,
    memory: int | str | None = None,
    label: Any = None,
    min_entropy: float = 0.98,
    batch_size: int = 64,
    cache: Any = None,
    x: str = "X",
    seconds: float = 40.0,
    progress: Callable[[str, int, int], object] | None = None,
) -> dict[str, Any]:
    """Time settings of a Loader on some data, on this machine; return the best.

    Parameters
    ----------
    data
        Files, as :func:`scdataset_core.open` takes them, or an open source.
    memory, label, min_entropy, batch_size
        What settings must keep to, see :func:`scdataset_core.suggest`.
    cache
        A cache to open files with; what is timed then is how it is read after it was
        filled, so far as it is.
    x
        Which matrix to read.
    seconds
        About how long to go on.
    progress
        Called with the settings that are timed, the number done, and how many there
        are.

    Returns
    -------
    report
        Plain data: ``settings``, a list of what was timed, the quickest first, each
        with ``block_size``, ``fetch_factor``, ``threads``, ``cells_per_s``, ``memory``
        in bytes, ``predicted_entropy`` and ``measured_entropy`` (as shares of that of
        cells drawn one by one, None without a label), and ``pareto``: whether nothing
        else is quicker with as little memory and as much entropy; ``best``, the first
        of them; ``line``, what to paste; ``cache``, whether a cache would pay.

    Raises
    ------
    ValueError
        If no settings fit; the message says what comes nearest.
    """
    source = data if isinstance(data, Source) else _open(data, label, cache, x)
    candidates = list_candidates(
        source,
        memory=memory,
        label=label,
        min_entropy=min_entropy,
        batch_size=batch_size,
        block_sizes=BLOCK_SIZES,
        fetch_factors=FETCH_FACTORS,
    )
    trials = _Trials(source, seconds, progress)
    ranked = candidates
    for n, share in ROUNDS:
        ranked = trials.rank(ranked[:n], share)
    best = ranked[0]
    threads = trials.choose_threads(best)
    settings = [
        _describe(source, label, candidate, trials.rate(candidate), None)
        for candidate in candidates
        if trials.rate(candidate)
    ]
    if threads is not None:
        rate = trials.rate(best, threads)
        settings.append(_describe(source, label, best, rate, threads))
    settings.sort(key=lambda found: -found["cells_per_s"])
    _mark_pareto(settings)
    first = settings[0]
    chosen = next(
        c
        for c in candidates
        if (c.block_size, c.fetch_factor)
        == (first["block_size"], first["fetch_factor"])
    )
    return {
        "settings": settings,
        "best": first,
        "line": loader_line(chosen, first["threads"]),
        "cache": needs_cache(source),
    }


def _open(data: Any, label: Any, cache: Any, x: str) -> Source:
    obs = [label] if isinstance(label, str) else None
    return open_source(data, obs=obs, x=x, cache=cache)


class _Trials:
    """Times settings, each for a share of the time there is."""

    def __init__(
        self,
        source: Source,
        seconds: float,
        progress: Callable[[str, int, int], object] | None,
    ) -> None:
        self._source, self._progress = source, progress
        self._n_all = sum(n for n, _ in ROUNDS) + 2
        self._n_done = 0
        # One share of the time; the trials of threads take the last part.
        self._step = seconds / (sum(n * share for n, share in ROUNDS) + 8)
        self._rates: dict[tuple[Candidate, int | None], list[float]] = {}

    def rate(self, candidate: Candidate, threads: int | None = None) -> float:
        """Return the cells a second that settings gave, in the median of trials."""
        rates = self._rates.get((candidate, threads))
        return float(np.median(rates)) if rates else 0.0

    def rank(self, candidates: list[Candidate], share: int) -> list[Candidate]:
        """Time settings; return them, the quickest first."""
        for candidate in candidates:
            self._time(candidate, None, share * self._step)
        # The latest and longest trial tells most.
        return sorted(candidates, key=lambda c: -self._rates[c, None][-1])

    def choose_threads(self, candidate: Candidate) -> int | None:
        """Return the number of threads that is quickest; None: the default."""
        cores = available_cores()
        if cores == 1:
            return None
        # By turns, so that both meet what else the machine does.
        for _ in range(2):
            self._time(candidate, None, 2 * self._step)
            self._time(candidate, 1, 2 * self._step)
        alone = self.rate(candidate, 1)
        return 1 if alone > 1.05 * self.rate(candidate) else None

    def _time(self, candidate: Candidate, threads: int | None, seconds: float) -> None:
        if self._progress is not None:
            text = f"b={candidate.block_size} f={candidate.fetch_factor}"
            self._progress(text, min(self._n_done, self._n_all), self._n_all)
            self._n_done += 1
        rate = time_settings(self._source, candidate, threads, seconds)
        self._rates.setdefault((candidate, threads), []).append(rate)


def time_settings(
    source: Source, candidate: Candidate, threads: int | None, seconds: float
) -> float:
    """Return the cells a second of a Loader over whole fetches, at least three."""
    n_batches = n_cells = 0
    begun = time.perf_counter()
    iterator = iter(make_loader(source, candidate, threads))
    try:
        for batch in iterator:
            n_batches += 1
            n_cells += len(batch["index"])
            whole = n_batches % candidate.fetch_factor == 0
            enough = n_batches >= 3 * candidate.fetch_factor
            if whole and enough and time.perf_counter() - begun >= seconds:
                break
    finally:
        iterator.close()
    return n_cells / (time.perf_counter() - begun)


def _describe(
    source: Source,
    label: Any,
    candidate: Candidate,
    rate: float,
    threads: int | None,
) -> dict[str, Any]:
    return {
        "block_size": candidate.block_size,
        "fetch_factor": candidate.fetch_factor,
        "batch_size": candidate.batch_size,
        "threads": threads,
        "cells_per_s": rate,
        "memory": candidate.memory,
        "predicted_entropy": candidate.entropy,
        "measured_entropy": _measure_entropy(source, label, candidate),
        "pareto": False,
    }


def _measure_entropy(source: Source, label: Any, candidate: Candidate) -> float | None:
    """Return the mean entropy of the label in planned minibatches, as a share."""
    if label is None:
        return None
    found = measure_sampling(
        make_loader(source, candidate, None),
        codes_of(source, label),
        n_batches=MEASURED_BATCHES,
        x=False,
    )
    most = found.independent.entropy
    return float(found.measured.entropy / most) if most > 0 else 1.0


def make_loader(source: Source, candidate: Candidate, threads: int | None) -> Loader:
    """Return a Loader with some settings."""
    return Loader(
        source,
        BlockShuffling(candidate.block_size),
        batch_size=candidate.batch_size,
        fetch_factor=candidate.fetch_factor,
        threads=threads,
        seed=1,
    )


def _mark_pareto(settings: list[dict[str, Any]]) -> None:
    """Mark settings that nothing beats in speed, memory and entropy at once."""
    for one in settings:
        one["pareto"] = not any(
            other["cells_per_s"] >= one["cells_per_s"]
            and other["memory"] <= one["memory"]
            and (other["predicted_entropy"] or 0) >= (one["predicted_entropy"] or 0)
            and other is not one
            and (
                other["cells_per_s"] > one["cells_per_s"]
                or other["memory"] < one["memory"]
            )
            for other in settings
        )
