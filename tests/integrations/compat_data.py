"""Data, collections and strategies for the tests of the names of `scdataset` 0.3."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

pytest.importorskip("scdataset_torch")
pytest.importorskip("scdataset")

import scdataset as old
from scdataset_torch import compat as new

both = pytest.mark.parametrize("lib", [pytest.param(old, id="0.3"), new])
DATA = np.arange(105 * 2).reshape(105, 2)
LABELS = np.array(["a"] * 90 + ["b"] * 15)
STRATEGIES = {
    "streaming": lambda lib: lib.Streaming(),
    "buffer": lambda lib: lib.Streaming(shuffle=True),
    "subset": lambda lib: lib.Streaming(indices=[3, 5, 5, 90]),
    "blocks": lambda lib: lib.BlockShuffling(block_size=4),
    "blocks_dropped": lambda lib: lib.BlockShuffling(4, None, True),
    "blocks_subset": lambda lib: lib.BlockShuffling(4, indices=np.arange(50, 90)),
    "weighted": lambda lib: lib.BlockWeightedSampling(4, weights=np.arange(105) + 1),
    "weighted_size": lambda lib: lib.BlockWeightedSampling(total_size=33),
    "unreplaced": lambda lib: lib.BlockWeightedSampling(
        4, total_size=60, replace=False, sampling_size=25
    ),
    "balanced": lambda lib: lib.ClassBalancedSampling(LABELS, total_size=80),
}
every_strategy = pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)


def make_adata():
    obs = pd.DataFrame(
        {"drug": pd.Categorical(LABELS)}, index=np.arange(105).astype(str)
    )
    return anndata.AnnData(csr_matrix(DATA.astype(np.float32)), obs=obs)
