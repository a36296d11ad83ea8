"""Memory budgets."""

import pytest

from scdataset_core.memory import fetch_factor_within, parse_bytes


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("2GiB", 2 * 2**30),
        ("2 gib", 2 * 2**30),
        ("1.5MB", 1_500_000),
        ("10k", 10_000),
        ("1e9", 10**9),
        ("512B", 512),
        (4096, 4096),
    ],
)
def test_reads_amounts(text, n):
    assert parse_bytes(text) == n


@pytest.mark.parametrize("text", ["", "much", "-1GiB", "0", "1XB", "1iB", "1.2.3MB"])
def test_refuses_what_is_no_amount(text):
    with pytest.raises(ValueError, match="positive number of bytes"):
        parse_bytes(text)


def test_takes_the_largest_factor_that_fits():
    sizes = {"row_bytes": 1000.0, "batch_size": 64, "n_buffers": 3}
    assert fetch_factor_within(1_920_000, **sizes) == 10
    assert fetch_factor_within(1_919_999, **sizes) == 9
    with pytest.raises(ValueError, match=r"too little: 3 fetches"):
        fetch_factor_within("100kB", **sizes)
