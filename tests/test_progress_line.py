"""`progress` yields the same minibatches, and says how the loop goes."""

import io
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

import scdataset_core as scd
from scdataset_core import progress_line
from scdataset_core.progress_line import count_cells, diagnose


@pytest.fixture
def loader():
    x = np.arange(300, dtype=np.float32).reshape(100, 3)
    return scd.Loader(scd.open(x), batch_size=10, seed=1)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_minibatches_are_the_same_and_counted(loader):
    expected = [batch["index"].tolist() for batch in loader.fresh()]
    out = io.StringIO()
    shown = scd.progress(loader, desc="epoch 0", file=out)
    assert len(shown) == 10
    assert [batch["index"].tolist() for batch in shown] == expected
    (line,) = out.getvalue().splitlines()
    assert line.startswith("epoch 0 10/10 batches, ")
    assert "cells/s" in line
    assert "MB/s" in line


@pytest.mark.parametrize("missing", [(), ("rich",), ("rich", "tqdm")])
def test_a_terminal_has_a_live_line(loader, monkeypatch, missing):
    for name in missing:
        for known in [m for m in sys.modules if m.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, known)
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(progress_line, "LIVE_S", 0.0)
    out = Terminal()
    assert len(list(scd.progress(loader, file=out))) == 10
    assert "cells/s" in out.getvalue()
    assert "10" in out.getvalue()


def test_to_wait_for_the_beginning_is_to_wait(monkeypatch):
    now = 0.0
    clock = SimpleNamespace(perf_counter=lambda: now, monotonic=lambda: now)
    monkeypatch.setattr(progress_line, "time", clock)

    class Slow:
        def __iter__(self):
            nonlocal now
            now += 9  # as a DataLoader that starts its workers
            return iter([np.ones((5, 2))])

    out = io.StringIO()
    for _ in scd.progress(Slow(), file=out):
        now += 1
    assert "waited 90%, loading" in out.getvalue()


def test_an_early_end_closes_the_line_and_the_loader(loader):
    out = io.StringIO()
    for batch in scd.progress(loader, file=out):
        assert len(batch["index"]) == 10
        break
    assert "1/10 batches" in out.getvalue()

    def broken():
        yield np.ones((5, 2))
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(scd.progress(broken(), file=out))


def test_a_closed_stream_does_not_end_the_loop(loader):
    out = io.StringIO()
    out.close()
    assert len(list(scd.progress(loader, file=out))) == 10


def test_the_diagnosis_names_what_takes_longest():
    reading = SimpleNamespace(read_s=1.0, decode_s=5.0, place_s=2.0)
    assert diagnose(0.9, reading) == "decoding"
    assert diagnose(0.1, reading) == "consumer"
    assert diagnose(0.9, None) == "loading"


def test_a_slow_loop_is_held_up_by_itself(loader, monkeypatch):
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    for _ in scd.progress(loader, file=out):
        now[0] += 1
    assert out.getvalue().strip().endswith("consumer")


def test_cells_are_counted_in_batches_of_any_kind():
    x = np.ones((7, 3))
    batches = [x, {"X": x}, {"X": x, "index": np.arange(7)}, (x, x), [x], {"X": (x, x)}]
    assert [count_cells(batch) for batch in batches] == [7] * 6


def test_rich_shows_the_description_as_it_is(loader):
    pytest.importorskip("rich")
    out = Terminal()
    assert len(list(scd.progress(loader, desc="[red]fold :star:", file=out))) == 10
    assert "[red]fold :star:" in out.getvalue()
