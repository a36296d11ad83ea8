"""Keywords of other libraries are errors that say what to give instead."""

from typing import Any

import pytest

from scdataset_core import BlockShuffling, Loader
from scdataset_core import open as scd_open


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shuffle", r"BlockShuffling\(block_size=8\), the default, shuffles"),
        ("pin_memory", "PyTorch's DataLoader"),
        ("block_size", "goes to the strategy"),
        ("obs", "goes to scdataset_core.open"),
        ("bach_size", 'did you mean "batch_size"'),
    ],
)
def test_keywords_of_other_libraries_are_errors_that_say_what_to_give(name, message):
    options: dict[str, Any] = {name: True}
    with pytest.raises(TypeError, match=f"no argument '{name}': .*{message}"):
        Loader(range(103), **options)


def test_a_block_size_in_words_is_refused():
    with pytest.raises(ValueError, match='number of rows, such as 16, or "storage"'):
        BlockShuffling("auto")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("layer", 'x="layers/NAME"'),
        ("obs_keys", r"obs=\[\.\.\.\]"),
        ("backed", "read in place"),
        ("batch_size", "goes to Loader"),
        ("gene", 'did you mean "genes"'),
    ],
)
def test_keywords_that_open_does_not_have_say_where_they_go(name, message):
    options: dict[str, Any] = {name: True}
    with pytest.raises(TypeError, match=f"open has no argument '{name}': .*{message}"):
        scd_open(range(103), **options)
