"""The Loader whose states are tested."""

import numpy as np

from scdataset_core import BlockShuffling, Loader


def make(**changes):
    arguments = {"batch_size": 8, "fetch_factor": 3, **changes}
    data = arguments.pop("data", np.arange(103))
    return Loader(data, arguments.pop("strategy", BlockShuffling(4)), **arguments)
