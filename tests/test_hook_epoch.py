"""The epoch that hooks work for."""

import numpy as np

import scdataset_core as scd
from scdataset_core.hook_epoch import find_hook_epoch, in_epoch


def test_the_epoch_is_that_of_the_loader_inside_hooks_and_0_outside():
    epochs = []

    def note_epoch(rows):
        epochs.append(find_hook_epoch())
        return rows

    loader = scd.Loader(
        np.arange(12),
        batch_size=3,
        fetch_factor=2,
        fetch_transform=note_epoch,
        batch_transform=note_epoch,
    )
    list(loader), list(loader)
    assert sorted(epochs) == [0] * 6 + [1] * 6
    epochs.clear()
    loader.batch(1, epoch=7)
    assert epochs == [7, 7]
    assert find_hook_epoch() == 0


def test_blocks_nest():
    with in_epoch(4):
        with in_epoch(5):
            assert find_hook_epoch() == 5
        assert find_hook_epoch() == 4
    assert find_hook_epoch() == 0
