"""Bits in words: the n-th set bit, and how many lie below a place."""

import numpy as np
import pytest

from scdataset_core.bits import WORD, count_below, find_bits, running_counts


@pytest.mark.parametrize("has_bitwise_count", [True, False])
@pytest.mark.parametrize("n_words", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_bits_are_found_and_counted_as_in_an_array(
    n_words, share, has_bitwise_count, monkeypatch
):
    if not has_bitwise_count:  # as with NumPy 1.26
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    mask = np.random.default_rng(n_words).random(64 * n_words) < share
    words = np.packbits(mask, bitorder="little").view(WORD)
    expected = np.flatnonzero(mask)
    counts, total = running_counts(words)
    assert total == len(expected)
    numbers = np.arange(total)[::-1]
    np.testing.assert_array_equal(find_bits(words, counts, numbers), expected[::-1])
    places = np.arange(len(mask) + 1)
    np.testing.assert_array_equal(
        count_below(words, counts, places), np.searchsorted(expected, places)
    )


def test_no_words_have_no_bits():
    words = np.empty(0, WORD)
    counts, total = running_counts(words)
    assert total == 0
    assert count_below(words, counts, np.array([0])).tolist() == [0]
