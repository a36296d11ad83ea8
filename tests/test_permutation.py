"""Keyed hashes and permutations: bijective, uniform enough, the same everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from scdataset_core.permutation import (
    Purpose,
    derive_key,
    hash_numbers,
    permute,
    permute_each,
    shuffled,
    uniform,
)

KEYS = st.integers(0, 2**64 - 1)
N_BINS = 25


def chi_square_p(values, n):
    """Return how likely values as uneven as these are, if uniform on range(n)."""
    counts = np.bincount(np.asarray(values) * N_BINS // n, minlength=N_BINS)
    expected = len(values) / N_BINS
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), N_BINS - 1)


@given(n=st.integers(1, 5000), key=KEYS)
def test_permutes_every_position_once(n, key):
    assert np.array_equal(np.sort(permute(np.arange(n), n=n, key=key)), np.arange(n))


@given(n=st.integers(1, 2**62), key=KEYS, data=st.data())
def test_each_position_stands_alone(n, key, data):
    one = st.integers(0, n - 1)
    positions = np.array(data.draw(st.lists(one, max_size=8, unique=True)), np.int64)
    rows = permute(positions, n=n, key=key)
    assert len(set(rows.tolist())) == len(positions)
    assert np.all((rows >= 0) & (rows < n))
    for position, row in zip(positions, rows, strict=True):
        assert permute(np.array([position]), n=n, key=key)[0] == row


@pytest.mark.parametrize("n", [7, 50, 1024, 1025, 1500, 2049, 4096, 100_003])
def test_positions_and_neighbours_land_uniformly_over_keys(n):
    positions = np.array([0, 1, 2, n // 2, n - 1])
    landed = np.array([permute(positions, n=n, key=key) for key in range(2000)])
    if n < N_BINS:
        counts = [np.bincount(landed[:, i], minlength=n) for i in range(5)]
        expected = len(landed) / n
        p = [chi2.sf(((c - expected) ** 2 / expected).sum(), n - 1) for c in counts]
    else:
        # Two neighbours land at any distance alike, but for distance 0.
        gaps = [(landed[:, b] - landed[:, a]) % n for a, b in [(0, 1), (1, 2), (0, 4)]]
        p = [chi_square_p(landed[:, i], n) for i in range(5)]
        p += [chi_square_p(gap, n) for gap in gaps if n > 1000]
    assert min(p) > 1e-4


@pytest.mark.parametrize("n", [1000, 1500, 5000])
def test_neighbours_seldom_stay_neighbours(n):
    # A random permutation keeps 2 (n - 1) / n pairs of neighbours on mean, Poisson.
    kept = [
        np.sum(np.abs(np.diff(permute(np.arange(n), n=n, key=key))) == 1)
        for key in range(400)
    ]
    assert abs(np.mean(kept) - 2) < 4 * np.sqrt(2 / 400)
    assert 1.5 < np.var(kept) < 2.6


def test_takes_no_memory_for_what_is_not_asked():
    rows = permute(np.array([0, 10**18]), n=2**62, key=3)
    assert rows.dtype == np.int64


def test_golden_values():
    """These never change: a saved seed must give the same cells in every release."""
    assert derive_key(0, 0, Purpose.GRID) == 7108066972471032027
    assert derive_key(-1, 2, Purpose.SHUFFLE, 3) == 7156797724669328564
    assert hash_numbers([0, 1, 2**40], key=7).tolist() == [
        236966933211079599,
        1772951811831149054,
        2764783917002494455,
    ]
    assert permute(np.arange(6), n=6, key=1).tolist() == [1, 0, 4, 2, 5, 3]
    assert permute(np.arange(4), n=10**9, key=1).tolist() == [
        762388380,
        297444392,
        860463186,
        781036984,
    ]
    assert permute(np.array([0, 2**62 - 1]), n=2**62, key=5).tolist() == [
        372871415118651086,
        4281838286956210264,
    ]
    assert shuffled(8, key=3).tolist() == [2, 4, 5, 0, 3, 7, 6, 1]
    assert uniform([0, 1], key=2).tolist() == [0.24154538009673077, 0.1771930560081072]


def test_uniform_values_fill_the_unit_interval():
    values = uniform(np.arange(20_000), key=11)
    assert values.min() >= 0
    assert values.max() < 1
    assert chi_square_p((values * 1000).astype(np.int64), 1000) > 1e-4


def test_keys_differ_in_every_part():
    keys = {
        derive_key(seed, epoch, purpose, number)
        for seed in range(4)
        for epoch in range(4)
        for purpose in Purpose
        for number in range(4)
    }
    assert len(keys) == 4 * 4 * len(Purpose) * 4


@pytest.mark.parametrize(
    ("positions", "n", "message"),
    [
        ([0], 0, "n must be from 1"),
        ([0], 2**62 + 1, "n must be from 1"),
        ([5], 5, r"positions must lie in \[0, 5\), got 5"),
        ([-1], 5, "got -1"),
    ],
)
def test_refuses_what_is_out_of_range(positions, n, message):
    with pytest.raises(ValueError, match=message):
        permute(np.array(positions), n=n, key=0)


@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=6).map(np.array),
    key=KEYS,
    data=st.data(),
)
def test_many_ranges_are_permuted_at_once(sizes, key, data):
    keys = hash_numbers(np.arange(len(sizes)), key=key)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    positions = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found = permute_each(positions, owners, sizes=sizes, keys=keys)
    for i, size in enumerate(sizes):
        assert np.array_equal(np.sort(found[owners == i]), np.arange(size))
    some = np.array(data.draw(st.lists(st.integers(0, len(owners) - 1), max_size=9)))
    some = some.astype(np.int64)
    alone = permute_each(positions[some], owners[some], sizes=sizes, keys=keys)
    assert np.array_equal(alone, found[some])


@pytest.mark.parametrize("n", [7, 128, 129, 150, 1000, 4096, 100_003])
def test_pairs_of_many_ranges_land_uniformly(n):
    keys = hash_numbers(np.arange(2000), key=3)
    sizes = np.full(2000, n)
    owners = np.arange(2000)
    first, second = (
        permute_each(np.full(2000, at), owners, sizes=sizes, keys=keys)
        for at in (n // 3, n // 3 + 1)
    )
    assert chi_square_p(first, n) > 1e-4 or n < N_BINS
    difference = (second - first) % n - 1  # never 0
    assert chi_square_p(difference, n - 1) > 1e-4 or n < N_BINS
    for values, n_values in ((first, n), (difference, n - 1)):
        counts = np.bincount(values * 6 // n_values, minlength=6)
        sizes_of_bins = np.bincount(np.arange(n_values) * 6 // n_values, minlength=6)
        expected = 2000 * sizes_of_bins / n_values
        assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 5) > 1e-4
