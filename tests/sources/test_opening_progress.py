"""The line that shows how opening goes is there on terminals, after a second."""

import io
import sys

import pytest

from scdataset_core.sources import opening_progress
from scdataset_core.sources.opening_progress import show_opening


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("after", "file", "shown"),
    [
        pytest.param(0.0, Terminal(), True, id="terminal"),
        pytest.param(60.0, Terminal(), False, id="soon_done"),
        pytest.param(0.0, io.StringIO(), False, id="log"),
    ],
)
def test_a_line_is_shown_on_terminals_only(monkeypatch, after, file, shown):
    monkeypatch.setattr(opening_progress, "_SHOWN_AFTER_S", after - 0.001)
    monkeypatch.setattr(sys, "stderr", file)
    assert list(show_opening(["a", "b", "c"])) == ["a", "b", "c"]
    assert ("opening" in file.getvalue()) == shown
