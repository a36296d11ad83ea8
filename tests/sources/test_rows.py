"""Row numbers: runs that are joined or cut, and values brought to places."""

import numpy as np
import pytest

from scdataset_core.sources.rows import (
    Moves,
    cut_by_file,
    cut_runs,
    files_of_rows,
    files_of_sorted,
    scatter_values,
)


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        pytest.param([], [0], id="no_rows"),
        pytest.param([7], [0, 1], id="one_row"),
        pytest.param([3, 4, 9, 9, 30], [0, 4, 5], id="a_gap_that_is_too_wide"),
    ],
)
def test_runs_are_cut_where_rows_are_far_apart(rows, want):
    assert cut_runs(np.array(rows, np.int64), 5).tolist() == want


def test_rows_are_cut_by_file_and_files_without_rows_left_out():
    starts, rows = np.array([0, 5, 5, 9]), np.array([1, 4, 5, 8])
    assert cut_by_file(rows, starts) == [(0, 0, 2), (2, 2, 4)]
    assert files_of_rows(rows, starts).tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize("n_rows", [0, 1, 3, 4, 30])
def test_few_and_many_sorted_rows_are_found_in_their_files(n_rows):
    starts = np.array([0, 0, 5, 5, 9, 9])
    rows = np.sort(np.random.default_rng(n_rows).integers(0, 9, n_rows))
    want = files_of_rows(rows, starts)
    assert files_of_sorted(rows, starts).tolist() == want.tolist()
    for file, start, stop in cut_by_file(rows, starts):
        assert set(want[start:stop]) == {file}
    assert files_of_sorted(rows, np.array([0, 9])).tolist() == [0] * n_rows


def test_values_are_scattered_to_their_places():
    assert scatter_values(np.array([5, 6, 7]), np.array([2, 0, 1])).tolist() == [
        6,
        7,
        5,
    ]


def moves() -> Moves:
    """Return runs: two neighbours, one for another batch, one that lies elsewhere."""
    starts, lengths = [0, 2, 5, 0], [2, 3, 1, 1]
    batches, offsets = [0, 0, 1, 1], [1, 3, 0, 1]
    return Moves(*(np.array(x) for x in (starts, lengths, batches, offsets)))


def test_only_runs_that_stay_neighbours_are_joined():
    joined = moves().join()
    assert joined.starts.tolist() == [0, 5, 0]
    assert joined.stops.tolist() == [5, 6, 1]
    assert joined.offsets.tolist() == [1, 0, 1]


def test_runs_of_two_files_are_never_joined():
    joined, files = moves().join_in(np.array([3, 4, 4, 4]))
    assert joined.starts.tolist() == [0, 2, 5, 0]
    assert files.tolist() == [3, 4, 4, 4]
    joined, files = moves().join_in(np.array([3, 3, 4, 4]))
    assert joined.starts.tolist() == [0, 5, 0]
    assert files.tolist() == [3, 4, 4]


def test_runs_are_copied_into_the_buffers_and_converted():
    buffers = [np.zeros(6, np.float32), np.zeros(2, np.float32)]
    moves().copy(np.arange(10, 16), buffers)
    assert buffers[0].tolist() == [0, 10, 11, 12, 13, 14]
    assert buffers[1].tolist() == [15, 10]
