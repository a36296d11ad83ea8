"""Times other libraries and this one by turns, on the same files and settings."""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from ..candidates import Candidate
from ..errors import nearest
from ..sources import Source
from ..sources.remote_data import is_remote
from .rivals import RIVALS, Rival, convert_for_annbatch
from .timing import Epoch, time_minibatches, time_settings

__all__ = ["Contest", "check_rivals"]


def check_rivals(against: Iterable[str]) -> list[Rival]:
    """Return the libraries of some names, whatever their case; each once.

    Raises
    ------
    ValueError
        If a name is not known.
    """
    names = [against] if isinstance(against, str) else list(against)
    wanted = [name.strip().lower() for given in names for name in given.split(",")]
    for name in wanted:
        if name not in RIVALS:
            raise ValueError(
                f"against must be some of {', '.join(RIVALS)}, got {name!r};"
                f" {nearest(name, RIVALS)}"
            )
    return [RIVALS[name] for name in dict.fromkeys(wanted)]


class Contest:
    """Times libraries by turns.

    Parameters
    ----------
    source
        The cells, as this library reads them.
    rivals
        The other libraries.
    x, batch_size
        The matrix, and cells in a minibatch.
    converted
        Where annbatch's copy goes, see :func:`scdataset_core.tools.bench`.
    stack
        Removes a temporary copy when it is closed.
    progress
        Told of the conversion.

    Attributes
    ----------
    reports : list of dict
        The part ``against`` of the report.
    n_timed : int
        Trials for each of the settings and turns.
    """

    def __init__(
        self,
        source: Source,
        rivals: Sequence[Rival],
        x: str,
        batch_size: int,
        converted: str | None,
        stack: ExitStack,
        progress: Callable[[str, int, int], object] | None,
    ) -> None:
        self._source, self._batch_size = source, batch_size
        self._converted, self._stack, self._progress = converted, stack, progress
        self._paths = [str(file) for file in source.files]
        self._running: list[tuple[Rival, dict[str, Any]]] = []
        self.reports: list[dict[str, Any]] = []
        for rival in rivals:
            report: dict[str, Any] = {
                "name": rival.name,
                "version": None,
                "error": self._why_not(rival, x),
                "convert_s": None,
                "settings": [],
            }
            self.reports.append(report)
            if report["error"] is None:
                report["version"] = rival.version
                self._running.append((rival, report))
        self.n_timed = len(self._running) + bool(self._running)

    def _why_not(self, rival: Rival, x: str) -> str | None:
        if missing := rival.missing():
            what = "is not installed"
            if rival.packages[0] not in missing:
                what = f"needs {missing[0]}, which is not installed"
            return f"{what}; install it with `{rival.install}`"
        if x != "X" or not self._paths:
            return f"is compared on X of files alone, and this is {x}"
        if any(map(is_remote, self._paths)):
            return "is compared on local files alone"
        if not all(path.endswith(".h5ad") for path in self._paths):
            return "is compared on .h5ad files alone"
        return None

    def run(
        self,
        settings: Sequence[Candidate],
        seconds: float,
        turns: int,
        advance: Callable[[str], object],
    ) -> None:
        """Time all at some settings, for some seconds each, by turns.

        What a library raises becomes its ``error``, and the others go on.
        """
        if not self._running:
            return
        places = {
            rival.name: self._place(rival, report) for rival, report in self._running
        }
        for one in settings:
            epochs = {
                rival.name: self._attempt(report, _opener(rival, places, one))
                for rival, report in self._running
                if report["error"] is None
                and not (rival.random_only and one.block_size * one.fetch_factor > 1)
            }
            ours: list[float] = []
            theirs: dict[str, list[float]] = {}
            for _ in range(turns):
                advance("scdataset-core")
                ours.append(time_settings(self._source, one, None, seconds))
                for rival, report in self._running:
                    epoch = epochs.get(rival.name)
                    advance(rival.name)
                    if epoch is None or report["error"] is not None:
                        continue
                    rate = self._attempt(
                        report, _timer(epoch, one.fetch_factor, seconds)
                    )
                    if rate is not None:
                        theirs.setdefault(rival.name, []).append(rate)
            for rival, report in self._running:
                if rates := theirs.get(rival.name):
                    report["settings"].append(_compare(one, ours, rates))

    def _place(self, rival: Rival, report: dict[str, Any]) -> list[str]:
        """Return the files that a library reads, converted if it has to be."""
        if not rival.converts:
            return self._paths
        if self._progress is not None:
            self._progress(f"convert for {rival.name}", 0, len(self._paths))
        begun = time.perf_counter()
        path = self._attempt(
            report,
            lambda: convert_for_annbatch(self._paths, self._converted, self._stack),
        )
        report["convert_s"] = time.perf_counter() - begun
        return [] if path is None else [path]

    def _attempt(self, report: dict[str, Any], act: Callable[[], Any]) -> Any:
        """Return what another library gives; None, and why, where it fails."""
        if report["error"] is not None:
            return None
        try:
            with warnings.catch_warnings(action="ignore"):  # theirs are not ours
                return act()
        except FileExistsError:
            raise
        except Exception as error:  # theirs may be of any kind
            lines = str(error).strip().splitlines()
            report["error"] = f"failed: {type(error).__name__}: {(lines or [''])[0]}"
            return None


def _opener(
    rival: Rival, places: dict[str, list[str]], one: Candidate
) -> Callable[[], Epoch]:
    return lambda: rival.open(
        places[rival.name], one.block_size, one.fetch_factor, one.batch_size
    )


def _timer(epoch: Epoch, fetch_factor: int, seconds: float) -> Callable[[], float]:
    return lambda: time_minibatches(epoch, fetch_factor, seconds)


def _compare(one: Candidate, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    return {
        "block_size": one.block_size,
        "fetch_factor": one.fetch_factor,
        "cells_per_s": max(theirs),
        "turns": theirs,
        "ours": max(ours),
        "times": max(ours) / max(theirs),
    }
