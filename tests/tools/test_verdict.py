"""What the demo says of its numbers."""

import io

import pytest

pytest.importorskip("rich")

from dataclasses import replace

from rich.console import Console

from scdataset_core.tools.comparison import Comparison, Outcome
from scdataset_core.tools.verdict import conclusions, table

CURVE = ((1_000, 0.45), (2_000, 0.9))
COMPARISON = Comparison(
    label="cell_line",
    n_classes=24,
    n_train=30_000,
    n_held_out=5_000,
    batch_size=64,
    plate="plate4.h5ad",
    random_entropy=4.3,
    majority=0.05,
    outcomes=(
        Outcome("file order", 0, 16, 40_000.0, 1.3, 0.1, 0.04, ((2_000, 0.04),)),
        Outcome("block sampling", 16, 16, 20_000.0, 4.1, 0.1, 0.99, CURVE),
        Outcome("true random", 1, 1, 1_000.0, 4.3, 0.1, 1.0, CURVE),
    ),
    too_few=None,
    notes=("5 cells without a label are left out",),
)


def shown(comparison, *, lines=False):
    text = io.StringIO()
    Console(file=text, width=80).print(table(comparison, lines=lines))
    return text.getvalue()


def test_table_says_after_how_many_seconds_each_order_is_as_good():
    text = shown(COMPARISON)
    assert "90% after" in text
    rows = [line.split() for line in text.splitlines()[-3:]]
    assert [row[-2:] for row in rows] == [
        ["4.0%", "never"],
        ["0.10", "s"],
        ["2.0", "s"],
    ]
    assert "…" not in shown(COMPARISON, lines=True)


def test_conclusions_name_plate_sizes_and_speed():
    text = " ".join(conclusions(COMPARISON))
    assert "5,000 held-out cells of plate4.h5ad" in text
    assert "Note: 5 cells without a label are left out." in text
    assert "loads 20.0 times as many cells a second" in text
    assert "90% after 0.10 s of loading, random order after 2.0 s" in text
    assert "File order never comes to 90%: it ends at 4.0%." in text


def test_small_data_are_no_argument():
    few = replace(COMPARISON, too_few="too few fetches for blocks of 16: only 3")
    first, *rest = conclusions(few)
    assert first.startswith("Nothing can be said of the orders: too few fetches")
    assert "times as many" not in " ".join(rest)
    assert "after" not in shown(few)


def test_nothing_learned_is_said():
    outcomes = tuple(replace(way, accuracy=0.06) for way in COMPARISON.outcomes)
    *_, last = conclusions(replace(COMPARISON, outcomes=outcomes))
    assert last == "No order learned cell_line in one epoch."
