"""Counters of an iteration: cells a second, bytes, and where the time went."""

import time
from typing import Any

from .notebook_html import html_table
from .storage import ReadStats

__all__ = ["LoaderStats"]


class LoaderStats:
    """What an iteration has done so far.

    Parameters
    ----------
    reading
        Counters of the reading threads.

    Attributes
    ----------
    n_cells, n_batches : int
        Cells and minibatches that were handed out.
    wait_s : float
        Seconds the consumer waited for reads.
    batch_s : float
        Seconds the consumer spent making batches: hooks on batches, AnnData objects.
    bytes_read, bytes_decoded, bytes_used, chunks_decoded, chunks_cached : int
        And the other counters of `reading`, under their own names.
    """

    def __init__(self, reading: ReadStats | None = None) -> None:
        self.n_cells = 0
        self.n_batches = 0
        self.wait_s = 0.0
        self.batch_s = 0.0
        self.reading = reading
        self._started = time.perf_counter()
        self._latest = self._started

    def __getattr__(self, name: str) -> Any:  # Any: a count, or seconds
        """Return a counter of the reading threads."""
        if name[0] == "_" or "reading" not in vars(self):  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.reading or ReadStats(), name)

    def count(self, n_cells: int, batch_s: float) -> None:
        """Count one minibatch."""
        self.n_cells += n_cells
        self.n_batches += 1
        self.batch_s += batch_s
        self._latest = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds from the start of the iteration to its latest batch."""
        return self._latest - self._started

    @property
    def cells_per_s(self) -> float:
        """Cells a second, the consumer's own time included."""
        return self.n_cells / self.seconds if self.seconds > 0 else 0.0

    @property
    def consumer_s(self) -> float:
        """Seconds the consumer took between batches."""
        return max(0.0, self.seconds - self.wait_s - self.batch_s)

    def to_dict(self) -> dict[str, float]:
        """Return all counters as numbers, those of the reading threads included."""
        own = {
            "n_cells": self.n_cells,
            "n_batches": self.n_batches,
            "seconds": self.seconds,
            "cells_per_s": self.cells_per_s,
            "wait_s": self.wait_s,
            "batch_s": self.batch_s,
            "consumer_s": self.consumer_s,
        }
        if self.reading is None:
            return own
        counters = vars(self.reading)
        return own | {name: n for name, n in counters.items() if name[0] != "_"}

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{value:,}" if value == int(value) else f"{value:,.3f}")
            for name, value in self.to_dict().items()
        ]
        return html_table("LoaderStats", rows)

    def __repr__(self) -> str:
        shown = (
            f"{name}={value:,}" if value == int(value) else f"{name}={value:,.3f}"
            for name, value in self.to_dict().items()
        )
        return f"LoaderStats({', '.join(shown)})"
