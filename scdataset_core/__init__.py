"""Shuffled minibatches straight out of single-cell files, without torch."""

from .cells import Cells
from .errors import (
    CorruptFileError,
    FileChangedError,
    FileFormatError,
    GeneMismatchError,
    MissingNameError,
    ScdatasetError,
    StateError,
)
from .loader import Loader
from .multiindexable import MultiIndexable
from .plan import Fetch, Plan
from .sources import open
from .sources.base import Source
from .state import merge_states
from .strategies import (
    BlockShuffling,
    BlockWeightedSampling,
    ClassBalancedSampling,
    Streaming,
)

__version__ = "0.1.0"

__all__ = [
    "BlockShuffling",
    "BlockWeightedSampling",
    "Cells",
    "ClassBalancedSampling",
    "CorruptFileError",
    "Fetch",
    "FileChangedError",
    "FileFormatError",
    "GeneMismatchError",
    "Loader",
    "MissingNameError",
    "MultiIndexable",
    "Plan",
    "ScdatasetError",
    "Source",
    "StateError",
    "Streaming",
    "merge_states",
    "open",
]
