"""Arrays along the cells: which are kept in memory, and how they are read."""

import pickle

import h5py
import numpy as np
import pytest

from scdataset_core.sources.ranged import row_arrays
from scdataset_core.sources.ranged.row_arrays import KeptArrays
from scdataset_core.storage import ReadContext, StoredArray, read_requests


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


def store(path, values):
    """Return an array of a file."""
    with h5py.File(path, "w") as file:
        file["codes"] = values
    with h5py.File(path) as file:
        return StoredArray.from_hdf5(file["codes"])


def test_small_arrays_of_many_files_are_read_in_one_call(tmp_path, monkeypatch):
    arrays = [  # more than are read in one call
        store(tmp_path / f"{i}.h5", np.arange(40 if i == 3 else 5) + i)
        for i in range(70)
    ]
    calls = []

    def count(requests, context):
        calls.append(len(requests))
        read_requests(requests, context)

    monkeypatch.setattr(row_arrays, "read_requests", count)
    kept = KeptArrays.up_to(39 * 8)
    kept.bring((array, lambda values, row: values) for array in arrays)
    assert calls == [64, 5]
    assert kept.held(arrays[3]) is None  # it is too large to be kept
    assert np.array_equal(read_at(kept, arrays[69], np.arange(5)), np.arange(69, 74))
    kept.bring((array, narrow) for array in arrays)
    assert calls == [64, 5]


def test_small_arrays_that_are_not_kept_are_read_in_one_call(tmp_path, monkeypatch):
    sizes = [5, 6, 7, row_arrays._MOST_PASSING // 8 + 1]
    arrays = [store(tmp_path / f"{n}.h5", np.arange(n)) for n in sizes]
    calls = []

    def count(requests, context):
        calls.append(len(requests))
        read_requests(requests, context)

    monkeypatch.setattr(row_arrays, "read_requests", count)
    kept = KeptArrays.up_to(0)
    brought = kept.bring((array, lambda values, row: values) for array in arrays)
    assert calls == [3]
    for array in arrays:
        assert np.array_equal(read_at(brought, array, np.array([1, 4])), [1, 4])
        assert kept.held(array) is None
    assert calls == [3, 1]  # the last one is large, and was read in parts


def test_arrays_that_are_read_together_are_checked(tmp_path):
    arrays = [store(tmp_path / f"{n}.h5", np.arange(n)) for n in (5, 6)]

    def refuse(values, row):
        raise ValueError(f"{len(values)} values are wrong")

    kept = KeptArrays(arrays)
    with pytest.raises(ValueError, match="5 values are wrong"):
        kept.bring((array, refuse) for array in arrays)
    assert kept.held(arrays[0]) is None
