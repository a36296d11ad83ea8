"""A live line beside a loop over minibatches: how fast, and what holds it up."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Protocol

__all__ = ["progress"]

# A line is renewed so often, and in a log written so often, in seconds.
LIVE_S, LOG_S = 0.25, 10.0
# Waiting for less than this share of the time, the loop is held up by itself.
LEAST_WAITING = 0.2


def progress(
    loader: Iterable[Any], *, desc: str | None = None, file: Any = None
) -> "Progress":
    """Show a live line while a loop takes minibatches from a loader.

    ``for batch in scd.progress(loader):`` shows cells and megabytes a second, the share
    of the time that the loop waited for minibatches, and one word for what holds it up:
    *reading* from disk, *decoding*, *copying*, or the *consumer*, which is the loop.

    Parameters
    ----------
    loader
        A :class:`scdataset_core.Loader`, an adapter, a PyTorch `DataLoader`, or
        anything else that yields minibatches.
    desc
        What stands before the numbers.
    file
        Where to write; standard error by default. On a terminal and in a notebook the
        line is live, with rich or tqdm where one is installed; in a log, a line is
        written every ten seconds.

    Returns
    -------
    batches
        Yields the same minibatches; it has the loader's length, where that has one.

    Examples
    --------
    >>> import scdataset_core as scd
    >>> loader = scd.Loader(scd.open("plates/*.h5ad"), batch_size=100)
    >>> sum(len(batch["index"]) for batch in scd.progress(loader))
    1200
    """
    return Progress(loader, desc, file)


class Progress:
    """Yields the minibatches of a loader, and shows how it goes; see `progress`."""

    def __init__(self, loader: Iterable[Any], desc: str | None, file: Any) -> None:
        self._loader, self._desc = loader, desc
        self._file = sys.stderr if file is None else file

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]  # it says so if it has none

    def __repr__(self) -> str:
        return f"progress({self._loader!r})"

    def __iter__(self) -> Iterator[Any]:
        total = None
        with suppress(TypeError):
            total = len(self._loader)  # type: ignore[arg-type]
        line = choose_line(self._file, self._desc or "", total)
        counts = _Counts(self._loader)
        try:
            begun = time.perf_counter()  # to begin is to wait, too
            iterator = iter(self._loader)
            while True:
                try:
                    batch = next(iterator)
                except StopIteration:
                    break
                counts.add(batch, time.perf_counter() - begun)
                line.show(counts.n_batches, counts.describe)
                yield batch
                begun = time.perf_counter()
        finally:
            line.close(counts.n_batches, counts.describe)


class _Counts:
    """Counts what a loop has taken so far."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._begun = time.perf_counter()
        self._waited = 0.0
        self._n_cells = 0
        self.n_batches = 0

    def add(self, batch: Any, waited: float) -> None:
        """Count a minibatch, and the seconds it was waited for."""
        self.n_batches += 1
        self._n_cells += count_cells(batch)
        self._waited += waited

    def describe(self) -> str:
        """Return the text of the line."""
        seconds = max(time.perf_counter() - self._begun, 1e-9)
        share = min(self._waited / seconds, 1.0)
        reading = self._find_reading()
        parts = [f"{self._n_cells / seconds:,.0f} cells/s"]
        if reading is not None:
            parts.append(f"{reading.bytes_used / seconds / 1e6:,.0f} MB/s")
        parts += [f"waited {share:.0%}", diagnose(share, reading)]
        return ", ".join(parts)

    def _find_reading(self) -> Any:
        """Return the counters of the reading threads, where there are some here."""
        # A DataLoader of PyTorch without workers reads through its dataset.
        for one in (self._loader, getattr(self._loader, "dataset", None)):
            reading = getattr(getattr(one, "stats", None), "reading", None)
            if reading is not None:
                return reading
        return None


def diagnose(waited: float, reading: Any) -> str:
    """Return one word for what holds a loop up.

    Parameters
    ----------
    waited
        Share of the time that it waited for minibatches.
    reading
        Counters with ``read_s``, ``decode_s`` and ``place_s``; None: unknown.
    """
    if waited < LEAST_WAITING:
        return "consumer"
    if reading is None:
        return "loading"
    spent = {
        "reading": reading.read_s,
        "decoding": reading.decode_s,
        "copying": reading.place_s,
    }
    return max(spent, key=lambda name: spent[name])


