"""The counters of an iteration."""

import copy

import numpy as np
import pytest

from scdataset_core import Loader


def test_every_counter_that_is_shown_is_there_by_its_name():
    loader = Loader(np.arange(103), batch_size=10)
    assert loader.stats.bytes_read == loader.stats.n_cells == 0
    list(loader)
    for stats in (loader.stats, copy.copy(loader.stats)):
        for name, value in stats.to_dict().items():
            assert getattr(stats, name) == value
    with pytest.raises(AttributeError, match="bytes_lost"):
        _ = loader.stats.bytes_lost
