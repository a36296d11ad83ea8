"""What commands show: progress, notes and errors, as a terminal or a pipe wants it."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

__all__ = ["console", "note", "on_a_terminal", "plain_errors", "progress"]

console = Console(highlight=False, markup=False)
_errors = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
_BAR_STEP_S = 0.1


def on_a_terminal() -> bool:
    """Whether somebody is there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def note(text: str) -> None:
    """Say something beside the results."""
    _errors.print(f"scdataset: {text}")


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each stage that is reported, on a terminal, while it lasts."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=_errors, transient=True, disable=not _errors.is_terminal
    ) as bars:
        tasks: dict[str, TaskID] = {}
        shown = 0.0

        def report(stage: str, done: int, total: int) -> None:
            nonlocal shown
            now = time.monotonic()
            # Told of every minibatch: moving the bar each time would slow reading.
            if stage in tasks and done < total and now < shown + _BAR_STEP_S:
                return
            shown = now
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield report


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show what a user can put right as one message, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name no terminal can show is no reason
            stream.reconfigure(errors="replace")  # to fail
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: note(f"note: {message}")
            yield
    except BrokenPipeError:
        raise  # whoever reads has what he wanted; the command line ends quietly
    except (ScdatasetError, ValueError, OSError, ModuleNotFoundError) as error:
        _errors.print(f"scdataset: {_message(error)}", style="red")
        raise typer.Exit(1) from error


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        of = "" if error.filename is None else f": {error.filename}"
        return f"{error.strerror}{of}"
    return str(error)
