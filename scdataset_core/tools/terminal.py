"""The terminal: commands show progress, notes and errors on it, or write to a pipe."""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from ..errors import ScdatasetError

__all__ = [
    "console",
    "is_on_terminal",
    "note",
    "print_json",
    "progress",
    "show_failed_files",
    "show_plain_errors",
]

console = Console(highlight=False, markup=False, emoji=False)
_errors = Console(
    stderr=True, soft_wrap=True, markup=False, highlight=False, emoji=False
)
_BAR_STEP_S = 0.1


def is_on_terminal() -> bool:
    """Whether there is a user who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def note(text: str) -> None:
    """Print a note to standard error, apart from the results."""
    _errors.print(f"scdataset: {text}")


def print_json(report: Any) -> None:  # Any: plain data
    """Print a report as JSON, as it is: rich would change what looks like its own."""
    sys.stdout.write(f"{json.dumps(report, indent=1)}\n")


def show_failed_files(failed: Sequence[Mapping[str, str]]) -> None:
    """Print why each of some files failed."""
    for one in failed:
        wrong = one["error"].removeprefix(f"{one['file']}: ")
        console.print(f"{one['file']}  failed: {wrong}", soft_wrap=True)


@contextmanager
def progress(unit: str = "cells") -> Iterator[Callable[[str, float, int], None]]:
    """Show a bar on a terminal for each stage that is reported, while it lasts.

    Parameters
    ----------
    unit
        What is counted.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=_errors, transient=True, disable=not _errors.is_terminal
    ) as bars:
        tasks: dict[str, TaskID] = {}
        shown = 0.0

        def report(stage: str, done: float, total: int) -> None:
            nonlocal shown
            now = time.monotonic()
            # Every minibatch is reported; moving the bar each time would slow reading.
            if stage in tasks and done < total and now < shown + _BAR_STEP_S:
                return
            shown = now
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield report


@contextmanager
def show_plain_errors() -> Iterator[None]:
    """Show an error that a user can put right as a message without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name that the terminal cannot show must not end the command.
            stream.reconfigure(errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: note(f"note: {message}")
            yield
    except BrokenPipeError:
        raise  # the reader of the pipe has enough; the command line ends quietly
    except (ScdatasetError, ValueError, OSError, ModuleNotFoundError) as error:
        _errors.print(f"scdataset: {_format_error(error)}", style="red")
        raise typer.Exit(1) from error


def _format_error(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        of = "" if error.filename is None else f": {error.filename}"
        return f"{error.strerror}{of}"
    return str(error)
