"""Columns without entries are drawn at random."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdataset_core.transforms.layouts import Entries, find_entries
from scdataset_core.transforms.zero_genes import draw_zeros


def draw(x, wanted, first=0):
    keys = np.arange(first, first + len(x)).astype(np.uint64)
    return draw_zeros(find_entries(x), keys, np.asarray(wanted), x.shape[1])


@given(st.integers(1, 60), st.integers(1, 5), st.data())
def test_zeros_are_drawn_without_replacement(n_vars, n_rows, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = (rng.random((n_rows, n_vars)) < rng.random((n_rows, 1))).astype(np.float32)
    n_free = (x == 0).sum(axis=1)
    wanted = [data.draw(st.integers(0, n)) for n in n_free.tolist()]
    zeros = draw(x, wanted)
    for row, columns in enumerate(zeros):
        assert len(np.unique(columns)) == len(columns) == wanted[row]
        assert (x[row, columns] == 0).all()
        assert columns.tolist() == sorted(columns.tolist())
        # A row is drawn for itself alone.
        (alone,) = draw(x[row : row + 1], wanted[row : row + 1], first=row)
        assert alone.tolist() == columns.tolist()


@pytest.mark.parametrize("n", [3, 9, 12])  # drawn one by one, and chosen among all
def test_zeros_are_equally_likely(n):
    x = np.zeros((3000, 22))
    x[:, [0, 5]] = 1
    times = np.bincount(np.concatenate(draw(x, [n] * 3000)), minlength=22)
    share = n / 20
    expected, spread = 3000 * share, np.sqrt(3000 * share * (1 - share))
    assert times[[0, 5]].tolist() == [0, 0]
    assert (abs(np.delete(times, [0, 5]) - expected) < 5 * spread).all()


def test_draws_that_hit_too_often_are_followed_by_others():
    # Of 1,000 columns 900 are taken, so the first 90 draws find about 9 of 45.
    columns = np.arange(900)
    entries = Entries(np.ones(900), columns, np.array([0, 900]))
    for key in range(20):
        (found,) = draw_zeros(entries, np.array([key], np.uint64), np.array([45]), 1000)
        assert len(found) == 45
        assert found.min() >= 900


def test_no_rows_and_nothing_wanted():
    assert draw(np.zeros((0, 4)), np.zeros(0, np.int64)) == []
    assert [part.tolist() for part in draw(np.ones((2, 4)), [0, 0])] == [[], []]
