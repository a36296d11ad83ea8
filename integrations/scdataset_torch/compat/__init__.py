"""Every name of `scdataset` 0.3, so that its users change the import and nothing else.

Arguments, defaults, hooks and types of batches are those of 0.3, and so are the names
of the modules. This library's Loader reads the data: rows come in another order, and
all ranks yield the same number of batches.
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
