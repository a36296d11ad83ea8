"""All of `scdataset` 0.3 by its own names: change the import and nothing else.

Arguments, defaults, hooks and what batches are made of are those of 0.3; the engine
below is this library's. The order of rows is another one, and all ranks yield the same
number of batches. The modules have 0.3's names too.
"""

from .experimental import estimate_sample_size, suggest_parameters
from .multiindexable import MultiIndexable
from .scdataset import scDataset
from .strategy import (
    BlockShuffling,
    BlockWeightedSampling,
    ClassBalancedSampling,
    SamplingStrategy,
    Streaming,
)
from .transforms import adata_to_mindex, bionemo_to_tensor, hf_tahoe_to_tensor

__all__ = [
    "BlockShuffling",
    "BlockWeightedSampling",
    "ClassBalancedSampling",
    "MultiIndexable",
    "SamplingStrategy",
    "Streaming",
    "adata_to_mindex",
    "bionemo_to_tensor",
    "estimate_sample_size",
    "hf_tahoe_to_tensor",
    "scDataset",
    "suggest_parameters",
]