def count_cells(batch: Any) -> int:
    """Return the number of cells of a minibatch: a dict, a tuple, an array, AnnData."""
    if isinstance(batch, dict):
        index = batch.get("index")
        found = next(iter(batch.values()), ()) if index is None else index
        return count_cells(found)
    if isinstance(batch, tuple | list) and batch and not isinstance(batch[0], int):
        return count_cells(batch[0])
    shape = getattr(batch, "shape", None)
    return int(shape[0]) if shape else len(batch) if hasattr(batch, "__len__") else 1


class Line(Protocol):
    """Shows how a loop goes."""

    def show(self, n: int, describe: Any) -> None:
        """Show that `n` minibatches were taken; `describe()` gives the text."""
        ...

    def close(self, n: int, describe: Any) -> None:
        """Show the last state, and end."""
        ...


def choose_line(file: Any, desc: str, total: int | None) -> Line:
    """Return a live line where there is a terminal or notebook, else lines of a log."""
    live = in_notebook()
    with suppress(AttributeError, OSError, ValueError):  # it may be closed
        live = live or file.isatty()
    if live:
        with suppress(ImportError):
            return RichLine(file, desc, total)
        with suppress(ImportError):
            return TqdmLine(file, desc, total)
    return PlainLine(file, desc, total, live=live)


def in_notebook() -> bool:
    """Return whether this is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    kernel = None if shell is None else shell.get_ipython()
    return type(kernel).__name__ == "ZMQInteractiveShell"


class RichLine:
    """A bar of rich."""

    def __init__(self, file: Any, desc: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        # In a notebook rich writes to the cell, not to a file.
        console = Console(file=None if in_notebook() else file)
        self._bars = Progress(
            TextColumn("{task.fields[desc]}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            auto_refresh=False,
        )
        self._task = self._bars.add_task("", total=total, desc=desc, text="")
        self._bars.start()
        self._shown = 0.0

    def show(self, n: int, describe: Any) -> None:
        """See :class:`Line`."""
        now = time.monotonic()
        if now >= self._shown + LIVE_S:
            self._shown = now
            self._bars.update(self._task, completed=n, text=describe())
            self._bars.refresh()

    def close(self, n: int, describe: Any) -> None:
        """See :class:`Line`."""
        self._bars.update(self._task, completed=n, text=describe())
        self._bars.refresh()
        self._bars.stop()


class TqdmLine:
    """A bar of tqdm."""

    def __init__(self, file: Any, desc: str, total: int | None) -> None:
        from tqdm import tqdm  # type: ignore[import-untyped]

        self._bar = tqdm(total=total, desc=desc or None, file=file, unit="batch")

    def show(self, n: int, describe: Any) -> None:
        """See :class:`Line`."""
        if self._bar.update(n - self._bar.n):
            self._bar.set_postfix_str(describe(), refresh=False)

    def close(self, n: int, describe: Any) -> None:
        """See :class:`Line`."""
        self._bar.update(n - self._bar.n)
        self._bar.set_postfix_str(describe())
        self._bar.close()


class PlainLine:
    """A line that is written over on a terminal, and now and then one in a log."""

    def __init__(self, file: Any, desc: str, total: int | None, *, live: bool) -> None:
        self._file, self._live = file, live
        self._start = f"{desc} " if desc else ""
        self._of = "" if total is None else f"/{total:,}"
        self._next = time.monotonic() + (LIVE_S if live else LOG_S)
        self._width = 0

    def show(self, n: int, describe: Any) -> None:
        """See :class:`Line`."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + (LIVE_S if self._live else LOG_S)
            self._write(n, describe, end="" if self._live else "\n")

    def close(self, n: int, describe: Any) -> None:
        """See :class:`Line`."""
        self._write(n, describe, end="\n")

    def _write(self, n: int, describe: Any, *, end: str) -> None:
        text = f"{self._start}{n:,}{self._of} batches, {describe()}"
        start = "\r" if self._live else ""
        with suppress(OSError, ValueError):  # the stream was closed: the loop goes on
            self._file.write(f"{start}{text.ljust(self._width)}{end}")
            self._file.flush()
        self._width = len(text)
