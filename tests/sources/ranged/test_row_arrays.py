"""Arrays along the cells: which are kept in memory, and how they are read."""

import pickle

import numpy as np
import pytest

from scdataset_core.sources.ranged import row_arrays
from scdataset_core.sources.ranged.row_arrays import KeptArrays
from scdataset_core.storage import ReadContext


class CountedArray:
    """An array that counts the entries that are read from it."""

    def __init__(self, values, name="array", chunk_rows=None):
        self.values = values
        self.name, self.file = name, "file"
        self.shape, self.dtype = values.shape, values.dtype
        self.chunk_rows = chunk_rows
        self.read_ranges = []

    def read(self, start, stop):
        self.read_ranges.append((start, stop))
        return self.values[start:stop]


def narrow(values, row):
    """Return values as they are kept, after noting where they begin."""
    assert values[0] == row
    return values.astype(np.uint16)


def read_at(kept, array, rows):
    values, positions = kept.at(array, rows, ReadContext(1), check=narrow)
    return values[positions]


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    monkeypatch.setattr(row_arrays, "_WINDOW_ROWS", 10)
    monkeypatch.setattr(row_arrays, "_RUN_ROWS", 20)
    monkeypatch.setattr(row_arrays, "_LONG_ROWS", 90)


@pytest.mark.parametrize("n", [1, 10, 11, 57])
def test_kept_arrays_are_read_once_by_pieces_that_overlap_by_a_row(n):
    array = CountedArray(np.arange(n))
    kept = KeptArrays([], [(array, np.dtype(np.uint16))])
    rows = np.array([0, n - 1])
    for _ in range(2):
        assert read_at(kept, array, rows).tolist() == rows.tolist()
    assert array.read_ranges == [(i, min(i + 10, n)) for i in range(0, n, 10)]
    held = kept.held(array)
    assert held is not None
    assert held.dtype == np.uint16
    assert pickle.loads(pickle.dumps(kept)).held(array) is None


def test_pieces_hold_whole_chunks():
    array = CountedArray(np.arange(57), chunk_rows=25)
    kept = KeptArrays([], [(array, np.dtype(np.uint16))])
    read_at(kept, array, np.array([3, 50]))
    assert array.read_ranges == [(0, 25), (25, 50), (50, 57)]


def test_a_run_of_rows_keeps_a_short_array():
    array = CountedArray(np.arange(90))
    kept = KeptArrays([array])
    read_at(kept, array, np.arange(30, 60))
    assert kept.held(array) is not None


def test_a_long_run_of_rows_keeps_no_long_array():
    array = CountedArray(np.arange(100))
    kept = KeptArrays([array])
    run = np.arange(30, 60)
    assert read_at(kept, array, run).tolist() == run.tolist()
    assert array.read_ranges == [(30, 60)]
    assert kept.held(array) is None
    read_at(kept, array, run[::2])
    assert kept.held(array) is not None
    array.read_ranges.clear()
    assert read_at(kept, array, run).tolist() == run.tolist()
    assert array.read_ranges == []


def test_codes_and_other_arrays_have_budgets_of_their_own(monkeypatch):
    monkeypatch.setattr(row_arrays, "KEPT_BYTES", 100)
    monkeypatch.setattr(row_arrays, "KEPT_CODE_BYTES", 30)
    small = CountedArray(np.arange(10), "small")
    large = CountedArray(np.arange(11), "large")
    codes = [CountedArray(np.arange(10), f"codes{i}") for i in range(4)]
    narrow_type = np.dtype(np.uint8)
    kept = KeptArrays([small, large], [(array, narrow_type) for array in codes])
    for array in (small, large, *codes):
        read_at(kept, array, np.array([0, 9]))
    held = [kept.held(array) is not None for array in (small, large, *codes)]
    assert held == [True, False, True, True, True, False]
