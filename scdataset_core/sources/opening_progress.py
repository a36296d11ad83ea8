"""A line that shows how far the opening of many files has come."""

import sys
import time
from collections.abc import Iterator, Sequence

from ..progress_line import choose_line, in_notebook

__all__ = ["show_opening"]

_SHOWN_AFTER_S = 1.0


def show_opening(files: Sequence[str]) -> Iterator[str]:
    """Yield the files; on a terminal, show how many are open once it takes a second."""
    begun, line, done = time.monotonic(), None, 0
    shown = in_notebook() or (sys.stderr is not None and sys.stderr.isatty())
    try:
        for done, file in enumerate(files):
            if line is None and shown and time.monotonic() > begun + _SHOWN_AFTER_S:
                line = choose_line(sys.stderr, "opening", len(files))
            if line is not None:
                line.show(done, _describe)
            yield file
        done = len(files)
    finally:
        if line is not None:
            line.close(done, _describe)


def _describe() -> str:
    return "files; an index opens them at once: scdataset index"
