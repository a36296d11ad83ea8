"""Tunes a Loader: times its settings on the user's own data and disk."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..candidates import Candidate, codes_of, list_candidates
from ..metrics import measure_sampling
from ..sources import Source
from ..storage.context import available_cores
from ..suggestion import loader_line, needs_cache
from .arguments import StorageOptions, open_labelled
from .timing import make_loader, time_settings

__all__ = ["tune"]

BLOCK_SIZES = FETCH_FACTORS = (1, 4, 16, 64, 256)
# So many of the settings that are estimated to be cheapest are timed, if they are not
# hopeless; of these the quickest again, and the last few several times, with one thread
# too.
N_FIRST, N_SECOND, N_LAST = 16, 6, 3
HOPELESS = 5  # times the estimated cost of the cheapest; estimates are good to twice
SECOND_TURNS, LAST_TURNS = 2, 4
# What one thread must give more than the default, to be worth naming.
ALONE_GAIN = 1.05
# Slow settings take longer than their share, since a few fetches of each are timed; by
# then it ends with what was timed, the most hopeful first.
OVERTIME = 1.25
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
    storage_options: StorageOptions = None,
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
    storage_options
        For URLs, as `open` takes them.
    seconds
        About how long to go on.
    progress
        Called with the settings that are timed, the number done, and how many there
        are.

    Returns
    -------
    report
        Plain data: ``settings``, a list of what was timed, the quickest first, each
        with ``block_size``, ``fetch_factor``, ``threads``, ``cache`` (whether it was
        read through one), ``cells_per_s``, ``memory`` in bytes, ``predicted_entropy``
        and ``measured_entropy`` (as shares of that of cells drawn one by one, None
        without a label), and ``pareto``: whether nothing else is quicker with as little
        memory and as much entropy; ``best``, the first of them; ``line``, what to
        paste; ``cache``, whether a cache would pay.

    Raises
    ------
    ValueError
        If no settings fit; the message says what comes nearest.
    """
    source = open_labelled(
        data, label, cache=cache, x=x, storage_options=storage_options
    )
    codes = None if label is None else codes_of(source, label)
    candidates = list_candidates(
        source,
        memory=memory,
        label=codes,
        min_entropy=min_entropy,
        batch_size=batch_size,
        block_sizes=BLOCK_SIZES,
        fetch_factors=FETCH_FACTORS,
    )
    trials = _Trials(source, seconds, progress)
    trials.run(candidates)
    settings = [
        _describe(source, codes, candidate, threads, trials.rate(candidate, threads))
        for candidate, threads in trials.ranked()
    ]
    _mark_pareto(settings)
    best, threads = trials.ranked()[0]
    return {
        "settings": settings,
        "best": settings[0],
        "line": loader_line(best, threads),
        "cache": needs_cache(source),
    }


class _Trials:
    """Times settings, by turns, each for a share of the time there is.

    Attributes
    ----------
    rates : dict
        The cells a second of each trial, by candidate and threads. What else the
        machine does only ever makes a trial slower, so the quickest tells most.
    """

    def __init__(
        self,
        source: Source,
        seconds: float,
        progress: Callable[[str, int, int], object] | None,
    ) -> None:
        self._source, self._progress, self._seconds = source, progress, seconds
        self._n_all, self._n_done = 1, 0
        self._ends = time.monotonic() + OVERTIME * seconds
        self.rates: dict[_Trial, list[float]] = {}

    def run(self, candidates: Sequence[Candidate]) -> None:
        """Time candidates, the cheapest first, in rounds that only the quick reach."""
        most = HOPELESS * candidates[0].cost
        hopeful = [candidate for candidate in candidates if candidate.cost <= most]
        first: list[_Trial] = [(candidate, None) for candidate in hopeful[:N_FIRST]]
        n_second, n_last = min(len(first), N_SECOND), min(len(first), N_LAST)
        one_thread = available_cores() > 1
        n_finals = n_last * (1 + one_thread)
        self._n_all = len(first) + n_second * SECOND_TURNS + n_finals * LAST_TURNS
        self._time(first, 1)
        self._time(self._quickest(n_second), SECOND_TURNS)
        last = self._quickest(n_last)
        if one_thread:
            last += [(candidate, 1) for candidate, _ in last]
        self._time(last, LAST_TURNS)

    def ranked(self) -> "list[_Trial]":
        """Return what was timed, the quickest first; one thread only where it gains."""
        worth = [
            (candidate, threads)
            for candidate, threads in self.rates
            if threads is None
            or self.rate(candidate, threads) > ALONE_GAIN * self.rate(candidate, None)
        ]
        return sorted(worth, key=lambda trial: -self.rate(*trial))

    def rate(self, candidate: Candidate, threads: int | None) -> float:
        """Return the cells a second of the quickest trial of some settings."""
        return max(self.rates[candidate, threads])

    def _quickest(self, n: int) -> "list[_Trial]":
        """Return those with the default threads that were quickest."""
        return [trial for trial in self.ranked() if trial[1] is None][:n]

    def _time(self, trials: "list[_Trial]", turns: int) -> None:
        for _ in range(turns):
            for candidate, threads in trials:
                if self.rates and time.monotonic() > self._ends:
                    return
                if self._progress is not None:
                    text = f"b={candidate.block_size} f={candidate.fetch_factor}"
                    self._progress(text, self._n_done, self._n_all)
                self._n_done += 1
                seconds = self._seconds / self._n_all
                rate = time_settings(self._source, candidate, threads, seconds)
                self.rates.setdefault((candidate, threads), []).append(rate)


_Trial = tuple[Candidate, int | None]


def _describe(
    source: Source,
    codes: Any,
    candidate: Candidate,
    threads: int | None,
    rate: float,
) -> dict[str, Any]:
    return {
        "block_size": candidate.block_size,
        "fetch_factor": candidate.fetch_factor,
        "batch_size": candidate.batch_size,
        "threads": threads,
        "cache": source.cache is not None,
        "cells_per_s": rate,
        "memory": candidate.memory,
        "predicted_entropy": candidate.entropy,
        "measured_entropy": measure_entropy(source, codes, candidate),
        "pareto": False,
    }


def measure_entropy(source: Source, codes: Any, candidate: Candidate) -> float | None:
    """Return the mean entropy of the label in planned minibatches, as a share."""
    if codes is None:
        return None
    found = measure_sampling(
        make_loader(source, candidate, None),
        codes,
        n_batches=MEASURED_BATCHES,
        x=False,
    )
    most = found.independent.entropy
    return float(found.measured.entropy / most) if most > 0 else 1.0


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
